"""ERC-20 calls (EIP-20)."""

from eth_abi import encode
from eth_utils import keccak


def transfer_calldata(recipient: str, amount: int) -> bytes:
    """transfer(recipient, amount in base units)."""
    return keccak(text="transfer(address,uint256)")[:4] + encode(
        ["address", "uint256"], [recipient, amount]
    )


def mint_calldata(recipient: str, amount: int) -> bytes:
    """mint(recipient, amount in base units) of the test token, which anyone may call."""
    return keccak(text="mint(address,uint256)")[:4] + encode(
        ["address", "uint256"], [recipient, amount]
    )
