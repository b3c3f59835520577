"""Lists as they were met in the field, each read right or refused for its reason. Addresses and
amounts are invented."""

from pathlib import Path
from typing import Any

import pytest

from backend.client.list_file import ListError
from backend.client.list_numbers import NumberForm
from backend.client.reward_list import RewardList, read_reward_list
from backend.kit.token import Token

LISTS = Path(__file__).parent / "lists"
FIRST = "0x452572b613C91aB40DF1a2C8E2De04e88C3677b2"
SECOND = "0x4dcc3B1e28697dd60863Dae8Db37F1f4f739f7F9"
USDC = Token("0x4200000000000000000000000000000000000042", "USDC", 6)


def read(name: str, **options: Any) -> RewardList:
    return read_reward_list(LISTS / name, **options)


@pytest.mark.parametrize("decimals", [None, 6, 18])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "01_rank_thousands.csv",
            ["line 2: column `amount`: '1,250.00'", "form that is read is 1234.5", '"1,234.5"'],
        ),
        (
            "02_id_scientific.csv",
            ["line 2: column `amount`: '1.05136E+23'", "scientific notation", "digits"],
        ),
        ("03_value_usd.csv", ["line 2", "`op_tokens`", "`value_usd`", "--amount-column"]),
        ("03b_snapshot_balance.csv", ["line 2", "`balance`", "`airdrop`", "--amount-column"]),
        ("03c_reward_rank.csv", ["line 2", "`op`", "`reward_rank`", "--amount-column"]),
        (
            "09_index_no_header.csv",
            ["line 1", "1 '0', 2 '0x9f0651807b75b157ba8f0c1da1387cd91a2bf541', 3 '0'", "-column N"],
        ),
        (
            "11_german_excel.csv",
            ["line 2: column `amount`: '1.250,5'", "form that is read is 1234.5", '"1.234,5"'],
        ),
    ],
)
def test_refused_whatever_the_unit(name: str, said: list[str], decimals: int | None) -> None:
    """Formatted numbers, several columns, no header: named, never guessed."""
    with pytest.raises(ListError) as caught:
        read(name, decimals=decimals)
    assert [part for part in said if part not in str(caught.value)] == []


def test_what_the_user_says_is_read() -> None:
    """The same lists, with the option that the refusal asked for."""
    thousands = read("01_rank_thousands.csv", decimals=6, form=NumberForm.COMMA_GROUPS)
    assert thousands.amounts[FIRST] == 1250 * 10**6
    assert thousands.total == 47_501_500_000
    assert read("03_value_usd.csv", amount_column="op_tokens").amounts[FIRST] == 1000 * 10**18
    assert read("03b_snapshot_balance.csv", amount_column="airdrop").amounts[FIRST] == 100 * 10**18
    assert read("03c_reward_rank.csv", amount_column="op").amounts[FIRST] == 6000 * 10**18
    index = read("09_index_no_header.csv", address_column="2", amount_column="3")
    assert (index.amounts, index.zero) == ({FIRST: 10**18, SECOND: 2 * 10**18}, [1])
    german = read("11_german_excel.csv", decimals=6, form=NumberForm.POINT_GROUPS)
    assert german.amounts[FIRST] == 1_250_500_000


def test_lists_that_are_read() -> None:
    """Plain ones; what is repeated is told with its lines."""
    assert read("05_good.csv").amounts[SECOND] == 2 * 10**18
    assert read("05b_one_changed.csv").amounts[SECOND] == 2 * 10**18 + 5
    twice = read("04_pasted_twice.csv")
    assert (twice.repeated[FIRST], twice.amounts[FIRST]) == ([2, 5], 2 * 10**18)
    assert len(twice.repeated) == 3


def test_whole_tokens() -> None:
    """With the token's decimals exact, without them refused: an integer with .0 is no base unit."""
    assert list(read("08_float_column.csv", decimals=6).amounts.values()) == [
        10**12,
        2 * 10**12,
        3 * 10**12,
    ]
    assert list(read("12_six_decimals.csv", decimals=6).amounts.values()) == [
        12_500_000,
        1,
        1_000_000_000,
    ]
    for name in ("08_float_column.csv", "12_six_decimals.csv"):
        with pytest.raises(ListError, match=r"line 2.*base units are integers.*--unit tokens"):
            read(name)
    with pytest.raises(ListError, match=r"line 3: .*6 decimal digits, the token has 2"):
        read("12_six_decimals.csv", decimals=2)


@pytest.mark.parametrize("name", ["safe.csv", "merkl.json"])
def test_files_of_other_systems(name: str) -> None:
    """Safe's template and Merkl's JSON say the unit themselves."""
    assert read(name, token=USDC).amounts == {FIRST: 12_500_000, SECOND: 1}
