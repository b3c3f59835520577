"""Reward lists as programs publish them: CSV with an address column and an amount column, the
template of Safe's CSV airdrop, or JSON. A list is read exactly, or refused with its reasons."""

from dataclasses import dataclass, field
from pathlib import Path

from backend.client import list_json
from backend.client.list_accounts import account_fault
from backend.client.list_columns import CELL_SHOWN_MAX, Chosen, Column, Named, choose
from backend.client.list_file import Fault, ListError, Row, Table, csv_table, read_text, refuse
from backend.client.list_numbers import (
    NumberFault,
    NumberForm,
    Unit,
    read_amount,
    require_one_meaning,
)
from backend.client.list_tokens import require_one_token
from backend.client.list_units import ACCOUNT_MAX, TOTAL_MAX
from backend.client.list_words import says_base_units
from backend.kit.token import Token
from backend.partner.report import to_checksum
from prover.wire import UINT96_MAX

SAFE_HEADER = ["token_type", "token_address", "receiver", "amount"]
"""Safe's CSV airdrop; a fifth column, `id`, is for collectibles. Amounts are whole tokens."""


@dataclass
class RewardList:
    """Checksummed address -> amount in base units, in order of first appearance."""

    amounts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[int]] = field(default_factory=dict)
    """Address -> the lines (or entries) that pay it. Their amounts are summed."""
    zero: list[int] = field(default_factory=list)
    """Lines whose amount is 0: they pay nothing."""
    unit: Unit | None = None
    """As the user or the list says; None if neither does: then amounts were read as base units."""
    columns: tuple[str, str] = ("", "")
    """What was taken for accounts and amounts."""
    word: str = "line"
    note: str | None = None

    @property
    def total(self) -> int:
        return sum(self.amounts.values())

    @property
    def repeated(self) -> dict[str, list[int]]:
        """Address -> its lines, for each address on several lines."""
        return {address: at for address, at in self.places.items() if len(at) > 1}


def read_reward_list(
    path: Path,
    address_column: str | None = None,
    amount_column: str | None = None,
    decimals: int | None = None,
    *,
    unit: Unit | None = None,
    form: NumberForm | None = None,
    token: Token | None = None,
    any_token: bool = False,
) -> RewardList:
    """Read and check a list.

    Columns are given by name or by position from 1, else found by name and content. Amounts are
    base units, or whole tokens with at most `decimals` decimals if that is given. `form` says how
    numbers are written. `token` is the one that is paid: a list that names a token must name this
    one, unless `any_token` is set.

    Raises:
        ListError: naming what is at fault, up to 100 lines.
    """
    expected = None if any_token or token is None else token.address
    text, encoding = read_text(path)
    merkl = None
    if text.lstrip()[:1] in ("{", "["):
        value = list_json.read_json(path, text)
        merkl = list_json.merkl_rewards(path, value)
        table = merkl[1] if merkl else list_json.object_rows(path, value)
    else:
        table = csv_table(path, text, f"read as {encoding}" if encoding else None)
    if not table.rows:
        raise ListError(f"{path}: the file is empty: expected rows with an address and an amount")
    if unit is Unit.TOKENS and decimals is None:
        raise ListError(f"{path}: whole tokens: expected the token's decimals")
    said = Unit.TOKENS if decimals is not None else unit
    if merkl:
        _require_token(path, "rewardToken", merkl[0], expected)
        said = _agreed(path, said, Unit.BASE, "Merkl's JSON holds base units")
    safe = not merkl and set(SAFE_HEADER) <= {name.lower() for name in table.rows[0].cells}
    if safe:
        _check_safe(path, table, expected)
        said = _agreed(path, said, Unit.TOKENS, "Safe's template holds whole tokens")
        table = _without_token(table)
        decimals = token.decimals if decimals is None and token else decimals
        if decimals is None:
            raise ListError(f"{path}: Safe's template holds whole tokens: say `--decimals`")
    # A list that may be of any token may name any.
    symbol = None if any_token or token is None else token.symbol
    try:
        chosen = choose(path, table, Named(address_column, amount_column), symbol)
    except ListError as error:
        if encoding is None:
            raise
        # The header may be in another code page than the one that was taken for it.
        raise ListError(f"{error} (the file was read as {encoding}: save it as UTF-8)") from error
    require_one_token(path, table, chosen, None if any_token else token)
    if says_base_units(chosen.amount.name):
        said = _agreed(path, said, Unit.BASE, f"{chosen.amount.name} says base units")
    rewards = RewardList(
        unit=said,
        columns=(chosen.address.name, chosen.amount.name),
        word=table.word,
        note=table.note,
    )
    _read_rows(path, table.word, chosen, form, decimals, rewards)
    return rewards


def _agreed(path: Path, said: Unit | None, holds: Unit, why: str) -> Unit:
    if said not in (None, holds):
        raise ListError(
            f"{path}: {why}, but the command says {said}: say `--unit {holds}`, or rename the "
            "column if it holds something else"
        )
    return holds


def _require_token(path: Path, where: str, named: str, expected: str | None) -> None:
    if expected is not None and named.lower() != expected.lower():
        raise ListError(
            f"{path}: {where}: the list pays the token {named[:80]!r}, the program {expected}"
        )


def _check_safe(path: Path, table: Table, expected: str | None) -> None:
    """Each row must pay the program's token, as an ERC-20: others are told, not skipped."""
    faults = []
    places = [_names(table).index(name) for name in SAFE_HEADER[:2]]
    tokens = set()
    for row in table.rows[1:]:
        kind, token = (row.cells[at] if at < len(row.cells) else "" for at in places)
        tokens |= {token.lower()} - {""}
        if kind.lower() != "erc20":
            faults.append(
                Fault(row.place, f"column `token_type`: {kind[:CELL_SHOWN_MAX]!r}: expected erc20")
            )
        elif expected is not None and token.lower() != expected.lower():
            faults.append(
                Fault(
                    row.place,
                    f"column `token_address`: {token[:CELL_SHOWN_MAX]!r}: expected the program's "
                    f"token, {expected}",
                )
            )
    if not faults and len(tokens) > 1:
        shown = ", ".join(sorted(token[:CELL_SHOWN_MAX] for token in tokens)[:3])
        raise ListError(
            f"{path}: column `token_address`: expected one token, got {len(tokens)} ({shown}): "
            "pay each token from a list of its own"
        )
    if faults:
        raise refuse(path, table.word, faults)


def _names(table: Table) -> list[str]:
    return [name.lower() for name in table.rows[0].cells]


def _without_token(table: Table) -> Table:
    """Safe's template without its token's address and type, which are checked."""
    places = {_names(table).index(name) for name in SAFE_HEADER[:2]}
    rows = [
        Row(row.place, [cell for at, cell in enumerate(row.cells) if at not in places])
        for row in table.rows
    ]
    note = "; ".join(filter(None, [table.note, "Safe's CSV airdrop"]))
    return Table(rows, table.word, note, table.delimiter)


def _read_rows(
    path: Path,
    word: str,
    chosen: Chosen,
    form: NumberForm | None,
    decimals: int | None,
    rewards: RewardList,
) -> None:
    """Read every row into `rewards`. Raises ListError with all faults."""
    faults: list[Fault] = []
    whole = [row for row in chosen.data if len(row.cells) == chosen.width]
    if form is None and decimals is not None:
        try:
            require_one_meaning([row.cells[chosen.amount.at] for row in whole])
        except NumberFault as error:
            raise ListError(
                f"{path}, {word} {whole[0].place}: {chosen.amount.name}: a number {error}"
            ) from error
    for row in chosen.data:
        if len(row.cells) != chosen.width:
            faults.append(Fault(row.place, _wrong_width(row, chosen)))
            continue
        try:
            address, amount = _read_row(row, chosen, form or NumberForm.PLAIN, decimals)
            _add(rewards, row.place, address, amount)
        except NumberFault as error:
            faults.append(Fault(row.place, str(error)))
    if faults:
        raise refuse(path, word, faults)
    if not rewards.amounts:
        raise ListError(f"{path}: every amount is 0: nothing is to be paid")
    if rewards.total > TOTAL_MAX:
        raise ListError(
            f"{path}: the amounts add up to {rewards.total}, a program can hold less than "
            "2^127: are they in base units?"
        )


def _wrong_width(row: Row, chosen: Chosen) -> str:
    reason = f"expected {chosen.width} cells, as many as the first row has; got {len(row.cells)}"
    missing = [
        f"the {kind} is missing"
        for kind, column in (("address", chosen.address), ("amount", chosen.amount))
        if column.at >= len(row.cells) or not row.cells[column.at]
    ]
    if len(row.cells) > chosen.width:
        extra = row.cells[chosen.width :]
        missing.append(
            "is a number with a comma in it, or a text, not quoted?"
            if any(extra)
            else "take out the delimiter at its end, or put one at the end of the header too"
        )
    return "; ".join([reason, *missing])


def _read_row(row: Row, chosen: Chosen, form: NumberForm, decimals: int | None) -> tuple[str, int]:
    """(address, amount) of a row. Raises NumberFault with all that is wrong with it."""
    account, cell = row.cells[chosen.address.at], row.cells[chosen.amount.at]
    reasons = []
    amount = 0
    if fault := account_fault(account):
        reasons.append(_reason(chosen.address, account, fault))
    try:
        amount = read_amount(cell, form, decimals)
    except NumberFault as error:
        reasons.append(_reason(chosen.amount, cell, str(error)))
    if reasons:
        raise NumberFault("; ".join(reasons))
    return to_checksum(account), amount


def _reason(column: Column, cell: str, fault: str) -> str:
    return f"{column.name}: {str(cell[:CELL_SHOWN_MAX])!r} {fault}"


def _add(rewards: RewardList, place: int, address: str, amount: int) -> None:
    if amount == 0:
        rewards.zero.append(place)
        return
    total = rewards.amounts.get(address, 0) + amount
    if total > ACCOUNT_MAX:
        raise NumberFault(
            f"more than {ACCOUNT_MAX} base units for {address}: are the amounts in base units "
            "(`--unit base`)?"
        )
    rewards.amounts[address] = total
    places = rewards.places.setdefault(address, [])
    if place not in places[-1:]:
        # Merkl's file has several reasons in the entry of one account.
        places.append(place)


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
