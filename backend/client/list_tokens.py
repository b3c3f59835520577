"""Columns of a list that name the token of a row: all must name the program's token."""

from pathlib import Path

from backend.client.list_columns import Chosen
from backend.client.list_file import Fault, Table, refuse
from backend.client.list_numbers import looks_like_number
from backend.client.list_words import words
from backend.kit.token import Token

NAMES = {
    ("token",),
    ("token", "address"),
    ("token", "symbol"),
    ("token", "contract"),
    ("symbol",),
    ("currency",),
    ("asset",),
    ("coin",),
    ("ticker",),
    ("contract", "address"),
}
CHAINS = {("chain",), ("chain", "id"), ("network",)}
DECIMALS = {("decimals",), ("token", "decimals")}
SHOWN_MAX = 60


def require_one_token(path: Path, table: Table, chosen: Chosen, token: Token | None) -> None:
    """Refuse rows that name another token, other decimals, or another chain than the first row's.

    Raises ListError with the faults of all rows.
    """
    if chosen.data is table.rows or not chosen.data:
        return  # No header.
    faults: list[Fault] = []
    for at, name in enumerate(table.rows[0].cells):
        if at in (chosen.address.at, chosen.amount.at):
            continue
        expected = _expected(tuple(words(name)), chosen, at, token)
        if expected is None:
            continue
        for row in chosen.data:
            cell = row.cells[at] if at < len(row.cells) else ""
            if cell and cell.casefold() not in expected:
                shown = " or ".join(sorted(expected))
                faults.append(
                    Fault(
                        row.place,
                        f"column `{name[:SHOWN_MAX]}`: {str(cell[:SHOWN_MAX])!r}: expected {shown}",
                    )
                )
    if faults:
        raise refuse(path, table.word, faults)


def _expected(
    name: tuple[str, ...], chosen: Chosen, at: int, token: Token | None
) -> frozenset[str] | None:
    """What each cell of a column must be, in small letters; None if it may be anything."""
    cells = [row.cells[at] for row in chosen.data if at < len(row.cells) and row.cells[at]]
    if name in CHAINS and cells:
        return frozenset({cells[0].casefold()})
    if token is None:
        return None
    if name in DECIMALS and token.decimals is not None:
        return frozenset({str(token.decimals)})
    if name in NAMES and not all(map(looks_like_number, cells)):
        return frozenset(one.casefold() for one in (token.address, token.symbol) if one)
    return None
