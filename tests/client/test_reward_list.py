"""Reward lists: any CSV that holds addresses and amounts; whatever is wrong is named, nothing is
skipped in silence."""

import csv
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
    "an index": f",address,amount\n,{ALICE},5\n,{BOB},7\n",
    "Excel's first line": f"sep=;\naddress;amount\n{ALICE};5\n{BOB};7\n",
    "old Macintosh lines": f"address,amount\r{ALICE},5\r{BOB},7\r",
    "line break in a cell": f'address,note,amount\n{ALICE},"two\nlines",5\n{BOB},x,7\n',
    "odd line separators in a cell": "address,note,amount\n"
    f"{ALICE},a\u2028b\x0bc\x1cd,5\n{BOB},x,7\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_forms(read: object, name: str) -> None:
    """Delimiters, headers, quotes and further columns of any usual kind give the same list."""
    rewards = read(GOOD[name])
    assert (rewards.amounts, rewards.repeated, rewards.zero) == ({ALICE: 5, BOB: 7}, {}, [])


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_encodings(read: object, encoding: str) -> None:
    """What Excel and others write; a byte order mark tells, and Windows' code page is named."""
    text = f"Empfänger;Betrag;Grüße\n{ALICE};5;ä\n{BOB};7;ö\n"
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    rewards = read((mark + text).encode(encoding))
    assert rewards.amounts == {ALICE: 5, BOB: 7}
    assert (rewards.note == "read as cp1252") == (encoding == "cp1252")


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
    with pytest.raises(ListError, match=r"'who'.*`from`, `to`, `total`, `paid`"):
        read(text, address_column="who", amount_column="paid")
    with pytest.raises(ListError, match="'to'"):
        read(f"to,to,paid\n{ALICE},{BOB},5\n", address_column="to")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{BOB},-5", "'-5' is negative"),
        (f"{BOB},1.5", "--decimals"),
        (f"{BOB},1e5", "'1e5' is in scientific notation"),
        (f"{BOB},", "column `amount`: '' is empty"),
        (f"{BOB},1,250", "expected 2 cells, as many as the first row has; got 3"),
        (f"{BOB},5,", "expected 2 cells"),
        (f"{BOB}", "amount is missing"),
        (",5", "column `address`: '' is empty"),
        (f"{BOB[:-1]},5", "40 hex digits"),
        (f"{BOB}0,5", "40 hex digits"),
        ("0x" + "0" * 40 + ",5", "zero address"),
        (f"{BOB[:2]}{BOB[2:].swapcase()},5", "checksum"),
        (f'{BOB},"1,000"', "'1,000' can be 1 or 1000"),
        (f"{BOB},0x10", "'0x10' is hexadecimal"),
        (f"{BOB},\u0665", "amount"),
        (f"{BOB},5 tokens", "amount"),
        (f"{BOB},NaN", "amount"),
        ("bob.eth,5", "'bob.eth' is a name"),
        (f"{BOB[2:]},5", "without 0x"),
        (f"0X{BOB[2:]},5", "0X"),
        (f"eth:{BOB},5", "names a chain"),
        ("XE7338O073KYGTWWZN0F2WZ0R8PX5ZPPZS,5", "ICAP"),
        (f"{BOB[:20]} {BOB[20:]},5", "with spaces or invisible characters"),
        (f"{BOB[:20]}\u200b{BOB[20:]},5", "with spaces or invisible characters"),
        (f"0x{'ab' * 32},5", "64 digits"),
        (f"{BOB[:-1]},five", "is not a number"),
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


def test_every_bad_row_is_told(read: object) -> None:
    """Not only the first: up to 100, each with its line and all that is wrong with it; the count of
    the others."""
    rows = "".join(f"{BOB[:-1]},?{i}\n" for i in range(120))
    with pytest.raises(ListError) as caught:
        read(f"address,amount\n{ALICE},5\n{rows}{CAROL},6\n")
    *told, more, count = str(caught.value).splitlines()
    assert len(told) == 100
    for line, reason in enumerate(told, start=3):
        assert f"line {line}: column `address`: '{BOB[:-1]}' expected an address" in reason
        assert f"; column `amount`: '?{line - 3}' is not a number" in reason
    assert (more, count) == ("… and 20 more", "120 faults: nothing of the list is used")


def test_an_amount_of_zero_pays_nothing(read: object) -> None:
    """Such a row is told, and is no fault; a list of nothing else is one."""
    rewards = read(f"address,amount\n{ALICE},0\n{BOB},7\n{CAROL},00\n")
    assert (rewards.amounts, rewards.zero) == ({BOB: 7}, [2, 4])
    assert read(f"address,amount\n{ALICE},0.00\n{BOB},7\n", decimals=1).zero == [2]
    with pytest.raises(ListError, match="every amount is 0"):
        read(f"address,amount\n{ALICE},0\n")


@pytest.mark.parametrize(
    "first",
    [
        f"{ALICE},5",
        f"{ALICE[:-1]},5",
        "alice.eth,5",
        ",5",
        "0x,5",
        "alice,5",
        f"{ALICE},",
        "alice.eth,five",
        f"{ALICE[2:]},$5",
        "0x12,",
        "Total,n/a",
    ],
)
def test_a_first_row_that_is_no_header(read: object, first: str) -> None:
    """A row with an account or a number in it is never taken for a header and left out: the columns
    must be named by position, and then the row is read or refused as any other."""
    text = f"{first}\n{BOB},6\n{CAROL},7\n"
    for names in ({}, {"amount_column": "2"}, {"address_column": "1"}):
        with pytest.raises(ListError, match=r"--(address|amount)-column"):
            read(text, **names)
    named = {"address_column": "1", "amount_column": "2"}
    if first == f"{ALICE},5":
        assert read(text, **named).amounts == {ALICE: 5, BOB: 6, CAROL: 7}
    else:
        with pytest.raises(ListError, match=r"line 1: column [12]: "):
            read(text, **named)


def test_positions_count_from_one(read: object) -> None:
    """A number is a position, with a header too; one that no column has is refused."""
    text = f"from,to,paid\n{ALICE},{BOB},6\n"
    assert read(text, address_column="2", amount_column="3").amounts == {BOB: 6}
    year = f"from,to,2024\n{ALICE},{BOB},6\n"
    assert read(year, address_column="to", amount_column="2024").amounts == {BOB: 6}
    with pytest.raises(ListError, match="line 1: column 2: 'to' expected an address"):
        read(year, address_column="2", amount_column="3")
    for wrong in ("0", "4"):
        with pytest.raises(ListError, match="--amount-column"):
            read(f"{BOB},5\n", address_column="1", amount_column=wrong)
    with pytest.raises(ListError, match="cannot hold both"):
        read(f"to,amount\n{BOB},5\n", address_column="1", amount_column="1")


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
        ("1.0", None, None),
        (".5", 18, None),
        ("1.23", 1, None),
        ("0.0000000000000000001", 18, None),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "no utf-16 text"),
        (b"address,amount\n\x80,5\n", "line 2"),
        (b"address,amount\n\x81,5\n", "line 2: byte 0x81 is no cp1252 text"),
        ("address,amount".encode("utf-16-le"), "zero bytes and no byte order mark"),
        (b"PK\x03\x04rest", "workbook"),
        (b"\xd0\xcf\x11\xe0rest", "workbook"),
        (b"\xef\xbb\xbf", "empty"),
        (b"", "empty"),
        (b"\n\n \n", "empty"),
        (b"address,amount\n", "no rows below the header"),
    ],
)
def test_not_a_list(read: object, content: bytes, message: str) -> None:
    """A file that is no text, holds nothing or is not there is an error that names it."""
    with pytest.raises(ListError, match=rf"list\.csv.*{message}"):
        read(content)
    with pytest.raises(ListError, match=r"nowhere\.csv"):
        read_reward_list(Path("nowhere.csv"))


def test_a_header_cannot_touch_the_terminal(read: object) -> None:
    """Control characters of a stranger's file are not repeated."""
    with pytest.raises(ListError) as caught:
        read(f"address,amount\x1b[2J,total\n{ALICE},5,\x1b[31m6\n")
    assert "\x1b" not in str(caught.value)


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
