"""Guerdon's proving half: hash, trees, formats, circuit and Groth16. No database, no network, no
import of backend."""
