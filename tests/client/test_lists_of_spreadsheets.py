"""Lists as spreadsheets write them, in any of their ways: never a wrong amount, never a wrong
account, never a row left out in silence."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eth_utils import to_checksum_address
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from backend.client.list_file import ListError
from backend.client.list_numbers import NumberForm
from backend.client.list_units import ACCOUNT_MAX, require_clear_unit
from backend.client.reward_list import RewardList, read_reward_list
from backend.kit.token import Token
from tests.client.test_list_columns import NAMES

F = NumberForm
MARKS = {
    F.PLAIN: ("", "."),
    F.DECIMAL_COMMA: ("", ","),
    F.COMMA_GROUPS: (",", "."),
    F.POINT_GROUPS: (".", ","),
    F.SPACE_GROUPS: ("\u00a0", ","),
    F.SPACE_GROUPS_POINT: ("\u202f", "."),
    F.APOSTROPHE_GROUPS: ("\u2019", "."),
    F.INDIAN_GROUPS: (",", "."),
}
"""How each form groups thousands, and its decimal mark."""
DAMAGE = [
    "1E+5",
    "",
    "n/a",
    "-5",
    "(5)",
    "5%",
    "$5",
    "5 OP",
    "#REF!",
    "0x10",
    "\uff15",
    ".5",
    "1..5",
]
ACCOUNTS = ["bob.eth", "0x12", "ab" * 20, "0X" + "ab" * 20, "eth:0x" + "ab" * 20, "Total"]


def written(value: Decimal, form: NumberForm, digits: int | None) -> str:
    """A number as a spreadsheet formats it; `digits` fixes the number of decimals."""
    group, mark = MARKS[form]
    whole, _, fraction = f"{value:f}".partition(".")
    fraction = fraction.rstrip("0")
    if digits is not None:
        fraction = fraction.ljust(digits, "0")
    parts = [whole[-3:]]
    size, rest = (2 if form is F.INDIAN_GROUPS else 3), whole[:-3]
    while rest:
        parts.insert(0, rest[-size:])
        rest = rest[:-size]
    return (group.join(parts) if group else whole) + (mark + fraction if fraction else "")


@dataclass
class Sheet:
    """A file, what it means in base units, and the options that say so plainly. `bad` are the lines
    that no reader may accept."""

    data: bytes
    meant: dict[str, int]
    lines: dict[str, list[int]]
    bad: bool
    token: Token
    plain: dict[str, Any]


THOUSANDS = st.integers(1000, 999_999)
NUMBERS = st.sampled_from(
    [
        st.integers(1, 10**7),
        THOUSANDS,
        st.integers(1, 10**22),
        st.sampled_from([999, 1000, 1250, 10**6, 10**18, 5 * 10**18, 1_234_567]),
    ]
)
"""Of one list: amounts of one size show what is not seen where one cell gives the form away."""
accounts = st.integers(1, 2**160 - 1).map(lambda value: f"0x{value:040x}")
EXTRAS = {
    "rank": lambda i: str(i),
    "id": lambda i: str(100 + i),
    "value_usd": lambda i: f"{730 * i}",
    "balance": lambda i: str(10**22 * i),
    "total": lambda i: f"{i},000",
    "total_transactions": lambda i: str(17 * i),
    "reward_rank": lambda i: str(i),
    "earned_at": lambda i: str(1_746_000_000 + i),
    "Date": lambda i: f"2025-05-{i % 28 + 1:02}",
    "Notiz": lambda i: f'sagt "{i}", und; mehr|\tjawohl\n{i}',
    "": lambda i: str(i),
}


TRAPS = {"points": F.POINT_GROUPS, "commas": F.COMMA_GROUPS, "unit": F.PLAIN}
"""Whole numbers of thousands that look like something else: their points like decimal marks, their
commas, which nobody quoted, like the ends of cells, whole tokens like base units."""


@st.composite
def sheets(draw: st.DrawFn, damaged: bool = False, trap: str = "") -> Sheet:
    decimals = draw(st.sampled_from([6, 18] if trap else [0, 2, 6, 18]))
    whole_tokens = bool(trap) or draw(st.booleans())
    form = TRAPS[trap] if trap else draw(st.sampled_from([*F, F.PLAIN, F.PLAIN, F.PLAIN]))
    fixed = whole_tokens and decimals >= 3 and not trap
    digits = draw(st.sampled_from([None, 2, 3])) if fixed else None
    scale = 0
    if whole_tokens and not trap:
        scale = draw(st.sampled_from([0, 0, decimals])) if digits is None else digits
    wanted = draw(
        st.lists(st.tuples(accounts, THOUSANDS if trap else draw(NUMBERS)), min_size=1, max_size=8)
    )
    names = draw(
        st.sampled_from([pair for pair in NAMES if not whole_tokens or "wei" not in pair[1]])
    )
    # Beside a column without a name, half of a number might stand.
    further = [name for name in sorted(EXTRAS) if name or damaged]
    extras = draw(st.lists(st.sampled_from(further), max_size=0 if trap else 2, unique=True))
    order = draw(st.permutations(["account", "amount", *extras]))
    titles = {"account": names[0], "amount": names[1]} | {name: name for name in extras}
    header = draw(st.integers(0, 5)) > 0 if damaged else True
    rows, meant, lines, bad = [], {}, {}, False
    unquoted = trap == "commas" or (damaged and draw(st.integers(0, 3)) == 0)
    for i, (account, number) in enumerate(wanted, start=1):
        shown = draw(st.sampled_from([account, to_checksum_address(account)]))
        amount = written(Decimal(number).scaleb(-scale), form, digits)
        if damaged and draw(st.integers(0, 29)) == 0:
            amount, bad = draw(st.sampled_from(DAMAGE)), True
        if damaged and draw(st.integers(0, 29)) == 0:
            shown, bad = draw(st.sampled_from(ACCOUNTS)), True
        cells = {"account": shown, "amount": amount} | {n: EXTRAS[n](i) for n in extras}
        rows.append([cells[name] for name in order])
        base = number * 10 ** (decimals - scale) if whole_tokens else number
        key = to_checksum_address(account)
        meant[key] = meant.get(key, 0) + base
        lines.setdefault(key, []).append(i)
    if header:
        rows.insert(0, [titles[name] for name in order])
    text = _text(
        rows,
        "," if trap == "commas" else draw(st.sampled_from(",;\t|")),
        draw(st.booleans()),
        unquoted,
        draw(st.sampled_from(["\n", "\r\n"])),
    )
    data = _encoded(text, draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"])))
    plain: dict[str, Any] = {"form": form, "decimals": decimals if whole_tokens else None}
    if header:
        plain |= {"address_column": names[0], "amount_column": names[1]}
    else:
        plain |= {
            "address_column": str(order.index("account") + 1),
            "amount_column": str(order.index("amount") + 1),
        }
    return Sheet(data, meant, lines, bad, Token("0x" + "9" * 40, "TRW", decimals), plain)


def _text(rows: list[list[str]], delimiter: str, quote: bool, unquoted: bool, end: str) -> str:
    if unquoted:
        return "".join(delimiter.join(row) + end for row in rows)
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL
    csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    return out.getvalue()


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode("utf-8-sig")


def read(file: Path, sheet: Sheet, said: dict[str, Any]) -> RewardList:
    """As the commands read: a unit that nobody says must be clear."""
    file.write_bytes(sheet.data)
    rewards = read_reward_list(file, **said, token=sheet.token)
    if rewards.unit is None:
        require_clear_unit(max(rewards.amounts.values()), rewards.total, sheet.token)
    return rewards


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lists") / "list.csv"


def require_right_or_refused(file: Path, sheet: Sheet, left_out: set[str]) -> None:
    said = {name: value for name, value in sheet.plain.items() if name not in left_out}
    try:
        rewards = read(file, sheet, said)
    except ListError:
        event("refused")
        return
    event("read")
    assert not sheet.bad
    assert rewards.amounts == sheet.meant
    assert Counter(map(len, rewards.places.values())) == Counter(map(len, sheet.lines.values()))
    assert rewards.zero == []


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_right_or_refused(file: Path, data: st.DataObject) -> None:
    """Whatever of the options the user gives, among those that are true: what is read is what the
    spreadsheet meant, to the last base unit and account; else the list is refused."""
    sheet = data.draw(sheets(damaged=True))
    names = st.sampled_from(sorted(sheet.plain))
    require_right_or_refused(file, sheet, data.draw(st.sets(names, max_size=3)))


@pytest.mark.parametrize(
    ("trap", "left_out"), [("points", "form"), ("commas", "form"), ("unit", "decimals")]
)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_traps(file: Path, trap: str, left_out: str, data: st.DataObject) -> None:
    """The same for lists that look like others in every row."""
    sheet = data.draw(sheets(trap=trap))
    names = st.sampled_from(["address_column", "amount_column"])
    require_right_or_refused(file, sheet, {left_out} | data.draw(st.sets(names)))


@settings(max_examples=120, deadline=None)
@given(sheets())
def test_what_is_said_plainly_is_read(file: Path, sheet: Sheet) -> None:
    """With columns, form and unit named, a spreadsheet's list is read, and exactly."""
    assume(max(sheet.meant.values()) <= ACCOUNT_MAX)
    file.write_bytes(sheet.data)
    rewards = read_reward_list(file, **sheet.plain)
    assert rewards.amounts == sheet.meant
    assert {key: len(at) for key, at in rewards.places.items()} == {
        key: len(at) for key, at in sheet.lines.items()
    }
