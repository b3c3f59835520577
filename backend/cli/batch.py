"""`guerdon batch`: close, list, release, and who made posts revert."""

from typing import Annotated

import typer

from backend.cli.app import Commands
from backend.cli.context import ProgramName, open_context
from backend.cli.output import errors, output, show_list

app = Commands(help="Batches.", no_args_is_help=True)


@app.command()
def close(program: ProgramName) -> None:
    """Close what is open now, whatever its size and age."""
    from backend.batch.close import close_all
    from backend.program import repository as programs

    with open_context() as context:
        with context.database.transaction() as session:
            program_id = programs.get(session, program).id
        closed = [
            {"bucket": batch.bucket, "sequence": batch.sequence, "items": batch.items}
            for batch in close_all(context.database, program_id, force=True)
        ]
    output.document(closed)


@app.command("list")
def list_batches(
    program: ProgramName,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most batches to list.")] = 50,
) -> None:
    """List the newest batches, quarantined ones included, with what each waits for."""
    from backend.batch import repository
    from backend.program import repository as programs

    with open_context() as context, context.database.transaction() as session:
        rows = repository.listed(session, programs.get(session, program).id, limit, None)
        listed = [
            {
                "bucket": row.bucket,
                "sequence": row.sequence,
                "state": row.state,
                "items": row.items,
                "total": str(row.total),
                "reason": row.reason,
                "note": row.note,
                "prove_attempts": row.prove_attempts,
                "tx_hash": row.tx_hash,
            }
            for row in rows
        ]
    show_list(f"Batches of {program}", listed)


@app.command()
def suspects(program: ProgramName) -> None:
    """List the attestors that made posts revert: they are asked as before, and go along last."""
    from sqlalchemy import select

    from backend.attestation.models import AttestorFault
    from backend.program import repository as programs

    with open_context() as context, context.database.transaction() as session:
        query = select(AttestorFault).where(
            AttestorFault.program_id == programs.get(session, program).id
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
    """Retry the interactions that could not be proven, each in a batch of its own."""
    from backend.batch.quarantine import release_unprovable
    from backend.program import repository as programs

    with open_context() as context, context.database.transaction() as session:
        released = release_unprovable(session, programs.get(session, program).id)
    output.document({"released": released})
    errors.print(f"{released} interactions go into batches again.")
