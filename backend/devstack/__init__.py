"""The embedded stack on one machine, and the demo that runs on it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout, or where the packages are installed."""
