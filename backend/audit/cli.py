"""`guerdon audit`: the auditor on a command line. Exit code 0 only if all holds, 1 with findings, 2
if nothing could be audited."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from backend.chain.finality import FINALITY_EXPECTED
from backend.errors import GuerdonError
from backend.kit.terminal import cell, errors, new_table, output

if TYPE_CHECKING:
    from backend.audit.report import AuditReport, Finding

FINDINGS, IMPOSSIBLE = 1, 2
OLD_SECONDS = 3600
"""Older than this, a last block is warned of: longer than chains take to finalize one."""


def audit(
    rpc_url: Annotated[str, typer.Option("--rpc-url", help="The chain's node, http(s).")],
    distributor: Annotated[
        str, typer.Option("--distributor", help="The program's Distributor, 0x...")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole report as JSON.")
    ] = False,
    first_block: Annotated[
        int | None,
        typer.Option("--first-block", help="The Distributor's block; searched for if not given."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            help="The verifying key there must be, which you vouch for: its digest, JSON file or "
            "folder. Else one of the local cache.",
        ),
    ] = None,
    max_age: Annotated[
        int | None,
        typer.Option(min=0, help="Refuse a last block that is older than this many seconds."),
    ] = None,
    finality: Annotated[
        str, typer.Option("--finality", help=f"Audit up to: {FINALITY_EXPECTED}.")
    ] = "latest",
) -> None:
    """Audit a program from the chain alone.

    Every bucket is rebuilt; each root, proof, attestation, claim and total, and the reserve are
    checked.
    """
    from backend.audit.auditor import audit as run_audit
    from backend.audit.keys import expected_key
    from backend.chain.web3_node import connect

    try:
        expected = None if key is None else expected_key(key)
        node = connect(rpc_url)
        with _progress_bars(errors.console()) as progress:
            report = run_audit(
                node,
                distributor,
                first_block,
                progress,
                expected_keys=expected,
                finality=finality,
                age_seconds_max=max_age,
            )
    except Exception as error:  # Exit code 1 must mean findings and nothing else.
        body = (
            error
            if isinstance(error, GuerdonError)
            else GuerdonError(f"{type(error).__name__}: {error}")
        )
        errors.print(f"could not audit: {body.message}", style="red")
        if as_json:
            output.document({"ok": False, **body.to_json()})
        raise typer.Exit(IMPOSSIBLE) from error
    if as_json:
        output.document(report.to_json())
    else:
        _print(report)
    raise typer.Exit(0 if report.ok else FINDINGS)


@contextmanager
def _progress_bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield progress


def _print(report: "AuditReport") -> None:
    facts = new_table(f"Distributor {report.distributor} on chain {report.chain_id}", "", "")
    facts.show_header = False
    rows = {
        "blocks": f"{report.first_block} to {report.last_block}",
        "as of": _as_of(report),
        "token": "" if report.token is None else report.token.address,
        "verifying key": report.key_digest or "none that can be read",
        "accounts": report.accounts,
        "batches": len(report.batches),
        **{name: _shown(report, amount) for name, amount in report.totals.items()},
    }
    for name, value in rows.items():
        facts.add_row(name, cell(value))
    output.print(facts)
    checks = new_table("What was checked", "checked", "times")
    for name, count in report.checks.items():
        checks.add_row(name, cell(count))
    output.print(checks)
    if report.findings:
        findings = new_table("Findings", "finding", "batch", "what")
        findings.title_style, findings.show_lines = "red", True
        for found in report.findings:
            # Text, not markup: messages hold brackets.
            what = Text(
                found.message
                if found.tx_hash is None
                else f"{found.message}\ntransaction {found.tx_hash}"
            )
            findings.add_row(found.code, _batch(found), what)
        output.print(findings)
        output.print(
            f"{len(report.findings)} findings: this program does not hold.", style="bold red"
        )
    else:
        output.print(f"Everything holds as of {_as_of(report)}.", style="bold green")
    if report.age_seconds > OLD_SECONDS:
        errors.print(
            "This block is old. What has happened since is not in this audit: ask a node that has "
            "caught up, and bound the age with --max-age.",
            style="yellow",
        )


def _as_of(report: "AuditReport") -> str:
    """The last block with its age, in the largest unit that it fills twice."""
    age, unit = report.age_seconds, "s"
    for size, name in ((60, "min"), (60, "h"), (24, "days")):
        if age < 2 * size:
            break
        age, unit = age // size, name
    return f"block {report.last_block}, {age} {unit} old"


def _shown(report: "AuditReport", amount: int) -> str:
    return str(amount) if report.token is None else report.token.text(amount)


def _batch(found: "Finding") -> str:
    if found.bucket is None:
        return ""
    return f"bucket {found.bucket}" + (
        "" if found.sequence is None else f", sequence {found.sequence}"
    )
