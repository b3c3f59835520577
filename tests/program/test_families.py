"""How many families a program starts with."""

import pytest

from backend.errors import Invalid
from backend.program.families import WINDOWS, checked_families, families_for


@pytest.mark.parametrize(
    ("accounts", "slots", "families"),
    [
        (1, 512, 1),
        (4_096, 512, 1),
        (4_097, 512, 2),
        (100_000, 512, 32),
        (1_000_000, 512, 256),
        (5_000, 32, 32),
        (10**12, 512, 65_536),
    ],
)
def test_the_expected_accounts_choose(accounts: int, slots: int, families: int) -> None:
    """The smallest power of two that opens them in eight windows, within the contract's maximum."""
    assert families_for(accounts, slots) == families
    assert checked_families(None, accounts, slots) == families
    if families < 2**16:
        assert families * slots * WINDOWS >= accounts
        assert families == 1 or families // 2 * slots * WINDOWS < accounts


def test_a_number_is_taken_as_it_is() -> None:
    """Any power of two that the contract takes; sixteen if nothing is said."""
    assert [checked_families(one, None, 512) for one in (1, 2, 65_536, None)] == [1, 2, 65_536, 16]


@pytest.mark.parametrize("families", [-1, 0, 3, 12, 65_535, 2**17])
def test_other_numbers_are_refused(families: int) -> None:
    """With what is expected."""
    with pytest.raises(Invalid, match="families: expected a power of two, 1 to 65,536, got"):
        checked_families(families, None, 512)


def test_both_are_refused() -> None:
    """A number and the accounts to choose it by could contradict one another."""
    with pytest.raises(Invalid, match="either families or accounts"):
        checked_families(16, 1_000, 512)
