"""One attestor: a program of its own that re-checks the interactions behind a batch and signs it
(PROTOCOL section 6)."""
