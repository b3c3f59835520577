"""The chain that tests start: `scripts.anvil`, by the name that tests know."""

from scripts.anvil import MNEMONIC, Anvil, anvil

__all__ = ["MNEMONIC", "Anvil", "anvil"]
