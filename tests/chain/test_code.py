"""Deployed code against compiled code."""

import pytest

from backend.chain.artifacts import Artifact
from backend.chain.code import match_code

PLACES = {"17": ((2, 4), (8, 4))}
ARTIFACT = Artifact(
    "Thing", [], b"", bytes.fromhex("0102000000000607000000000c"), PLACES, {"limit": PLACES["17"]}
)
DEPLOYED = bytes.fromhex("0102deadbeef0607deadbeef0c")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "0 bytes"),
        ("0102deadbeef0607deadbeef0c00", "14 bytes"),
        ("0102deadbeef0607deadbeef0d", "byte 12"),
        ("0302deadbeef0607deadbeef0c", "byte 0"),
        ("0102deadbeef0607deadbeee0c", "limit has 2 values"),
    ],
)
def test_foreign_code_is_named(code: str, said: str) -> None:
    """Another length, another byte, or an immutable with two values is a difference."""
    assert said in " ".join(match_code(ARTIFACT, bytes.fromhex(code)).differences)


def test_immutables_are_read() -> None:
    """Code that differs in immutables alone matches, and their values come back by name."""
    match = match_code(ARTIFACT, DEPLOYED)
    assert not match.differences
    assert match.integer("limit") == 0xDEADBEEF
