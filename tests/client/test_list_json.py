"""Lists in JSON, and the template of Safe: formats that name their own token."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.client.list_file import ListError
from backend.client.list_numbers import Unit
from backend.client.reward_list import RewardList, read_reward_list
from backend.kit.token import Token
from tests.support.engine import address

ALICE, BOB = address("alice"), address("bob")
TOKEN = Token("0x4200000000000000000000000000000000000042", "USDC", 6)


def read(path: Path, value: Any, **options: Any) -> RewardList:
    file = path / "list.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return read_reward_list(file, **({"token": TOKEN} | options))


def twice(reasons: str) -> str:
    """A Merkl file as a text: Python's own writer cannot repeat a key."""
    return f'{{"rewardToken": "{TOKEN.address}", "rewards": {{"{ALICE}": {reasons}}}}}'


def merkl(rewards: Any, token: str = TOKEN.address) -> dict[str, Any]:
    return {"rewardToken": token, "rewards": rewards}


def test_merkl(tmp_path: Path) -> None:
    """Base units as texts, several reasons an account, with and without times."""
    value = merkl(
        {ALICE: {"a": "5", "b": {"amount": "6", "timestamp": "1741737600"}}, BOB: {"a": "7"}}
    )
    rewards = read(tmp_path, value)
    assert (rewards.amounts, rewards.unit) == ({ALICE: 11, BOB: 7}, Unit.BASE)
    # The reasons of one account are Merkl's own way, and no repetition.
    assert (rewards.repeated, rewards.word) == ({}, "entry")
    # A reason may look like a number, and is no amount.
    assert read(tmp_path, merkl({ALICE: {"1": "5", "2025": "6"}})).amounts == {ALICE: 11}
    again = merkl({ALICE: {"a": "5"}, ALICE.lower(): {"a": "5"}})
    assert read(tmp_path, again).repeated == {ALICE: [1, 2]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (merkl({ALICE: {"a": "5"}}, address("other")), "rewardToken: the list pays the token"),
        (merkl({ALICE: {"a": 5.0}}), "entry 1.*point or an exponent"),
        (f'{{"rewardToken": "{TOKEN.address}", "rewards": {{"{ALICE}": {{"a": 1e21}}}}}}', "1e21"),
        (merkl({ALICE: {"a": 2**53 + 1}}), "entry 1.*above 2\\^53"),
        (merkl({ALICE: {"a": "1.5"}}), "entry 1.*base units are integers"),
        (merkl({ALICE: {"a": "0x10"}}), "hexadecimal"),
        (merkl({ALICE: {"a": "-5"}}), "negative"),
        (merkl({ALICE: {"a": ["5"]}}), "is no text"),
        (merkl({ALICE: {"a": True}}), "is no text"),
        (merkl({ALICE: {"a": None}}), "is empty"),
        (merkl({ALICE: "5"}), "rewards\\['0x.*: expected an object of reasons"),
        (merkl({ALICE: {}}), "expected an object of reasons"),
        (merkl({ALICE: {"a": {"amount": "5", "usd": "1"}}}), 'expected {"amount"'),
        (merkl({"alice.eth": {"a": "5"}}), "entry 1: column `address`: 'alice.eth' is a name"),
        (merkl({}), "no rows"),
        (merkl([]), "expected Merkl"),
        ({ALICE: "5"}, "expected Merkl"),
        (merkl({ALICE: {"a": "5"}}) | {"extra": 1}, "'extra': unknown field"),
        (twice('{"a": "5", "a": "6"}'), "'a' occurs twice"),
        (twice(f'{{"a": "5"}}, "{ALICE}": {{"a": "6"}}'), "occurs twice"),
        ('{"rewardToken": ', "line 1: not JSON"),
        ("[" * 100_000, "not a list in JSON|not JSON"),
        (f"[{'9' * 5000}]", "not a list in JSON|expected an object"),
        ("[NaN]", "NaN is not JSON"),
        ("[]", "empty"),
        ("[5]", "entry 1: expected an object"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    """Numbers that programs round, keys that stand twice, another token, other shapes."""
    with pytest.raises(ListError, match=message):
        read(tmp_path, value)


def test_keys_cannot_touch_the_terminal(tmp_path: Path) -> None:
    """Control characters of a stranger's file are not repeated."""
    for value in (merkl({"\x1b[2J": "5"}), [{"a\x1b[2J": 1}, {"b\x1b[2J": 1}], {"\x1b[2J": 1}):
        with pytest.raises(ListError) as caught:
            read(tmp_path, value)
        assert "\x1b" not in str(caught.value)


def test_merkl_holds_base_units(tmp_path: Path) -> None:
    """To say whole tokens contradicts the format."""
    with pytest.raises(ListError, match="Merkl's JSON holds base units, but the command says"):
        read(tmp_path, merkl({ALICE: {"a": "5"}}), decimals=6)


def test_a_list_of_objects(tmp_path: Path) -> None:
    """Read as a table with the keys as its header, by the same rules."""
    rows = [{"wallet": ALICE, "amount": "5", "rank": 1}, {"rank": 2, "amount": 7, "wallet": BOB}]
    assert read(tmp_path, rows).amounts == {ALICE: 5, BOB: 7}
    assert read(
        tmp_path, [{"a": ALICE, "b": "1.5"}], address_column="a", amount_column="b", decimals=6
    ).amounts == {ALICE: 1_500_000}
    with pytest.raises(ListError, match=r"entry 1.*`amount`.*`usd`.*several columns"):
        read(tmp_path, [{"wallet": ALICE, "amount": "5", "usd": 3}])
    with pytest.raises(ListError, match="entry 2: expected the keys of the first entry"):
        read(tmp_path, [rows[0], {"wallet": BOB, "amount": "7"}])
    with pytest.raises(ListError, match=r"entry 2.*above 2"):
        read(tmp_path, [rows[0], {"wallet": BOB, "amount": 10**18, "rank": 2}])


SAFE = "token_type,token_address,receiver,amount,id\n"


def test_safe(tmp_path: Path) -> None:
    """Whole tokens of the program's token; with and without the column of collectibles."""
    row = f"erc20,{TOKEN.address.lower()},{ALICE},12.5"
    for text in (f"{SAFE}{row},\n", f"token_type,token_address,receiver,amount\n{row}\n"):
        rewards = read(tmp_path, text)
        assert (rewards.amounts, rewards.unit) == ({ALICE: 12_500_000}, Unit.TOKENS)
    with pytest.raises(ListError, match="7 decimal digits"):
        read(tmp_path, f"{SAFE}erc20,{TOKEN.address},{ALICE},0.0000001,\n")
    with pytest.raises(ListError, match="holds whole tokens, but the command says base"):
        read(tmp_path, f"{SAFE}{row},\n", unit=Unit.BASE)
    with pytest.raises(ListError, match="say `--decimals`"):
        read(tmp_path, f"{SAFE}{row},\n", token=None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"native,,{BOB},1,", "line 3: column `token_type`: 'native': expected erc20"),
        (f"erc721,{TOKEN.address},{BOB},1,7", "line 3: column `token_type`: 'erc721'"),
        (f"nft,{TOKEN.address},{BOB},1,7", "line 3: column `token_type`"),
        (f",{TOKEN.address},{BOB},1,", "line 3: column `token_type`: ''"),
        (f"erc20,,{BOB},1,", "line 3: column `token_address`: ''"),
        (f"erc20,{BOB},{BOB},1,", "line 3: column `token_address`.*expected the program's token"),
        (f"erc20,{TOKEN.address},{BOB},1", "line 3: expected 3 cells"),
        (f"erc20,{TOKEN.address},bob.eth,1,", "line 3: column `receiver`: 'bob.eth'"),
    ],
)
def test_safe_rows_of_something_else(tmp_path: Path, row: str, message: str) -> None:
    """Another token or kind is refused with its line, not skipped."""
    with pytest.raises(ListError, match=message):
        read(tmp_path, f"{SAFE}erc20,{TOKEN.address},{ALICE},1,\n{row}\n")


def test_a_demo_takes_any_one_token(tmp_path: Path) -> None:
    """Its test token stands for the list's, if that is one token."""
    other = f"erc20,{BOB},{ALICE},1,\n"
    assert read(tmp_path, SAFE + other, any_token=True).amounts == {ALICE: 10**6}
    with pytest.raises(ListError, match="expected one token, got 2"):
        read(tmp_path, f"{SAFE}{other}erc20,{ALICE},{ALICE},1,\n", any_token=True)
    assert read(tmp_path, merkl({ALICE: {"a": "5"}}, BOB), any_token=True).amounts == {ALICE: 5}
