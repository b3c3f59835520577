"""Revert data in words."""

import pytest
from eth_abi import encode
from eth_utils import keccak

from backend.chain.reverts import explain_revert


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no reason given"),
        (b"\x01\x02", "0x0102"),
        (keccak(text="NothingToClaim()")[:4], "NothingToClaim()"),
        (
            keccak(text="WrongSequence(uint64,uint64)")[:4] + encode(["uint64", "uint64"], [3, 2]),
            "WrongSequence(given=3, expected=2)",
        ),
        (keccak(text="WrongSequence(uint64,uint64)")[:4] + b"\x01", "WrongSequence(0x01)"),
        (keccak(text="Error(string)")[:4] + encode(["string"], ["no"]), "Error(message=no)"),
    ],
)
def test_reasons(data: bytes, words: str) -> None:
    """Custom errors are named with their arguments; anything else is shown as it is."""
    assert explain_revert(data) == words
