"""Closing, content and states of batches."""
