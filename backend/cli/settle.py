"""`guerdon prove`, `post`, `watch` and `claim`: the steps to the chain, by hand."""

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.app import Commands
from backend.cli.context import ProgramName, halt_text, load_program, open_context
from backend.cli.output import errors, output, push_json, steps, wants_json
from backend.errors import Conflict

if TYPE_CHECKING:
    from backend.batch.models import Batch, BatchState

app = Commands()


@app.command()
def prove(program: ProgramName) -> None:
    """Attest and prove every closed batch that can be proven now.

    A batch that cannot be attested yet is proven ahead.
    """
    from backend.batch.models import BatchState

    _show_open(_advance(program, BatchState.PROVEN, lambda: False))


@app.command()
def post(
    program: ProgramName,
    wait_seconds: Annotated[int, typer.Option(min=0, help="How long to wait.")] = 120,
) -> None:
    """Post every batch and wait until it is final. Fails if one is not final in time."""
    from backend.batch.models import BatchState

    deadline = time.monotonic() + wait_seconds
    left = _advance(program, BatchState.FINAL, lambda: time.monotonic() < deadline)
    _show_open(left)
    if left:
        raise typer.Exit(1)


def _show_open(batches: "list[Batch]") -> None:
    """The batches that are not there yet, with what each waits for."""
    if wants_json():
        names = ("bucket", "sequence", "state", "note")
        output.document([{name: getattr(batch, name) for name in names} for batch in batches])
        return
    for batch in batches:
        errors.print(
            f"bucket {batch.bucket} sequence {batch.sequence}: {batch.state} {batch.note or ''}"
        )


def _advance(program: str, until: "BatchState", wait: Callable[[], bool]) -> "list[Batch]":
    """Advance every batch to `until`. Returns the batches that are not there yet."""
    from backend import pipeline
    from backend.batch import repository
    from backend.batch.models import BatchState

    with open_context() as context, steps() as show:
        row = load_program(context, program)
        if row.halted is not None:
            raise Conflict(halt_text(row))
        with context.database.transaction() as session:
            total = len(repository.open_batches(session, row.id))
        due: set[int] | None = None  # At first all are tried: each says what it waits for.
        while True:
            with context.database.transaction() as session:
                rows = repository.open_batches(session, row.id)
            show(f"Batches {until}", total - sum(batch.state != until for batch in rows), total)
            if not rows:
                return []
            oldest = {batch.bucket: batch for batch in reversed(rows)}
            moving = rows if until is BatchState.PROVEN else oldest.values()
            states = [
                pipeline.advance(context, batch.id, until)
                for batch in moving
                if due is None or batch.id in due
            ]
            if not any(state is until for state in states) or until is not BatchState.FINAL:
                if not wait():
                    break
                time.sleep(0.3)
            with context.database.transaction() as session:
                due = {batch.id for batch in repository.movable(session, [row.id])}
    return rows


@app.command()
def watch(
    program: ProgramName,
    follow: Annotated[bool, typer.Option(help="Continue until Ctrl-C.")] = False,
) -> None:
    """Index the final events of the chain."""
    if follow and wants_json():
        raise typer.BadParameter(
            "it has no end and so no document: leave --json", param_hint="--follow"
        )
    from backend.program import repository as programs
    from backend.settlement.indexer import index

    with open_context() as context:
        row = load_program(context, program)
        while True:
            recorded = index(context, row.id)
            with context.database.transaction() as session:
                row = programs.get(session, program)
            if recorded.events or not follow:
                errors.print(
                    f"{recorded.events} events; indexed up to block {row.last_indexed_block}. "
                    f"{'' if row.halted is None else halt_text(row)}"
                )
            if not follow:
                if wants_json():
                    output.document(
                        {
                            "events": recorded.events,
                            "last_indexed_block": row.last_indexed_block,
                            "halted": row.halted,
                        }
                    )
                return
            time.sleep(context.settings.tick_seconds)


@app.command()
def claim(
    program: ProgramName,
    address: Annotated[
        list[str] | None, typer.Argument(help="Accounts whose claims to push; all if not given.")
    ] = None,
    together: Annotated[
        int, typer.Option(min=1, max=256, help="Accounts in one transaction.")
    ] = 16,
) -> None:
    """Push claims to accounts.

    The operator pays the gas, the Distributor pays the accounts.

    Prints each account's outcome. Fails unless all are paid.
    """
    from sqlalchemy import select

    from backend.account.models import Account
    from backend.kit.address import checked_address
    from backend.payout.push import Result, push_claims
    from backend.settlement.indexer import index

    with open_context() as context, steps() as show:
        wanted = {checked_address(text, "address") for text in address or []}
        row = load_program(context, program)
        if row.halted is not None:
            errors.print(f"{halt_text(row)}. What the chain has paid since is not known here.")
        with context.database.transaction() as session:
            query = select(Account.address).where(
                Account.program_id == row.id, Account.posted > Account.claimed
            )
            owed = list(session.scalars(query.order_by(Account.bucket, Account.slot)))
        for unknown in sorted(wanted - set(owed)):
            errors.print(f"{unknown}: nothing is owed.")
        chosen = [known for known in owed if not wanted or known in wanted]
        done = [0]

        def progress(count: int) -> None:
            done[0] += count
            show("Pushing claims", done[0], len(chosen))

        pushes = push_claims(context, row, chosen, together=together, progress=progress)
        index(context, row.id)
    output.document([push_json(push) for push in pushes])
    results = Counter(payment.result for push in pushes for payment in push.payments)
    paid = sum(
        payment.amount
        for push in pushes
        for payment in push.payments
        if payment.result is Result.PAID
    )
    counts = ", ".join(f"{count} {result}" for result, count in results.items())
    errors.print(f"{counts}: {row.reward_token.text(paid)} paid." if counts else "Nothing is owed.")
    if set(results) - {Result.PAID, Result.ALREADY_PAID}:
        raise typer.Exit(1)
