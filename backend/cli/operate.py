"""Commands of the operator. They work on the database, node and keys that the environment names,
the same that API and worker use."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from eth_utils import is_address, to_checksum_address
from sqlalchemy import select

from backend import pipeline
from backend.account.models import Account
from backend.batch import repository
from backend.batch.close import close_all
from backend.batch.models import BatchState
from backend.batch.quarantine import release_unprovable
from backend.cli.context import ProgramName, here, opened
from backend.cli.output import errors, output, push_json, steps
from backend.client.partner_client import PartnerClient, Reported
from backend.client.reward_list import read_reward_list
from backend.config import settings
from backend.errors import Conflict, Invalid
from backend.kit.files import write_private
from backend.migrations import upgrade
from backend.partner import repository as partners
from backend.partner.schemes.standard_webhooks import generate_secret
from backend.payout.push import Result, push_claims
from backend.program import repository as programs
from backend.settlement.indexer import index


def migrate() -> None:
    """Bring the database's tables to the newest version."""
    with opened() as context:
        upgrade(context.database)
    errors.print("The database is up to date.")


def partner_add(
    program: ProgramName,
    name: Annotated[
        str,
        typer.Argument(help="The partner's id in the protocol: a-z, 0-9, dot, dash, underscore."),
    ],
    secret_env: Annotated[
        str | None,
        typer.Option(help="Variable that holds its secret (whsec_...); a fresh one if not given."),
    ] = None,
    pins: Annotated[
        list[Path] | None,
        typer.Option(help="An attestor's partners.json to pin it in; several times."),
    ] = None,
) -> None:
    """Add a partner, and print its secret: it is shown this once. Each attestor must pin it too."""
    with opened() as context:
        secret = os.environ.get(secret_env, "") if secret_env else generate_secret()
        with context.database.transaction() as session:
            row = programs.get(session, program)
            partners.add(session, row.id, name, secret)
            for path in pins or []:
                _pin(path, row.distributor, name, secret)
    output.print_json(json.dumps({"program": program, "partner": name, "secret": secret}))


def partner_rotate(
    program: ProgramName,
    name: Annotated[str, typer.Argument(help="The partner.")],
    overlap: Annotated[
        int, typer.Option(min=0, help="For how many seconds the present secret stays good.")
    ] = 86_400,
    secret_env: Annotated[
        str | None,
        typer.Option(
            help="Variable that holds the new secret (whsec_...); a fresh one if not given."
        ),
    ] = None,
    pins: Annotated[
        list[Path] | None,
        typer.Option(help="An attestor's partners.json to pin it in; several times."),
    ] = None,
) -> None:
    """Give a partner a new secret, and print it: it is shown this once. Each attestor must pin it
    before the partner signs with it."""
    with opened() as context:
        secret = os.environ.get(secret_env, "") if secret_env else generate_secret()
        with context.database.transaction() as session:
            row = programs.get(session, program)
            partners.rotate(session, partners.get(session, row.id, name), secret, overlap)
            for path in pins or []:
                _pin(path, row.distributor, name, secret)
    output.print_json(
        json.dumps(
            {"program": program, "partner": name, "secret": secret, "overlap_seconds": overlap}
        )
    )


def partner_revoke(
    program: ProgramName, name: Annotated[str, typer.Argument(help="The partner.")]
) -> None:
    """End all of a partner's secrets now: it can report nothing until `partner rotate` gives it
    another."""
    with opened() as context, context.database.transaction() as session:
        row = programs.get(session, program)
        revoked = partners.revoke(session, partners.get(session, row.id, name))
    output.print_json(json.dumps({"program": program, "partner": name, "revoked": revoked}))


def _pin(path: Path, distributor: str, name: str, secret: str) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    # What was signed with an older secret may still wait for its batch.
    older = content.setdefault(distributor, {}).get(name, {}).get("secrets", [])
    content[distributor][name] = {"scheme": "standard-webhooks", "secrets": [secret, *older]}
    write_private(path, json.dumps(content, indent=2))


def import_list(
    program: ProgramName,
    file: Annotated[Path, typer.Argument(help="CSV with an address column and an amount column.")],
    api_url: Annotated[str, typer.Option(help="Base URL of the API.")],
    partner: Annotated[str, typer.Option(help="The partner to report as.")],
    secret_env: Annotated[str, typer.Option(help="Variable that holds the partner's secret.")],
    label: Annotated[
        str,
        typer.Option(help="Names this list: the same label, file and time again change nothing."),
    ],
    occurred_at: Annotated[
        int | None,
        typer.Option(
            help="When it was earned, Unix seconds; the file's time of modification if not given."
        ),
    ] = None,
    address_column: Annotated[str | None, typer.Option()] = None,
    amount_column: Annotated[str | None, typer.Option()] = None,
    decimals: Annotated[int | None, typer.Option(min=0, max=36)] = None,
) -> None:
    """Report a reward list over HTTP, signed, one interaction an address. Safe to run again."""
    with opened(), steps() as show:
        rewards = read_reward_list(file, address_column, amount_column, decimals)
        # The time is part of what is reported, so a second run must say the same.
        when = int(file.stat().st_mtime) if occurred_at is None else occurred_at
        rows = [
            Reported(f"{label}-{address.lower()}", address, amount, when)
            for address, amount in rewards.amounts.items()
        ]
        secret = os.environ.get(secret_env)
        if not secret:
            raise Invalid(
                f"secret_env: the variable {secret_env} is not set or empty", "secret_env"
            )
        client = PartnerClient(api_url, program, partner, secret)
        outcomes: dict[str, int] = {}
        for start in range(0, len(rows), 1000):
            for outcome, count in client.report(rows[start : start + 1000]).items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
            show("Reporting", min(start + 1000, len(rows)), len(rows))
    output.print_json(json.dumps(outcomes))
    if outcomes.get("rejected"):
        raise typer.Exit(1)


def batch_close(program: ProgramName) -> None:
    """Close what is open now, without waiting for size or age."""
    with opened() as context:
        with context.database.transaction() as session:
            program_id = programs.get(session, program).id
        closed = [
            {"bucket": batch.bucket, "sequence": batch.sequence, "items": batch.items}
            for batch in close_all(context.database, program_id, force=True)
        ]
    output.print_json(json.dumps(closed))


def batch_list(
    program: ProgramName, limit: Annotated[int, typer.Option(min=1, max=1000)] = 50
) -> None:
    """The newest batches, those included that were set aside, with what each waits for or why it
    never lands."""
    with opened() as context, context.database.transaction() as session:
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
    output.print_json(json.dumps(listed))


def batch_release(program: ProgramName) -> None:
    """Try once more, each in a batch of its own, the interactions that could not be proven."""
    with opened() as context, context.database.transaction() as session:
        released = release_unprovable(session, programs.get(session, program).id)
    errors.print(f"{released} interactions go into batches again.")


def prove(program: ProgramName) -> None:
    """Attest and prove what is closed and can be proven now; what cannot be attested yet is proven
    ahead."""
    _advance(program, BatchState.PROVEN, lambda: False)


def post(program: ProgramName, wait_seconds: Annotated[int, typer.Option(min=0)] = 120) -> None:
    """Take every batch to the chain, and wait until it is final there. Fails if some are not when
    the time is over."""
    deadline = time.monotonic() + wait_seconds
    if _advance(program, BatchState.FINAL, lambda: time.monotonic() < deadline):
        raise typer.Exit(1)


def _advance(program: str, until: BatchState, wait: Callable[[], bool]) -> int:
    """Returns how many batches are not there yet, each of which has been shown with what it waits
    for."""
    with opened() as context, steps() as show:
        row = here(context, program)
        if row.halted is not None:
            raise Conflict(f"the program is halted: {row.halted} (see `guerdon program resume`)")
        with context.database.transaction() as session:
            total = len(repository.open_batches(session, row.id))
        while True:
            with context.database.transaction() as session:
                rows = repository.open_batches(session, row.id)
            show(f"Batches {until}", total - sum(batch.state != until for batch in rows), total)
            if not rows:
                return 0
            oldest = {batch.bucket: batch for batch in reversed(rows)}
            moving = rows if until is BatchState.PROVEN else oldest.values()
            states = [pipeline.advance(context, batch.id, until) for batch in moving]
            if not any(state is until for state in states) or until is not BatchState.FINAL:
                if not wait():
                    break
                time.sleep(0.3)
    for batch in rows:
        errors.print(
            f"bucket {batch.bucket} sequence {batch.sequence}: {batch.state} {batch.note or ''}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return len(rows)


def watch(
    program: ProgramName, follow: Annotated[bool, typer.Option(help="Go on until Ctrl-C.")] = False
) -> None:
    """Book what the chain has made final."""
    with opened() as context:
        row = here(context, program)
        while True:
            recorded = index(context, row.id)
            with context.database.transaction() as session:
                row = programs.get(session, program)
            if recorded.events or not follow:
                errors.print(
                    f"{recorded.events} events; indexed up to block {row.last_indexed_block}. "
                    f"{row.halted or ''}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
            if not follow:
                return
            time.sleep(settings().tick_seconds)


def claim(
    program: ProgramName,
    address: Annotated[
        list[str] | None, typer.Argument(help="Whose claims to push; everybody's if not given.")
    ] = None,
    together: Annotated[int, typer.Option(min=1, max=256, help="Accounts a transaction.")] = 16,
) -> None:
    """Push claims: the operator pays the gas, the Distributor pays the accounts. Prints each
    account's outcome; fails unless all are paid."""
    with opened() as context, steps() as show:
        row = here(context, program)
        with context.database.transaction() as session:
            query = select(Account.address).where(
                Account.program_id == row.id, Account.posted > Account.claimed
            )
            owed = list(session.scalars(query.order_by(Account.bucket, Account.slot)))
        for text in address or []:
            if not is_address(text):
                raise Invalid(f"address: expected an address, got {text!r}", "address")
        wanted = {to_checksum_address(text) for text in address or []}
        for stranger in sorted(wanted - set(owed)):
            errors.print(f"{stranger}: nothing is owed.", highlight=False)
        chosen = [known for known in owed if not wanted or known in wanted]
        done = [0]

        def progress(count: int) -> None:
            done[0] += count
            show("Pushing claims", done[0], len(chosen))

        pushes = push_claims(context, row, chosen, together=together, progress=progress)
        index(context, row.id)
    output.print_json(json.dumps([push_json(push) for push in pushes]))
    results = Counter(payment.result for push in pushes for payment in push.payments)
    errors.print(
        ", ".join(f"{count} {result}" for result, count in results.items()) or "Nothing is owed.",
        highlight=False,
    )
    if set(results) - {Result.PAID, Result.ALREADY_PAID}:
        raise typer.Exit(1)
