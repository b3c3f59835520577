"""The auditor: a program of its own that uses the chain alone."""
