"""`guerdon batch`: close, list, release, and who made posts revert."""

from typing import Annotated

import typer

from backend.cli.app import Commands
from backend.cli.context import ProgramName, halt_text, open_context
from backend.cli.output import errors, output, show_facts, show_list, wants_json
from backend.errors import Conflict

NUMBER_MAX = 2**31 - 1
"""Of a column of the database."""

app = Commands(help="Batches: close, list, show, release.", no_args_is_help=True)


@app.command()
def close(program: ProgramName) -> None:
    """Close what is open now, whatever its size and age."""
    from backend.batch.close import close_all
    from backend.cli.names import find_program

    with open_context() as context:
        with context.database.transaction() as session:
            row = find_program(session, program)
        if row.halted is not None:
            raise Conflict(halt_text(row))
        closed = [
            {"bucket": batch.bucket, "sequence": batch.sequence, "items": batch.items}
            for batch in close_all(context.database, row.id, force=True)
        ]
    output.document(closed)


@app.command("list")
def list_batches(
    program: ProgramName,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most batches to list.")] = 50,
    state: Annotated[
        list[str] | None, typer.Option(help="Only batches in this state; several times.")
    ] = None,
    open_only: Annotated[
        bool, typer.Option("--open", help="Only batches that are not final yet.")
    ] = False,
    bucket: Annotated[
        int | None, typer.Option(min=0, max=NUMBER_MAX, help="Only batches of this bucket.")
    ] = None,
) -> None:
    """List the newest batches, with what each waits for."""
    from backend.batch import repository
    from backend.cli.names import find_program

    states = _states(state or [], open_only)
    with open_context() as context, context.database.transaction() as session:
        row = find_program(session, program)
        if row.halted is not None:
            errors.print(halt_text(row))
        rows = repository.listed(session, row.id, limit, states=states, bucket=bucket)
        text = row.reward_token.text
        listed = [
            {
                "bucket": row.bucket,
                "sequence": row.sequence,
                "state": row.state,
                "items": row.items,
                "total": text(row.total) if not wants_json() else str(row.total),
                "reason": row.reason,
                "note": row.note,
                "prove_attempts": row.prove_attempts,
                "tx_hash": row.tx_hash,
                "gas_used": row.gas_used,
                "batches_in_tx": row.batches_in_tx,
            }
            for row in rows
        ]
    show_list(f"Batches of {program}", listed)


def _states(named: list[str], open_only: bool) -> list[str]:
    """The states to list; none means all of them."""
    from backend.batch.models import INACTIVE, BatchState

    if open_only and named:
        raise typer.BadParameter("names states itself: leave --state", param_hint="--open")
    for one in named:
        if one not in list(BatchState):
            raise typer.BadParameter(
                f"expected one of {', '.join(BatchState)}, got {one!r}", param_hint="--state"
            )
    ended = (BatchState.FINAL, *INACTIVE)
    return [one for one in BatchState if one not in ended] if open_only else named


@app.command()
def show(
    program: ProgramName,
    bucket: Annotated[int, typer.Argument(min=0, max=NUMBER_MAX, help="The batch's bucket.")],
    sequence: Annotated[int, typer.Argument(min=1, max=NUMBER_MAX, help="The batch's sequence.")],
) -> None:
    """Show one batch; with --json its accounts and its proof too."""
    from backend.api.lookup import batch_detail
    from backend.cli.names import find_batch, find_program

    with open_context() as context, context.database.transaction() as session:
        row = find_program(session, program)
        batch = find_batch(session, row, bucket, sequence)
        detail = batch_detail(session, row, bucket, sequence).model_dump(mode="json")
        waits = {"note": batch.note, "prove_attempts": batch.prove_attempts}
        total = row.reward_token.text(batch.total)
    shown = (
        *("state", "items", "accounts_touched", "attestors", "digest", "valid_until"),
        *("tx_hash", "block_number", "gas_used", "batches_in_tx", "reason", "created_at"),
    )
    show_facts(
        f"Bucket {bucket}, sequence {sequence} of {program}",
        detail | waits,
        {"total": total} | {name: detail[name] for name in shown} | waits,
    )


@app.command()
def suspects(program: ProgramName) -> None:
    """List the attestors that made posts revert.

    They are asked as before, and go along last.
    """
    from sqlalchemy import select

    from backend.attestation.models import AttestorFault
    from backend.cli.names import find_program

    with open_context() as context, context.database.transaction() as session:
        query = select(AttestorFault).where(
            AttestorFault.program_id == find_program(session, program).id
        )
        listed = [
            {
                "attestor": row.attestor,
                "refused": row.refused,
                "suspected": row.suspected,
                "reason": row.reason,
                "last": row.updated_at.isoformat(),
            }
            for row in session.scalars(query.order_by(AttestorFault.attestor))
        ]
    show_list(f"Attestors of {program} that made posts revert", listed)


@app.command()
def release(program: ProgramName) -> None:
    """Retry the interactions that could not be proven.

    Each goes into a batch of its own.
    """
    from backend.batch.quarantine import release_unprovable
    from backend.cli.names import find_program

    with open_context() as context, context.database.transaction() as session:
        released = release_unprovable(session, find_program(session, program).id)
    output.document({"released": released})
    errors.print(f"{released} interactions go into batches again.")
