"""An ERC-20 token's calls and its Transfer log (EIP-20). Amounts are integers in base units."""

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from backend.chain.node import BlockId, Node

TRANSFER = keccak(text="Transfer(address,address,uint256)")
"""First topic of a Transfer log; sender and recipient follow as topics."""


def transfer_calldata(recipient: str, amount: int) -> bytes:
    """transfer(recipient, amount)."""
    return _selector("transfer(address,uint256)") + encode(
        ["address", "uint256"], [recipient, amount]
    )


def mint_calldata(recipient: str, amount: int) -> bytes:
    """mint(recipient, amount) of the test token, which anyone may call."""
    return _selector("mint(address,uint256)") + encode(["address", "uint256"], [recipient, amount])


def balance_of(node: Node, token: str, account: str, block: BlockId = "latest") -> int:
    """What `account` holds.

    Raises:
        CallReverted, DecodingError: the contract does not answer as a token does.
        Unavailable: the node does not answer.
    """
    data = _selector("balanceOf(address)") + encode(["address"], [account])
    balance: int = decode(["uint256"], node.call(token, data, block))[0]
    return balance


def _selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]
