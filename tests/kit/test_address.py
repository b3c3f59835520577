"""Addresses in every spelling that people copy."""

import pytest

from backend.errors import Invalid
from backend.kit.address import checked_address

GOOD = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"


@pytest.mark.parametrize(
    "text", [GOOD, GOOD.lower(), GOOD.upper(), "0x" + GOOD[2:].upper(), "0X" + GOOD[2:]]
)
def test_spellings(text: str) -> None:
    """Lower case, upper case and EIP-55 are one address."""
    assert checked_address(text, "owner") == GOOD


@pytest.mark.parametrize(
    "text",
    ["", "me", GOOD[2:], GOOD[:-1], GOOD + "0", GOOD + "\n", " " + GOOD, "0xg" + GOOD[3:], 7],
)
def test_what_is_none(text: object) -> None:
    """Named with the field and the value."""
    with pytest.raises(Invalid, match="owner: expected an address: 0x and 40 hex digits") as caught:
        checked_address(text, "owner")
    assert caught.value.field == "owner"
    assert repr(text) in caught.value.message


@pytest.mark.parametrize("text", [GOOD.replace("E", "e", 1), "0x" + GOOD[2:].swapcase()])
def test_a_mistyped_one(text: str) -> None:
    """Mixed case with a wrong checksum is refused."""
    with pytest.raises(Invalid, match=r"owner: .* has a wrong EIP-55 checksum"):
        checked_address(text, "owner")
