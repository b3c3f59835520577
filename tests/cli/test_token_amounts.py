"""A daily limit as a person types it."""

import pytest

from backend.cli.token_amounts import read_daily_limit
from backend.errors import Invalid
from backend.kit.token import Token

SIX = Token("0x" + "11" * 20, "USDC", 6)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("2500", 2_500_000_000), ("0.5", 500_000), ("1.2300000", 1_230_000), ("0.000001", 1)],
)
def test_whole_tokens(text: str, amount: int) -> None:
    """Exact, with the token's decimals."""
    assert read_daily_limit(text, SIX) == amount


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,000", "no other marks"),
        ("1e3", "no other marks"),
        ("-1", "no other marks"),
        ("٣", "no other marks"),
        ("", "no other marks"),
        (".5", "no other marks"),
        ("0", "no limit"),
        ("0.0", "no limit"),
        ("0.0000001", "7 decimal digits, the token has 6"),
        (str(2**96), "less than 2\\^96"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    """What could be read in two ways, would be rounded, or is no limit."""
    with pytest.raises(Invalid, match=reason) as refused:
        read_daily_limit(text, SIX)
    assert refused.value.field == "daily_limit"


def test_the_largest_limit() -> None:
    """2^96 - 1 base units are one."""
    assert read_daily_limit(str(2**96 - 1), Token(SIX.address, "RAW", 0)) == 2**96 - 1


def test_a_token_without_decimals() -> None:
    """Whole tokens of it are nothing."""
    with pytest.raises(Invalid, match="does not say its decimals"):
        read_daily_limit("1", Token(SIX.address, None, None))
