"""Reward lists as programs publish them: any CSV with an address column and an amount column."""

import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backend.errors import CommandError
from backend.partner.report import address_fault, to_checksum
from prover.wire import UINT96_MAX

DELIMITERS = ",;\t|"
DECIMAL = re.compile(r"[0-9]{1,78}(\.[0-9]{1,78})?")
ADDRESS_LIKE = re.compile(r"0x[0-9a-fA-F]{40}")
TOTAL_MAX = 2**127 - 1
PARTS_MAX = 64
ACCOUNT_MAX = PARTS_MAX * UINT96_MAX
"""A larger amount for one account is a mistake of units, and would need too many interactions."""
SAMPLE_ROWS = 20


class ListError(CommandError):
    """The list cannot be used. The message names line, column and what was expected."""


@dataclass
class RewardList:
    """Checksummed address -> amount in base units, in order of first appearance."""

    amounts: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, list[int]] = field(default_factory=dict)
    """Address -> its lines, for each address on several lines. Their amounts are summed."""

    @property
    def total(self) -> int:
        return sum(self.amounts.values())


def read_reward_list(
    path: Path,
    address_column: str | None = None,
    amount_column: str | None = None,
    decimals: int | None = None,
) -> RewardList:
    """Read and check a list.

    Columns are found by name if given, else by content. Amounts are base units, or whole tokens
    with at most `decimals` decimals if that is given.

    Raises:
        ListError: naming the line at fault.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ListError(f"{path}: {error}") from error
    rows = list(_rows(path, text))
    if not rows:
        raise ListError(f"{path}: the file is empty: expected rows with an address and an amount")
    header, data = _split_header(rows, address_column, amount_column)
    if not data:
        raise ListError(f"{path}: no rows below the header")
    address_at = _find_column(path, header, data, address_column, "address")
    amount_at = _find_column(path, header, data, amount_column, "amount", besides=address_at)
    if (
        header
        and not (address_column or amount_column)
        and amount_at < len(header)
        and DECIMAL.fullmatch(header[amount_at])
    ):
        # A first row with an amount is no header: its account must not be left out silently.
        data = rows
    rewards = RewardList()
    lines: dict[str, list[int]] = {}
    for line, row in data:
        address, amount = _read_row(path, line, row, address_at, amount_at, decimals)
        lines.setdefault(address, []).append(line)
        rewards.amounts[address] = rewards.amounts.get(address, 0) + amount
        if rewards.amounts[address] > ACCOUNT_MAX:
            raise ListError(
                f"{path}, line {line}: more than {ACCOUNT_MAX} for {address}: are the amounts "
                "in base units?"
            )
    rewards.repeated = {address: at for address, at in lines.items() if len(at) > 1}
    if rewards.total > TOTAL_MAX:
        raise ListError(
            f"{path}: the amounts add up to {rewards.total}, a program can hold less than "
            "2^127: are they in base units?"
        )
    return rewards


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, cells) of each row that is not blank.

    Raises ListError, for example for a quote that is never closed.
    """
    # Strict: otherwise an open quote makes one cell of the rest of the file.
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=_delimiter(text),
        skipinitialspace=True,
        strict=True,
    )
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise ListError(
            f"{path}, line {line}: the row that begins here cannot be read: {error}"
        ) from error


def _delimiter(text: str) -> str:
    """The delimiter that gives most of the first rows an address and another cell."""
    lines = list(itertools.islice(io.StringIO(text, newline=""), SAMPLE_ROWS + 1))

    def rows_with_address(delimiter: str) -> int:
        rows = ([cell.strip(' "') for cell in line.rstrip().split(delimiter)] for line in lines)
        return sum(
            len(cells) > 1 and any(ADDRESS_LIKE.fullmatch(cell) for cell in cells) for cells in rows
        )

    return max(DELIMITERS, key=rows_with_address)


def _split_header(
    rows: list[tuple[int, list[str]]], *named: str | None
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The first row is a header if columns are named or no cell in it is an address."""
    first = rows[0][1]
    if any(named) or not any(ADDRESS_LIKE.fullmatch(cell) for cell in first):
        return first, rows[1:]
    return [], rows


def _find_column(
    path: Path,
    header: list[str],
    data: list[tuple[int, list[str]]],
    name: str | None,
    kind: str,
    besides: int | None = None,
) -> int:
    if name is not None:
        if header.count(name) != 1:
            raise ListError(
                f"{path}: no column called {name!r}: the header has {', '.join(header)}"
            )
        return header.index(name)
    pattern = ADDRESS_LIKE if kind == "address" else DECIMAL
    sample = [row for _, row in data[:SAMPLE_ROWS]]
    width = max(map(len, sample))
    # By majority: one bad row in the sample is reported as a bad row, not as a missing column.
    matches = [
        sum(at < len(row) and bool(pattern.fullmatch(row[at])) for row in sample)
        for at in range(width)
    ]
    found = [at for at in range(width) if at != besides and 2 * matches[at] > len(sample)]
    if kind == "amount" and len(found) > 1:
        found = [
            at
            for at in found
            if at < len(header)
            and re.search(r"amount|total|reward|balance|value|earn", header[at], re.I)
        ] or found
    if len(found) != 1:
        problem = "several columns look" if found else "no column looks"
        raise ListError(f"{path}: {problem} like an {kind}: name it with --{kind}-column")
    return found[0]


def _read_row(
    path: Path, line: int, row: list[str], address_at: int, amount_at: int, decimals: int | None
) -> tuple[str, int]:
    def cell(at: int, name: str) -> str:
        if at >= len(row) or not row[at]:
            raise ListError(f"{path}, line {line}: the {name} is missing")
        return row[at]

    address, amount = cell(address_at, "address"), cell(amount_at, "amount")
    if fault := address_fault(address):
        raise ListError(f"{path}, line {line}: {address!r}: {fault}")
    value = _base_units(amount, decimals)
    if value is None:
        expected = (
            f"a decimal number with at most {decimals} decimals"
            if decimals is not None
            else "an integer in base units"
        )
        hint = (
            ""
            if decimals is not None or "." not in amount
            else "; for whole tokens give --decimals"
        )
        raise ListError(f"{path}, line {line}: amount {amount[:80]!r}: expected {expected}{hint}")
    if value == 0:
        raise ListError(f"{path}, line {line}: the amount is 0")
    return to_checksum(address), value


def _base_units(text: str, decimals: int | None) -> int | None:
    """The amount in base units, exactly; None if it is not one."""
    if not DECIMAL.fullmatch(text) or not text.isascii():
        return None
    whole, _, fraction = text.partition(".")
    if len(fraction.rstrip("0")) > (decimals or 0):
        return None
    if decimals is None:
        return int(whole) if not fraction else None
    return int(whole + fraction.rstrip("0").ljust(decimals, "0"))


def split_amount(amount: int, parts: int) -> list[int]:
    """`amount` as `parts` positive amounts below 2^96 that add up to it.

    A large amount gets more parts, a small one fewer.

    Raises ValueError for an amount above ACCOUNT_MAX.
    """
    if amount > ACCOUNT_MAX:
        raise ValueError(f"amount: expected at most {ACCOUNT_MAX}, got {amount}")
    parts = min(max(parts, -(-amount // UINT96_MAX)), amount)
    share, rest = divmod(amount, parts)
    return [share + (i < rest) for i in range(parts)]
