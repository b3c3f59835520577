"""Who reports, and how they sign."""
