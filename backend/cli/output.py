"""What the commands print: progress and tables.

Text for people goes to standard error, or is a table on standard output.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
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

from backend.kit.token import Token

if TYPE_CHECKING:
    from backend.payout.push import Push

errors = Console(stderr=True)
output = Console()


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
        self._progress.console.print(text, highlight=False)


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
    with Progress(*columns, console=errors) as progress:
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
    for name in ("bucket", "sequence", "items", "accounts", "proof s", "post gas"):
        table.add_column(name, justify="right")
    for row in batches:
        table.add_row(
            str(row["bucket"]),
            str(row["sequence"]),
            str(row["items"]),
            str(row["accounts_touched"]),
            f"{row['prove_seconds']:.2f}",
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


def key_table(parent: str, keys: list[tuple[str, str, int, str, bool, str]]) -> Table:
    """One row for each key in folder `parent`.

    A key is instance, origin, people, digest, whether its circuit is the present one, and folder.
    """
    table = Table(title=f"Keys in {parent}", title_justify="left")
    for name in ("instance", "origin", "people", "key", "circuit", "folder"):
        table.add_column(name, justify="right" if name == "people" else "left", overflow="fold")
    for instance, origin, people, digest, current, folder in keys:
        table.add_row(
            instance, origin, str(people), digest, "present" if current else "another", folder
        )
    return table
