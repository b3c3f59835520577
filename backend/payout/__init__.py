"""What accounts can claim."""
