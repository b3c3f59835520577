"""Amounts as people read them: exact, in the token's own decimals, with its symbol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kit.token import SYMBOL_LENGTH_MAX, Token, clean_symbol, whole_tokens

ADDRESS = "0x" + "12" * 20


@pytest.mark.parametrize(
    ("units", "decimals", "shown"),
    [
        (0, 18, "0"),
        (1, 18, "0.000000000000000001"),
        (10**18, 18, "1"),
        (1234567 * 10**18 + 5 * 10**17, 18, "1,234,567.5"),
        (12_500_000, 6, "12.5"),
        (1, 6, "0.000001"),
        (7, 0, "7"),
        (-1_500_000, 6, "-1.5"),
    ],
)
def test_whole_tokens(units: int, decimals: int, shown: str) -> None:
    """Whole tokens with the token's own decimals."""
    assert whole_tokens(units, decimals) == shown


@given(st.integers(0, 2**256 - 1), st.integers(0, 77))
def test_every_amount_is_shown_exactly(units: int, decimals: int) -> None:
    """What is shown can be read back to the last base unit."""
    whole, _, fraction = whole_tokens(units, decimals).replace(",", "").partition(".")
    assert int(whole) * 10**decimals + int(fraction.ljust(decimals, "0") or 0) == units


def test_a_token_that_says_little() -> None:
    """Without decimals an amount is said to be base units; without a symbol the address stands for
    it. Nothing is assumed."""
    assert Token(ADDRESS, "USDC", 6).text(12_500_000) == "12.5 USDC"
    assert Token(ADDRESS, "OLD", None).text(12_500_000) == "12,500,000 base units OLD"
    assert Token(ADDRESS, None, 6).text(12_500_000) == f"12.5 of token {ADDRESS}"
    assert Token(ADDRESS, None, None).text(1) == f"1 base units of token {ADDRESS}"


@pytest.mark.parametrize(
    ("said", "symbol"),
    [
        ("USDC", "USDC"),
        ("USD₮0", "USD₮0"),
        ("  OP\0\0", "OP"),
        ("A\nB", "A\ufffdB"),
        ("A\x1b[31mB", "A\ufffd[31mB"),
        ("\u202eCDSU", "\ufffdCDSU"),
        ("[red]X[/red]", "[red]X[/red]"),
        ("X" * 100, "X" * SYMBOL_LENGTH_MAX + "…"),
        ("", None),
        (" \0", None),
        ("\x07\x1b", None),
    ],
)
def test_symbols_are_cleaned(said: str, symbol: str | None) -> None:
    """Control characters and marks that turn text around are not kept, long ones are cut."""
    assert clean_symbol(said) == symbol
