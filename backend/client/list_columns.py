"""Which column of a list holds the accounts, and which the amounts.

A column is taken only if its name and its content agree, or if the user names it. Where another
column could be meant, none is taken: the error names them and says which option decides.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.client.list_accounts import looks_like_account
from backend.client.list_file import ADDRESS_LIKE, ListError, Quoted, Row, Table
from backend.client.list_numbers import looks_like_number
from backend.client.list_words import Said, said

CELL_SHOWN_MAX = 60
ABOVE_HEADER_MAX = 6


@dataclass(frozen=True, slots=True)
class Column:
    """A chosen column: its position from 0, and what it is called."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Named:
    """What the user says: a column's name, or its position from 1."""

    address: str | None = None
    amount: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The columns, the rows below the header, and how many cells each row must have."""

    address: Column
    amount: Column
    data: list[Row]
    width: int


def choose(path: Path, table: Table, named: Named, symbol: str | None) -> Chosen:
    """Split the header off, and choose the columns. Raises ListError."""
    first, *rest = table.rows
    _require_a_table(path, table, named)
    # The keys of JSON's objects are a header whatever they are.
    if first.place and not _has_header(first, named):
        chosen = _by_position(path, table, named)
        _require_one_cell(path, table, chosen, [""] * len(first.cells))
        return chosen
    if not rest:
        raise ListError(f"{path}: no rows below the header")
    sheet = _Sheet(path, table.word, first.cells, rest, symbol)
    address = sheet.named(named.address, "address") or sheet.address()
    amount = sheet.named(named.amount, "amount") or sheet.amount(address)
    if address.at == amount.at:
        raise ListError(f"{path}: {address.name} cannot hold both the accounts and the amounts")
    chosen = Chosen(address, amount, rest, len(first.cells))
    _require_one_cell(path, table, chosen, first.cells)
    return chosen


def _require_a_table(path: Path, table: Table, named: Named) -> None:
    """Refuse a file whose rows are one cell each, and lines above the header. Raises ListError."""
    first = table.rows[0]
    if any(
        said(cell) is Said.ADDRESS or cell in (named.address, named.amount) for cell in first.cells
    ):
        return
    if table.delimiter and all(len(row.cells) == 1 for row in table.rows):
        raise ListError(
            f"{path}, {table.word} {first.place}: no delimiter is between the cells: expected an "
            "address and an amount with a comma, a semicolon, a tab or | between them"
        )
    for row in table.rows[1:ABOVE_HEADER_MAX]:
        if {Said.ADDRESS, Said.AMOUNT} <= {said(cell) for cell in row.cells}:
            raise ListError(
                f"{path}, {table.word} {first.place}: this is no header, {table.word} {row.place} "
                "looks like one: take out the lines above it"
            )


def _require_one_cell(path: Path, table: Table, chosen: Chosen, names: Sequence[str]) -> None:
    """Refuse amounts that may be one half of a number with a comma in it, which nobody quoted.
    Raises ListError."""
    if table.delimiter != ",":
        return
    rows = [row for row in chosen.data if len(row.cells) == chosen.width]
    for at in (chosen.amount.at - 1, chosen.amount.at + 1):
        if not 0 <= at < chosen.width or at == chosen.address.at:
            continue
        pair = sorted((at, chosen.amount.at))
        if row := _halved(rows, (pair[0], pair[1]), at, names[at]):
            left, right = (_shown(row.cells[i]) for i in pair)
            raise ListError(
                f"{path}, {table.word} {row.place}: {left} and {right} may be one number with a "
                "comma in it: put numbers in quotes, and leave out a column that holds numbers and "
                "has no name"
            )


def _halved(rows: Sequence[Row], pair: tuple[int, int], beside: int, name: str) -> Row | None:
    """The first row whose two cells may be one number; None if the column `beside` the amounts
    holds something of its own.

    A column of its own has a name, and holds numbers in all rows or in none that could be a part.
    """
    digits = [row for row in rows if _may_be_one(row, pair, _DIGITS, _DIGITS)]
    groups = [row for row in rows if _may_be_one(row, pair, _LEFT_GROUP, _RIGHT_GROUP)]
    whole = bool(rows) and all(_NUMERIC.fullmatch(row.cells[beside]) for row in rows)
    if said(name) is Said.OTHER:
        # A rank may be missing here and there.
        found = [] if whole else groups
    elif name and whole:
        found = groups if len(groups) == len(rows) else []
    else:
        found = sorted({row.place: row for row in digits + groups}.values(), key=_place)
    return found[0] if found else None


def _place(row: Row) -> int:
    return row.place


def _may_be_one(
    row: Row, pair: tuple[int, int], left: re.Pattern[str], right: re.Pattern[str]
) -> bool:
    cells = [row.cells[at] for at in pair]
    if any(isinstance(cell, Quoted) for cell in cells):
        return False
    return bool(left.fullmatch(cells[0]) and right.fullmatch(cells[1]))


_NOTHING = re.compile(r"(?i)|-+|\?+|n/?a|nan|null|none|tbd")
_SCALED = re.compile(r"[0-9.,]+ ?[kKmMbB]")
_DIGITS = re.compile(r"[0-9]+")
_NUMERIC = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_LEFT_GROUP = re.compile(r"[1-9][0-9]{0,2}(?:\.[0-9]{3})*")
_RIGHT_GROUP = re.compile(r"[0-9]{3}(?:\.[0-9]+)?|(?<=\.)[0-9]+")


def _has_header(first: Row, named: Named) -> bool:
    """Whether the first row is a header. One that holds an account or a number is none, unless the
    user names its cells: an account must not be left out in silence."""
    cells = first.cells
    names = [name for name in (named.address, named.amount) if name and _position(name) is None]
    if names and all(name in cells for name in names):
        return True
    if any(looks_like_account(cell) or looks_like_number(cell) for cell in cells):
        return False
    if named.address is None or named.amount is None or names:
        return True
    # By position alone, a row without account and number may be a damaged one: its words must say.
    return any(
        said(cells[at - 1]) is kind
        for name, kind in ((named.address, Said.ADDRESS), (named.amount, Said.AMOUNT))
        if (at := _position(name)) and at <= len(cells)
    )


def _position(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() and len(name) < 6 else None


def _by_position(path: Path, table: Table, named: Named) -> Chosen:
    first = table.rows[0]
    places = {
        kind: None if name is None else _position(name)
        for kind, name in (("address", named.address), ("amount", named.amount))
    }
    address, amount = places["address"], places["amount"]
    if address is None or amount is None or address == amount:
        shown = ", ".join(f"{at} {_shown(cell)}" for at, cell in enumerate(first.cells, start=1))
        raise ListError(
            f"{path}, {table.word} {first.place}: this is no header, it holds an account or a "
            "number, so nothing says which column is which. Say their positions with "
            f"`--address-column N --amount-column N`. The columns are: {shown}"
        )
    for kind, at in (("address", address), ("amount", amount)):
        if not 1 <= at <= len(first.cells):
            raise ListError(
                f"{path}: --{kind}-column: expected 1 to {len(first.cells)}, the columns of "
                f"{table.word} {first.place}; got {at}"
            )
    return Chosen(
        Column(address - 1, f"column {address}"),
        Column(amount - 1, f"column {amount}"),
        table.rows,
        len(first.cells),
    )


@dataclass(frozen=True)
class _Sheet:
    path: Path
    word: str
    header: Sequence[str]
    data: Sequence[Row]
    symbol: str | None

    def named(self, name: str | None, kind: str) -> Column | None:
        """The column that the user names; None if the user does not."""
        if name is None:
            return None
        position = _position(name)
        if position is not None and 1 <= position <= len(self.header):
            return self._column(position - 1)
        if self.header.count(name) == 1:
            return self._column(self.header.index(name))
        several = "several columns are" if name in self.header else "no column is"
        raise ListError(
            f"{self.path}: --{kind}-column: {several} called {name!r}: the header has "
            f"{_names(self.header)}. Say the name of one, or its position from 1"
        )

    def address(self) -> Column:
        """The one column that holds addresses, by what it is called too."""
        names = [said(name, self.symbol) for name in self.header]
        holding = self._where(_is_address)
        if not holding:
            # Every row is then told with what is wrong with its address.
            holding = [at for at, name in enumerate(names) if name is Said.ADDRESS]
        if len(holding) == 1 and names[holding[0]] is Said.ADDRESS:
            return self._column(holding[0])
        where = self._place(holding, _is_address)
        if not holding:
            raise ListError(
                f"{self.path}: no column holds addresses (0x and 40 hex digits): the header has "
                f"{_names(self.header)}. Name one with `--address-column`"
            )
        if len(holding) == 1:
            raise ListError(
                f"{where} looks like an address, but the column's name does not say "
                f"so: name it with `--address-column {_clean(self.header[holding[0]])!r}` if "
                "these are the accounts to pay"
            )
        raise ListError(
            f"{where}: several columns look like an address: name the accounts' "
            "column with `--address-column`"
        )

    def amount(self, address: Column) -> Column:
        """The one column that is called an amount, if no other could be meant."""
        names = [said(name, self.symbol) for name in self.header]
        others = [at for at in range(len(self.header)) if at != address.at]
        called = [at for at in others if names[at] is Said.AMOUNT]
        rivals = [
            at
            for at in others
            if names[at] is not Said.AMOUNT
            and (names[at] is not Said.OTHER or not called)
            and self._is_numeric(at)
        ]
        could_be = sorted(called + rivals)
        if len(called) == 1 and not rivals:
            return self._column(called[0])
        where = self._place(could_be, looks_like_number)
        if not could_be:
            raise ListError(
                f"{self.path}: no column looks like an amount: the header has "
                f"{_names(self.header)}. Name one with `--amount-column`"
            )
        if len(could_be) == 1:
            raise ListError(
                f"{where} looks like an amount, but the column's name does not say "
                f"so: name it with `--amount-column {_clean(self.header[could_be[0]])!r}` if that "
                "is what to pay"
            )
        raise ListError(
            f"{where}: several columns look like an amount: name the one to pay "
            "with `--amount-column`"
        )

    def _column(self, at: int) -> Column:
        return Column(at, f"column `{_clean(self.header[at])}`")

    def _where(self, test: Callable[[str], bool]) -> list[int]:
        """Columns that hold at least one cell of a kind."""
        return [
            at
            for at in range(len(self.header))
            if any(at < len(row.cells) and test(row.cells[at]) for row in self.data)
        ]

    def _is_numeric(self, at: int) -> bool:
        """Whether most of a column's cells that say anything look like numbers."""
        cells = [row.cells[at] for row in self.data if at < len(row.cells)]
        cells = [cell for cell in cells if not _NOTHING.fullmatch(cell)]
        numbers = sum(looks_like_number(cell) or bool(_SCALED.fullmatch(cell)) for cell in cells)
        return 2 * numbers > len(cells)

    def _place(self, columns: Sequence[int], holds: Callable[[str], bool]) -> str:
        """Where it can be seen: the first row that holds such a cell in one of the columns."""
        row = next(
            (
                r
                for r in self.data
                if any(at < len(r.cells) and holds(r.cells[at]) for at in columns)
            ),
            self.data[0],
        )
        cells = [row.cells[at] if at < len(row.cells) else "" for at in columns]
        shown = ", ".join(
            f"column `{_clean(self.header[at])}` ({_shown(cell)})"
            for at, cell in zip(columns, cells, strict=True)
        )
        return f"{self.path}, {self.word} {row.place}: {shown}"


def _is_address(cell: str) -> bool:
    return ADDRESS_LIKE.fullmatch(cell) is not None


def _names(header: Sequence[str]) -> str:
    return ", ".join(f"`{_clean(name)}`" for name in header)


def _clean(name: str) -> str:
    """A column's name as an error shows it: it comes from a stranger's file."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name[:CELL_SHOWN_MAX])


def _shown(cell: str) -> str:
    """A cell as an error shows it."""
    return repr(str(cell[:CELL_SHOWN_MAX]))
