"""The proving half of Guerdon: hash, trees, formats, circuit and Groth16.

The package uses no database and no network, and never imports backend.
"""
