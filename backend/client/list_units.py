"""Base units or whole tokens: never a guess. What the user says, what the list says and what the
token says must agree."""

from backend.client.list_file import ListError
from backend.client.list_numbers import Unit
from backend.kit.token import Token
from prover.wire import UINT96_MAX

TOTAL_MAX = 2**127 - 1
PARTS_MAX = 64
ACCOUNT_MAX = PARTS_MAX * UINT96_MAX
"""A larger amount for one account is a mistake of units, and would need too many interactions."""
ABSURD_FACTOR = 10**5
"""A list of this many times the program's reserve is a mistake of units: the least such mistake, in
a token with 6 decimals, is ten times larger."""


def agreed_decimals(unit: Unit | None, decimals: int | None, token: Token) -> int | None:
    """How many decimals the amounts are read with: None for base units, and where nothing is said.

    Raises ListError where the user contradicts the token, or themselves.
    """
    if unit is Unit.BASE and decimals is not None:
        raise ListError("--unit base and --decimals: amounts in base units have no decimals")
    if decimals is not None and token.decimals not in (None, decimals):
        raise ListError(
            f"--decimals: expected {token.decimals}, as the token's contract says; got {decimals}"
        )
    if unit is Unit.TOKENS and decimals is None:
        if token.decimals is None:
            raise ListError(
                f"--unit tokens: the token {token.address} does not say its decimals: say them "
                "with --decimals, or give amounts in base units"
            )
        return token.decimals
    return decimals


def require_clear_unit(largest: int, total: int, token: Token) -> None:
    """For a list that says nothing of its unit, read in base units: refuse it unless it holds a
    whole token, and is too large to be in whole tokens. What the program holds proves neither.

    Raises ListError, which says what to say.
    """
    if not token.decimals:
        return
    one = 10**token.decimals
    if largest >= one and (largest * one > ACCOUNT_MAX or total * one > TOTAL_MAX):
        return
    raise ListError(
        f"the amounts could be base units ({token.text(total)} in all) or whole tokens "
        f"({token.text(total * one)} in all): say `--unit base` or `--unit tokens`"
    )


def require_sane_total(total: int, token: Token, reserve: int) -> None:
    """Refuse a list of an absurd size beside what the program holds. Raises ListError."""
    if reserve and total > ABSURD_FACTOR * reserve:
        raise ListError(
            f"the list adds up to {token.text(total)}, and the program holds "
            f"{token.text(reserve)}: check the unit (`--unit`), or fund the program first"
        )
