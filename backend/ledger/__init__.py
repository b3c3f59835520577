"""The double-entry ledger and its hash chain."""
