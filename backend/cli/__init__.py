"""The guerdon command."""
