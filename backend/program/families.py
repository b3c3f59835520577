"""How many account families a program starts with (PROTOCOL section 3).

A family opens accounts in one bucket a finality window. More families open more accounts at once,
and spread few accounts over more buckets, each of which is posted by itself.
"""

from backend.errors import Invalid

FAMILIES_DEFAULT = 16
FAMILIES_MAX = 2**16
WINDOWS = 8
"""In how many finality windows the expected accounts can be opened."""


def families_for(accounts: int, slots: int) -> int:
    """The smallest power of two that opens `accounts` accounts in WINDOWS finality windows, at most
    FAMILIES_MAX. `slots`: accounts of a bucket."""
    wanted = -(-accounts // (slots * WINDOWS))
    return min(FAMILIES_MAX, 1 << max(0, wanted - 1).bit_length())


def checked_families(families: int | None, accounts: int | None, slots: int) -> int:
    """The number of families: as given, or by the accounts that are expected, or the default.

    Raises Invalid: both are given, or `families` is no power of two from 1 to FAMILIES_MAX.
    """
    if families is None:
        return FAMILIES_DEFAULT if accounts is None else families_for(accounts, slots)
    if accounts is not None:
        raise Invalid("families: give either families or accounts", field="families")
    if not 1 <= families <= FAMILIES_MAX or families & (families - 1):
        raise Invalid(
            f"families: expected a power of two, 1 to {FAMILIES_MAX:,}, got {families}",
            field="families",
        )
    return families
