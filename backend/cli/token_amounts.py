"""Amounts that a person types in whole tokens."""

import re

from backend.errors import Invalid
from backend.kit.token import Token
from prover.wire import UINT96_MAX

_WRITTEN = re.compile(r"([0-9]{1,78})(?:\.([0-9]{1,78}))?")


def read_daily_limit(text: str, token: Token) -> int:
    """The base units of a daily limit in whole tokens. Nothing is rounded. Raises Invalid."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise Invalid(
            "daily_limit: expected whole tokens in digits, with at most one point and no other "
            f"marks, as in 2500 or 0.5, got {text[:80]!r}",
            "daily_limit",
        )
    if token.decimals is None:
        raise Invalid(
            f"daily_limit: the token {token.address} does not say its decimals, so whole tokens "
            "cannot be read",
            "daily_limit",
        )
    fraction = (found[2] or "").rstrip("0")
    if len(fraction) > token.decimals:
        raise Invalid(
            f"daily_limit: {text} has {len(fraction)} decimal digits, the token has "
            f"{token.decimals}: nothing is rounded",
            "daily_limit",
        )
    amount = int(found[1] + fraction.ljust(token.decimals, "0"))
    if not 1 <= amount <= UINT96_MAX:
        raise Invalid(
            f"daily_limit: expected more than 0 and less than 2^96 base units, got {amount}; leave "
            "it out for no limit",
            "daily_limit",
        )
    return amount
