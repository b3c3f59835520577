"""A list's file as a table of texts: bytes to text, text to rows of cells, each with its place.

Nothing is repaired. What cannot be read is an error with its line.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.errors import CommandError

DELIMITERS = ",;\t|"
ADDRESS_LIKE = re.compile(r"0[xX][0-9a-fA-F]{40}")
SAMPLE_ROWS = 20
_CELL = re.compile(r'(?:^|,) *("(?:[^"]|"")*"|[^,"]*)(?=,|\r|\n|$)')
FAULTS_SHOWN_MAX = 100
FILE_BYTES_MAX = 256 * 2**20


class ListError(CommandError):
    """The list cannot be used. The message names line, column and what was expected."""


class Quoted(str):
    """A cell that stood in quotes: no part of a number in the cell beside it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its line in the file (or its number among a JSON file's entries), and its cells."""

    place: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows, the header among them. `word` is what a place is called; `note` tells how the
    file was read, where that is not a matter of course. `delimiter` stands between cells, if
    anything does."""

    rows: list[Row]
    word: str = "line"
    note: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one row."""

    place: int
    reason: str


def refuse(path: Path, word: str, faults: Sequence[Fault]) -> ListError:
    """The error that tells the faults of all rows, up to 100 of them."""
    shown = faults[:FAULTS_SHOWN_MAX]
    lines = [f"{path}, {word} {fault.place}: {fault.reason}" for fault in shown]
    if more := len(faults) - len(shown):
        lines.append(f"… and {more} more")
    if len(faults) > 1:
        lines.append(f"{len(faults)} faults: nothing of the list is used")
    return ListError("\n".join(lines))


def read_text(path: Path) -> tuple[str, str | None]:
    """(text, how it was decoded if that is not UTF-8). Raises ListError."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ListError(f"{path}: {error.strerror or error}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ListError(f"{path}: expected at most {FILE_BYTES_MAX:,} bytes: split the list")
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ListError(f"{path}: this is a workbook: export the sheet as CSV (UTF-8)")
    encoding = _encoding(path, data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ListError(
            f"{path}, line {line}: byte {data[error.start]:#04x} is no {encoding} text: save the "
            "list as UTF-8"
        ) from error
    return text, None if encoding == "utf-8-sig" else encoding


def _encoding(path: Path, data: bytes) -> str:
    """By the byte order mark; else UTF-8, or what Windows writes where it is not that."""
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in data:
        raise ListError(
            f"{path}: the file has zero bytes and no byte order mark: save the list as UTF-8"
        )
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Addresses and numbers are ASCII: where another code page was meant, no digit differs.
        return "cp1252"
    return "utf-8-sig"


def csv_table(path: Path, text: str, note: str | None) -> Table:
    """The rows that are not blank, each with the line on which it begins.

    Raises ListError, for example for a quote that is never closed.
    """
    first = 1
    delimiter = None
    # Excel writes and reads such a line.
    if match := re.match(r"\s*\"?sep=(.)\"?\r?\n", text, re.IGNORECASE):
        delimiter, text, first = match[1], text[match.end() :], 1 + match[0].count("\n")
    delimiter = delimiter or _delimiter(text)
    return Table(list(_rows(path, text, delimiter, first)), note=note, delimiter=delimiter)


def _rows(path: Path, text: str, delimiter: str, first: int) -> Iterator[Row]:
    lines = io.StringIO(text, newline="").readlines()
    # Strict: otherwise an open quote makes one cell of the rest of the file.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    line = first
    try:
        for row in reader:
            raw = "".join(lines[line - first : reader.line_num])
            marks = _quoted(raw, len(row)) if '"' in raw and delimiter == "," else ()
            cells = [
                Quoted(cell.strip()) if at in marks else cell.strip() for at, cell in enumerate(row)
            ]
            if any(cells):
                yield Row(line, cells)
            line = reader.line_num + first
    except csv.Error as error:
        raise ListError(
            f"{path}, line {line}: the row that begins here cannot be read: {error}"
        ) from error


def _quoted(raw: str, width: int) -> set[int]:
    """The places of the cells in quotes in one row between commas. None where the row is written in
    another way: a cell that is taken for unquoted may be refused, and never pays."""
    found = [match[1] for match in _CELL.finditer(raw.rstrip("\r\n"))]
    if len(found) != width:
        return set()
    return {at for at, cell in enumerate(found) if cell.startswith('"')}


def _delimiter(text: str) -> str:
    """The delimiter that gives most of the first rows an address and another cell; else the one
    that gives most of them several cells."""
    lines = list(itertools.islice(io.StringIO(text, newline=""), SAMPLE_ROWS + 1))

    def score(delimiter: str) -> tuple[int, int]:
        rows = [[cell.strip(' "') for cell in line.rstrip().split(delimiter)] for line in lines]
        wide = [cells for cells in rows if len(cells) > 1]
        with_address = sum(any(ADDRESS_LIKE.fullmatch(cell) for cell in cells) for cells in wide)
        return with_address, len(wide)

    return max(DELIMITERS, key=score)
