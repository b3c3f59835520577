"""Append-only double entry with a hash chain."""
