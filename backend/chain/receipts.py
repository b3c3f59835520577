"""Facts of mined transactions."""

from web3 import Web3
from web3.exceptions import TransactionNotFound

from backend.chain.client import reading


def gas_used(w3: Web3, tx_hash: bytes) -> int:
    """Gas that a mined transaction used. Raises Unavailable."""
    return reading("receipt", lambda: w3.eth.get_transaction_receipt(tx_hash))["gasUsed"]


def mined_block(w3: Web3, tx_hash: bytes) -> int | None:
    """Number of the block that holds a transaction, None if none does. Raises Unavailable."""

    def find() -> int | None:
        try:
            return w3.eth.get_transaction_receipt(tx_hash)["blockNumber"]
        except TransactionNotFound:
            return None

    return reading("receipt", find)
