"""Guerdon's off-chain engine: intake, ledger, batches, settlement and payouts."""
