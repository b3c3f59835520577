"""What the commands print: results, lists, progress and tables.

What a command did is one JSON document on standard output. A list or a report is a table there, and
with --json one JSON document. Messages and progress go to standard error.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from backend.kit.terminal import cell, new_table
from backend.kit.terminal import errors as errors
from backend.kit.terminal import output as output
from backend.kit.token import Token

if TYPE_CHECKING:
    from backend.payout.push import Push

_asked = {"json": False}


def wants_json() -> bool:
    """Whether the command that runs was called with --json."""
    return _asked["json"]


@contextmanager
def answer(as_json: bool) -> Iterator[None]:
    """Inside, a command runs that was called with or without --json. With it, standard output gets
    one document, an empty one if the command has no data."""
    _asked["json"] = as_json
    before = output.documents

    def complete() -> None:
        if as_json and output.documents == before:
            output.document({})

    try:
        yield
    except typer.Exit:
        complete()
        raise
    else:
        complete()
    finally:
        _asked["json"] = False


def show_list(
    title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """A table of `columns`, all by default; with --json all of each row, as one document."""
    if wants_json():
        output.document([dict(row) for row in rows])
        return
    names = list(columns or (rows[0] if rows else ()))
    table = new_table(title, *names)
    for row in rows:
        table.add_row(*(cell(row[name]) for name in names))
    output.print(table if rows else f"{title}: none.")


def show_facts(
    title: str, facts: Mapping[str, Any], shown: Mapping[str, Any] | None = None
) -> None:
    """A table with one line for each fact, or for what is `shown` instead; with --json all facts as
    one document."""
    if wants_json():
        output.document(dict(facts))
        return
    table = new_table(title, "", "")
    table.show_header = False
    for name, value in (facts if shown is None else shown).items():
        table.add_row(cell(name.replace("_", " ")), cell(value))
    output.print(table)


class Steps:
    """Progress bars, one for each step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show `done` of `total` of a step. A step without a name is not shown."""
        if not what:
            return
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)

    def line(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def steps() -> Iterator[Steps]:
    """Progress bars on standard error. Without a terminal there: plain lines."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<28}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors.console()) as progress:
        yield Steps(progress)


def push_json(push: "Push") -> dict[str, Any]:
    """One transaction of claims, or a call that was not sent, with each account's outcome."""
    payments = [
        {
            "account": one.account,
            "result": one.result,
            "amount": str(one.amount),
            "reason": one.reason,
        }
        for one in push.payments
    ]
    return {"tx_hash": push.tx_hash, "gas_used": push.gas_used, "payments": payments}


def batch_table(batches: list[dict[str, Any]]) -> Table:
    """One row for each batch."""
    table = Table(title="Batches", title_justify="left")
    for name in ("bucket", "sequence", "items", "accounts", "proof s", "in one tx", "post gas"):
        table.add_column(name, justify="right")
    for row in batches:
        table.add_row(
            str(row["bucket"]),
            str(row["sequence"]),
            str(row["items"]),
            str(row["accounts_touched"]),
            f"{row['prove_seconds']:.2f}",
            str(row["batches_in_tx"]),
            f"{row['gas_used']:,}",
        )
    return table


def claim_table(claims: list[dict[str, Any]]) -> Table:
    """One row for each way to claim."""
    table = Table(title="Claims", title_justify="left")
    for name in ("how", "accounts", "gas an account: least", "mean", "most"):
        table.add_column(name, justify="left" if name == "how" else "right")
    for how in dict.fromkeys(row["how"] for row in claims):
        gas = [row["gas_used"] // row["accounts_in_tx"] for row in claims if row["how"] == how]
        table.add_row(
            how, str(len(gas)), f"{min(gas):,}", f"{sum(gas) // len(gas):,}", f"{max(gas):,}"
        )
    return table


def _posts(batches: list[dict[str, Any]]) -> str:
    """How many transactions posted the batches."""
    sent = len({row["tx_hash"] for row in batches})
    most = max(row["batches_in_tx"] for row in batches)
    gas = sum(row["gas_used"] for row in batches)
    return f"{sent} transactions, up to {most} batches in one, {gas // len(batches):,} gas a batch"


def summary_table(report: dict[str, Any], seconds: float) -> Table:
    """The totals of a demo."""
    table = Table(
        title="The program, audited from the chain alone", title_justify="left", show_header=False
    )
    totals, prove = report["totals"], [row["prove_seconds"] for row in report["batches"]]
    token = Token(report["token"], report["token_symbol"], report["token_decimals"])
    rows = {
        "accounts": f"{report['accounts']:,}",
        "interactions": f"{report['interactions']:,}, and {report['duplicates']} repeated and "
        f"{report['rejected']} forged without effect",
        "batches": f"{len(prove)}, proven in {sum(prove) / len(prove):.2f} s each "
        f"({sum(prove):.1f} s in "
        "all)",
        "posts": _posts(report["batches"]),
        "committed": token.text(int(totals["committed"])),
        "claimed": token.text(int(totals["claimed"])),
        "reserve left": token.text(int(totals["reserve"])),
        "audit": "everything holds" if report["audit"]["ok"] else "FAILED",
        "Distributor": report["distributor"],
        "seconds": f"{seconds:.0f}",
    }
    for name, value in rows.items():
        # Text, not markup: a token's maker chooses its symbol.
        table.add_row(name, Text(value))
    return table
