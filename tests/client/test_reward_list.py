"""Reward lists: any CSV that holds addresses and amounts; whatever is wrong is named, nothing is
skipped in silence."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.client import reward_list
from backend.client.reward_list import (
    ACCOUNT_MAX,
    ListError,
    RewardList,
    read_reward_list,
    split_amount,
)
from prover.wire import UINT96_MAX
from tests.support.engine import address

ALICE, BOB, CAROL = address("alice"), address("bob"), address("carol")


@pytest.fixture
def read(tmp_path: Path):
    def reader(text: str | bytes, **options: object) -> RewardList:
        path = tmp_path / "list.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_reward_list(path, **options)

    return reader


GOOD = {
    "header": f"address,amount\n{ALICE},5\n{BOB},7\n",
    "no header": f"{ALICE},5\n{BOB},7\n",
    "no header, one row": f"{ALICE},12\n",
    "semicolons": f"wallet;reward\n{ALICE};5\n{BOB};7\n",
    "tabs": f"wallet\treward\n{ALICE}\t5\n{BOB}\t7\n",
    "pipes": f"wallet|reward\n{ALICE}|5\n{BOB}|7\n",
    "quoted": f'"address","amount"\n"{ALICE}","5"\n"{BOB}","7"\n',
    "amount first": f"amount,address\n5,{ALICE}\n7,{BOB}\n",
    "windows lines": f"address,amount\r\n{ALICE},5\r\n{BOB},7\r\n",
    "no last newline": f"address,amount\n{ALICE},5\n{BOB},7",
    "blank lines": f"\n\naddress,amount\n\n{ALICE},5\n,\n\n{BOB},7\n\n",
    "spaces": f"address , amount\n {ALICE} , 5 \n{BOB}, 7\n",
    "byte order mark": f"\ufeffaddress,amount\n{ALICE},5\n{BOB},7\n",
    "lower case": f"address,amount\n{ALICE.lower()},5\n{BOB.lower()},7\n",
    "more columns": f'name,address,note,amount\n"Smith, Anna",{ALICE},"says '
    f'""hi""",5\nBob,{BOB},,7\n',
    "several numbers": f"rank,address,amount\n1,{ALICE},5\n2,{BOB},7\n",
    "line break in a cell": f'address,note,amount\n{ALICE},"two\nlines",5\n{BOB},x,7\n',
    "odd line separators in a cell": "address,note,amount\n"
    f"{ALICE},a\u2028b\x0bc\x1cd,5\n{BOB},x,7\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_forms(read: object, name: str) -> None:
    """Delimiters, headers, quotes and further columns of any usual kind give the same list."""
    rewards = read(GOOD[name])
    total = 12
    assert rewards.total == total
    if name != "no header, one row":
        assert rewards.amounts == {ALICE: 5, BOB: 7}
    assert rewards.repeated == {}


def test_repeated_addresses_are_summed_and_said(read: object) -> None:
    """An address that stands several times, in any case, gets the sum; the lines are told."""
    rewards = read(f"address,amount\n{ALICE},5\n{BOB},7\n{ALICE.lower()},6\n{ALICE},1\n")
    assert (rewards.amounts, rewards.repeated) == ({ALICE: 12, BOB: 7}, {ALICE: [2, 4, 5]})
    assert list(rewards.amounts) == [ALICE, BOB]


def test_named_columns(read: object) -> None:
    """Named columns are taken, whatever the others hold; a name that is not there, or twice, is an
    error that shows the header."""
    text = f"from,to,total,paid\n{ALICE},{BOB},5,6\n"
    assert read(text, address_column="to", amount_column="paid").amounts == {BOB: 6}
    with pytest.raises(ListError, match=r"'who'.*from, to, total, paid"):
        read(text, address_column="who", amount_column="paid")
    with pytest.raises(ListError, match="'to'"):
        read(f"to,to,paid\n{ALICE},{BOB},5\n", address_column="to")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a,b,x\n{ALICE},{BOB},5\n", "several columns look like an address.*--address-column"),
        (f"address,x,y\n{ALICE},5,6\n", "several columns look like an amount.*--amount-column"),
        (f"address,amount,total\n{ALICE},5,6\n", "several columns look like an amount"),
        (f"address\n{ALICE}\n", "no column looks like an amount"),
        ("name,amount\nalice,5\n", "no column looks like an address"),
        ("address,amount\n", "no rows below the header"),
        ("", "empty"),
        ("\n\n \n", "empty"),
    ],
)
def test_columns_that_cannot_be_found(read: object, text: str, message: str) -> None:
    """Where content does not decide, the error says which option does."""
    with pytest.raises(ListError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{BOB},0", "0"),
        (f"{BOB},-5", "'-5'"),
        (f"{BOB},1.5", "--decimals"),
        (f"{BOB},1e5", "'1e5'"),
        (f"{BOB},", "amount is missing"),
        (f"{BOB}", "amount is missing"),
        (",5", "address is missing"),
        (f"{BOB[:-1]},5", "40 hex digits"),
        (f"{BOB}0,5", "40 hex digits"),
        ("0x" + "0" * 40 + ",5", "zero address"),
        (f"{BOB[:2]}{BOB[2:].swapcase()},5", "checksum"),
        (f'{BOB},"1,000"', "'1,000'"),
        (f"{BOB},0x10", "'0x10'"),
        (f"{BOB},\u0665", "amount"),
        (f"{BOB},5 tokens", "amount"),
        (f"{BOB},NaN", "amount"),
        ("bob.eth,5", "bob.eth"),
        (f"{BOB},{'9' * 5000}", "amount"),
        (f'"{BOB},5', "line 4"),
        (f'"{BOB}"x,5', "line 4"),
    ],
)
def test_bad_row_is_named(read: object, row: str, message: str) -> None:
    """One bad row among good ones stops the list and is named with its line: nobody is left out in
    silence."""
    text = f"address,amount\n{ALICE},5\n{CAROL},6\n{row}\n" + "".join(
        f"{address(i)},{i + 1}\n" for i in range(30)
    )
    with pytest.raises(ListError, match="line 4") as caught:
        read(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("first", [f"{ALICE[:-1]},5", "alice.eth,5", ",5", "0x,5"])
def test_bad_first_row_is_no_header(read: object, first: str) -> None:
    """A first row with an amount in it is a row: its bad address is named, not taken for a
    header."""
    with pytest.raises(ListError, match="line 1"):
        read(f"{first}\n{BOB},6\n{CAROL},7\n")


def test_stray_quote_swallows_nothing(read: object) -> None:
    """A quote that is never closed does not make the rest of the file one cell that is ignored."""
    with pytest.raises(ListError, match=r"line 3|line 4"):
        read(f'address,amount,note\n{ALICE},5,x\n{BOB},6,"never closed\n{CAROL},7,y\n')


@pytest.mark.parametrize(
    ("text", "decimals", "amount"),
    [
        ("1.5", 18, 15 * 10**17),
        ("1", 18, 10**18),
        ("0.000000000000000001", 18, 1),
        ("1.50", 1, 15),
        ("2.0", 0, 2),
        ("7.", None, None),
        (".5", 18, None),
        ("1.23", 1, None),
        ("0.0000000000000000001", 18, None),
        ("0.0", 18, None),
        ("1,5", 18, None),
        ("3", 0, 3),
    ],
)
def test_decimals(read: object, text: str, decimals: int | None, amount: int | None) -> None:
    """Whole tokens become base units exactly; more decimals than the token has are refused, not
    rounded."""
    table = f'address;amount\n{ALICE};1\n{CAROL};1\n{BOB};"{text}"\n'
    if amount is None:
        with pytest.raises(ListError, match="line 4"):
            read(table, decimals=decimals)
    else:
        assert read(table, decimals=decimals).amounts[BOB] == amount


def test_too_much(read: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """More for one account, or in all, than any program can mean is refused: most likely the
    amounts are not base units."""
    with pytest.raises(ListError, match=r"line 3.*base units"):
        read(f"address,amount\n{ALICE},5\n{BOB},{ACCOUNT_MAX + 1}\n")
    with pytest.raises(ListError, match=r"line 4.*base units"):
        read(f"address,amount\n{BOB},{ACCOUNT_MAX}\n{ALICE},5\n{BOB},1\n")
    many = "address,amount\n" + "".join(f"{address(i)},{ACCOUNT_MAX}\n" for i in range(8))
    assert read(many).total == 8 * ACCOUNT_MAX
    monkeypatch.setattr(reward_list, "TOTAL_MAX", 8 * ACCOUNT_MAX - 1)
    with pytest.raises(ListError, match=r"add up to .*base units"):
        read(many)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"address,amount\n\x80,5\n"])
def test_not_text(read: object, content: bytes) -> None:
    """A file that is not UTF-8, or not there, is an error that names it."""
    with pytest.raises(ListError, match=r"list\.csv"):
        read(content)
    with pytest.raises(ListError, match=r"nowhere\.csv"):
        read_reward_list(Path("nowhere.csv"))


def test_huge_cell(read: object) -> None:
    """A cell beyond what the CSV reader takes is an error with its line, not a traceback."""
    with pytest.raises(ListError, match="line 3"):
        read(f"address,amount,note\n{ALICE},5,x\n{BOB},6,{'y' * 200_000}\n")


def test_the_real_list() -> None:
    """The list that comes with the project reads without options, and adds up."""
    rewards = read_reward_list(Path(__file__).parents[2] / "examples" / "op-superstacks-head.csv")
    with (Path(__file__).parents[2] / "examples" / "op-superstacks-head.csv").open() as file:
        rows = [row for row in csv.reader(file) if any(cell.startswith("0x") for cell in row)]
    assert (len(rewards.amounts), rewards.repeated) == (len(rows), {})
    assert len(rows) == 48


addresses = st.integers(1, 2**160 - 1).map(lambda value: f"0x{value:040x}")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(addresses, st.integers(1, 2**100), texts), min_size=1, max_size=30),
    st.sampled_from(",;\t|"),
    st.permutations(["address", "amount", "note"]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_list_that_a_csv_writer_makes(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list,
    delimiter: str,
    order: list[str],
    quote: bool,
    end: str,
) -> None:
    """What Python's own writer writes, with any delimiter, column order, quoting and notes, is read
    back exactly where columns are named."""
    out = io.StringIO(newline="")
    writer = csv.writer(
        out,
        delimiter=delimiter,
        quoting=csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL,
        lineterminator=end,
    )
    writer.writerow(order)
    for account, amount, note in rows:
        cells = {"address": account, "amount": str(amount), "note": note}
        writer.writerow([cells[name] for name in order])
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    path.write_text(out.getvalue(), newline="")
    rewards = read_reward_list(path, "address", "amount")
    assert rewards.total == sum(amount for _, amount, _ in rows)
    assert {account.lower() for account in rewards.amounts} == {account for account, _, _ in rows}


@settings(max_examples=300, deadline=None)
@given(st.integers(1, ACCOUNT_MAX), st.integers(1, 50))
def test_split(amount: int, parts: int) -> None:
    """Parts are positive, fit 96 bits, differ by at most 1 and add up; their number is as asked,
    unless that cannot be."""
    made = split_amount(amount, parts)
    assert sum(made) == amount
    assert all(0 < part <= UINT96_MAX for part in made)
    assert max(made) - min(made) <= 1
    assert (
        len(made) == parts or len(made) == amount or len(made) == -(-amount // UINT96_MAX) > parts
    )
    with pytest.raises(ValueError, match="amount"):
        split_amount(ACCOUNT_MAX + amount, parts)
