"""An ERC-20 token's calls and its Transfer log (EIP-20). Amounts are integers in base units."""

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak

from backend.chain.logs import fetch_logs
from backend.chain.node import BlockId, CallReverted, Node
from backend.kit.token import DECIMALS_MAX, Token, clean_symbol

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


def received(node: Node, token: str, account: str, first_block: int, last_block: int) -> int:
    """What `account` received less what it sent, by the token's log.

    Raises Unavailable if the node does not answer or does not serve the range.
    """
    topic = to_canonical_address(account).rjust(32, b"\0")
    balance = 0
    for sign, topics in ((1, [TRANSFER, None, topic]), (-1, [TRANSFER, topic])):
        for log in fetch_logs(node, token, topics, first_block, last_block):
            balance += sign * int.from_bytes(log.data[:32])
    return balance


def describe(node: Node, token: str, block: BlockId = "latest") -> Token:
    """What the token says of itself. Symbol and decimals are optional in EIP-20: None where there
    is no usable answer.

    Raises Unavailable if the node does not answer.
    """
    return Token(token, _symbol(node, token, block), _decimals(node, token, block))


def _symbol(node: Node, token: str, block: BlockId) -> str | None:
    """A text, or the bytes32 of tokens that are older than EIP-20."""
    answer = _answer(node, token, "symbol()", block)
    if len(answer) == 32:
        return clean_symbol(answer.rstrip(b"\0").decode(errors="replace"))
    try:
        # As bytes: a symbol that is not UTF-8 must not be an error.
        text: bytes = decode(["bytes"], answer)[0]
    except (DecodingError, OverflowError):
        return None
    return clean_symbol(text.decode(errors="replace"))


def _decimals(node: Node, token: str, block: BlockId) -> int | None:
    answer = _answer(node, token, "decimals()", block)
    value = int.from_bytes(answer, "big")
    return value if len(answer) == 32 and value <= DECIMALS_MAX else None


def _answer(node: Node, token: str, signature: str, block: BlockId) -> bytes:
    """What the token answers; nothing if it refuses."""
    try:
        return node.call(token, _selector(signature), block)
    except CallReverted:
        return b""


def _selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]
