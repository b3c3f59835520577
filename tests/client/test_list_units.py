"""Base units or whole tokens: what the user, the list and the token say must agree."""

from pathlib import Path

import pytest

from backend.client.list_file import ListError
from backend.client.list_numbers import Unit
from backend.client.list_units import agreed_decimals, require_clear_unit, require_sane_total
from backend.client.reward_list import read_reward_list
from backend.kit.token import Token
from tests.support.engine import address

USDC, OP = Token("0x" + "1" * 40, "USDC", 6), Token("0x" + "2" * 40, "OP", 18)
SILENT, WHOLE = Token("0x" + "3" * 40, None, None), Token("0x" + "4" * 40, "PTS", 0)


def test_the_token_has_the_decimals() -> None:
    """They are asked of the token; a user who says others is told so."""
    assert agreed_decimals(None, None, USDC) is None
    assert agreed_decimals(Unit.BASE, None, USDC) is None
    assert agreed_decimals(Unit.TOKENS, None, USDC) == 6
    assert agreed_decimals(None, 6, USDC) == agreed_decimals(Unit.TOKENS, 6, USDC) == 6
    assert agreed_decimals(None, 8, SILENT) == 8
    with pytest.raises(ListError, match=r"--decimals: expected 6.*got 18"):
        agreed_decimals(None, 18, USDC)
    with pytest.raises(ListError, match="--unit base and --decimals"):
        agreed_decimals(Unit.BASE, 6, USDC)
    with pytest.raises(ListError, match="does not say its decimals"):
        agreed_decimals(Unit.TOKENS, None, SILENT)


@pytest.mark.parametrize(
    ("token", "amount", "clear"),
    [
        (OP, 10**18, True),
        (OP, 10**18 - 1, False),
        (OP, 5, False),
        (USDC, 5, False),
        (USDC, 12_500_000, False),
        (USDC, 10**18, False),
        (USDC, 10**26, True),
        (WHOLE, 5, True),
        (SILENT, 5, True),
    ],
)
def test_a_unit_that_nobody_says(token: Token, amount: int, clear: bool) -> None:
    """Taken for base units only where whole tokens are impossible; else the user is asked, with
    both sums."""
    if clear:
        require_clear_unit(amount, amount, token)
    else:
        with pytest.raises(ListError, match="--unit base` or `--unit tokens") as caught:
            require_clear_unit(amount, amount, token)
        assert token.text(amount) in str(caught.value)


def test_a_total_beyond_all_measure() -> None:
    """A list of a hundred thousand times what the program holds is a mistake of units."""
    require_sane_total(10**11, USDC, 10**6)
    require_sane_total(10**30, USDC, 0)
    with pytest.raises(ListError, match=r"adds up to 100,000.000001 USDC.*holds 1 USDC"):
        require_sane_total(10**11 + 1, USDC, 10**6)


def test_a_header_that_says_the_unit(tmp_path: Path) -> None:
    """wei are base units: nobody is asked, and whole tokens contradict it."""
    file = tmp_path / "list.csv"
    file.write_text(f"address,amount_wei\n{address('alice')},5\n")
    assert read_reward_list(file).unit is Unit.BASE
    with pytest.raises(ListError, match="`amount_wei` says base units, but the command says"):
        read_reward_list(file, decimals=18)
    with pytest.raises(ListError, match="expected the token's decimals"):
        read_reward_list(file, unit=Unit.TOKENS)
