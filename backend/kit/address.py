"""Addresses as people write them."""

import re

from eth_utils.address import to_checksum_address

from backend.errors import Invalid

_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
EXPECTED = "expected an address: 0x and 40 hex digits"


def looks_like_address(text: str) -> bool:
    """Whether `text` has an address's form, whatever its checksum."""
    return _ADDRESS.fullmatch(text) is not None


def checked_address(text: object, field: str) -> str:
    """The EIP-55 form of an address in lower case, in upper case, or in EIP-55 form.

    Raises Invalid, which names `field`, for anything else: mixed case with a wrong checksum is a
    mistyped address.
    """
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
        raise Invalid(f"{field}: {EXPECTED}, got {text!r}", field)
    digits = text[2:]
    checksummed: str = to_checksum_address("0x" + digits)
    if digits not in (digits.lower(), digits.upper(), checksummed[2:]):
        raise Invalid(
            f"{field}: {text} has a wrong EIP-55 checksum: is a digit mistyped? "
            f"(with all digits right it is {checksummed})",
            field,
        )
    return checksummed
