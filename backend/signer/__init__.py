"""Keys: what can sign, and where keys live."""
