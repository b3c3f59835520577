"""Facts of mined transactions."""

from web3 import Web3

from backend.chain.client import reading


def gas_used(w3: Web3, tx_hash: bytes) -> int:
    """Gas that a mined transaction used. Raises Unavailable."""
    return reading("receipt", lambda: w3.eth.get_transaction_receipt(tx_hash))["gasUsed"]
