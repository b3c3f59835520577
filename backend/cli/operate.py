"""Commands of the operator. They work on the database, node and keys that the environment names, the same that API and worker use."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from backend.account.models import Account
from backend.batch import pipeline, repository
from backend.batch.close import close_batches
from backend.batch.models import BatchState
from backend.batch.set_aside import release_unprovable
from backend.chain.deploy import Deployer, deploy_program
from backend.chain.distributor import Distributor
from backend.chain.local import require_local
from backend.chain.token import mint_calldata, transfer_calldata
from backend.cli.failures import failures
from backend.cli.partner_client import PartnerClient, Reported
from backend.cli.reward_list import read_reward_list
from backend.cli.show import errors, output, push_json, steps, tokens
from backend.config import settings
from backend.context import Context
from backend.kit.files import write_private
from backend.ledger import service as ledger
from backend.migrations import upgrade
from backend.partner import repository as partners
from backend.partner.scheme import generate_secret
from backend.payout.push import Result, push_claims
from backend.program import repository as programs
from backend.program import service as program_service
from backend.program.models import Program
from backend.settlement.resume import resume
from backend.settlement.watch import watch as book_chain
from backend.signer import keystore
from prover.circuit import load_instance
from prover.key_store import key_for

ProgramName = Annotated[str, typer.Argument(help="Name of the program, or its Distributor's address.")]


@contextmanager
def _context() -> Iterator[Context]:
    """The context of the environment's settings; expected failures become one clear line and exit code 1."""
    with failures():
        context = Context(settings())
        try:
            yield context
        finally:
            context.close()


def _here(context: Context, name: str) -> Program:
    """The program. Raises NotFound, and Conflict if it is on another chain than the node."""
    with context.database.transaction() as session:
        row = programs.get(session, name)
    context.require_chain(row)
    return row


def migrate() -> None:
    """Bring the database's tables to the newest version."""
    with _context() as context:
        upgrade(context.database)
    errors.print("The database is up to date.")


def program_deploy(
    name: Annotated[str, typer.Argument(help="Name of the new program.")],
    attestor: Annotated[list[str], typer.Option(help="Address of an attestor; several times.")],
    attestor_url: Annotated[list[str], typer.Option(help="Base URL of an attestor; several times.")],
    threshold: Annotated[int, typer.Option(min=1, help="How many attestors must sign.")],
    token: Annotated[str | None, typer.Option(help="The reward token; a test token on a local chain if not given.")] = None,
    instance: Annotated[str, typer.Option(help="Size of the circuit.")] = "standard",
    families: Annotated[int, typer.Option(min=1)] = 1,
    owner: Annotated[
        str | None, typer.Option(help="Owner of the Distributor: a timelock or multisig; the deploying key by default.")
    ] = None,
    finality: Annotated[str, typer.Option(help="latest, safe, finalized or a number of confirmations.")] = "finalized",
    batch_age: Annotated[int, typer.Option(min=0, help="Close a batch when its oldest interaction is so many seconds old.")] = 60,
    batch_items: Annotated[int, typer.Option(min=1, help="Close a batch at so many items; the instance's M is the limit.")] = 10
    ** 6,
    key_folder: Annotated[
        Path | None, typer.Option("--key", help="Proving key's folder; GUERDON_KEY or the newest ceremony's key by default.")
    ] = None,
    allow_single_party_key: Annotated[
        bool,
        typer.Option("--i-know-this-key-can-steal-everything", help="Take a key that one party can forge proofs under anywhere."),
    ] = False,
) -> None:
    """Deploy hasher, verifier and Distributor with the owner's key, and register the program."""
    with _context() as context:
        config = context.settings
        key = key_for(load_instance(instance), key_folder or config.key)
        allow = allow_single_party_key or config.allow_single_party_key_that_can_forge_everything
        errors.print(f"Deploying with the {key.manifest.origin} key {key.verifying_key.digest[:16]}.", highlight=False)
        deployed = deploy_program(
            context.w3, _signer(context), key, load_instance(instance), attestor, threshold, owner=owner, families=families, token=token,
            allow_single_party_key=allow,
        )  # fmt: skip
        with context.database.transaction() as session:
            program_service.register(
                session, Distributor(context.w3, deployed.distributor), name, deployed.block, key.verifying_key, attestor_url,
                finality=finality, batch_items_max=batch_items, batch_age_max_seconds=batch_age,
            )  # fmt: skip
    facts = {"token": deployed.token, "distributor": deployed.distributor, "verifier": deployed.verifier, "block": deployed.block}
    output.print_json(json.dumps({"name": name} | facts))


def program_fund(
    program: ProgramName,
    amount: Annotated[str, typer.Argument(help="How much, in base units.")],
    mint: Annotated[bool, typer.Option(help="Mint test tokens first (local chains only).")] = True,
) -> None:
    """Move reward tokens from the owner's key into the Distributor; on a local chain they are minted first."""
    if not amount.isascii() or not amount.isdigit() or not int(amount):
        raise typer.BadParameter("expected an integer in base units, above 0", param_hint="AMOUNT")
    with _context() as context:
        signer = _signer(context)
        deployer = Deployer(context.w3, signer)
        row = _here(context, program)
        if mint:
            require_local(context.w3)
            deployer.send("mint", {"to": row.token, "data": mint_calldata(signer.address, int(amount))})
        deployer.send("fund", {"to": row.token, "data": transfer_calldata(row.distributor, int(amount))})
        book_chain(context, row.id)
        with context.database.transaction() as session:
            available = ledger.available_budget(session, row.id)
    errors.print(
        f"{tokens(max(available, 0))} tokens are available for rewards (as far as the chain is final).",
        highlight=False,
        soft_wrap=True,
    )


def program_resume(
    program: ProgramName,
    from_block: Annotated[
        int | None, typer.Option(min=0, help="Compare ledger and chain from this block on: a node had left logs out.")
    ] = None,
) -> None:
    """End a program's halt, once every rule holds and ledger and chain agree; what the ledger lacks is booked. Nothing booked is taken back."""
    with _context() as context:
        done = resume(context, _here(context, program).id, from_block)
    facts = {"program": program, "went_back_to_block": done.back_to, "events": done.events, "booked_block": done.booked_block}
    output.print_json(json.dumps(facts))


def program_attestors(
    program: ProgramName,
    attestor_url: Annotated[list[str], typer.Option(help="Base URL of an attestor; several times, for all of them.")],
) -> None:
    """Change where the program's attestors are. Who they are is changed on chain, by the Distributor's owner."""
    with _context() as context, context.database.transaction() as session:
        row = programs.get(session, program)
        program_service.set_attestors(row, attestor_url)
    output.print_json(json.dumps({"program": program, "attestors": row.attestors}))


def _signer(context: Context) -> keystore.KeystoreSigner:
    path = context.settings.owner_keystore or context.settings.keystore
    return keystore.load(path, context.settings.keystore_password.get_secret_value())


def partner_add(
    program: ProgramName,
    name: Annotated[str, typer.Argument(help="The partner's id in the protocol: a-z, 0-9, dot, dash, underscore.")],
    secret_env: Annotated[
        str | None, typer.Option(help="Variable that holds its secret (whsec_...); a fresh one if not given.")
    ] = None,
    pins: Annotated[list[Path] | None, typer.Option(help="An attestor's partners.json to pin it in; several times.")] = None,
) -> None:
    """Add a partner, and print its secret: it is shown this once. Each attestor must pin it too."""
    with _context() as context:
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
    overlap: Annotated[int, typer.Option(min=0, help="For how many seconds the present secret stays good.")] = 86_400,
    secret_env: Annotated[
        str | None, typer.Option(help="Variable that holds the new secret (whsec_...); a fresh one if not given.")
    ] = None,
    pins: Annotated[list[Path] | None, typer.Option(help="An attestor's partners.json to pin it in; several times.")] = None,
) -> None:
    """Give a partner a new secret, and print it: it is shown this once. Each attestor must pin it before the partner signs with it."""
    with _context() as context:
        secret = os.environ.get(secret_env, "") if secret_env else generate_secret()
        with context.database.transaction() as session:
            row = programs.get(session, program)
            partners.rotate(session, partners.get(session, row.id, name), secret, overlap)
            for path in pins or []:
                _pin(path, row.distributor, name, secret)
    output.print_json(json.dumps({"program": program, "partner": name, "secret": secret, "overlap_seconds": overlap}))


def partner_revoke(program: ProgramName, name: Annotated[str, typer.Argument(help="The partner.")]) -> None:
    """End all of a partner's secrets now: it can report nothing until `partner rotate` gives it another."""
    with _context() as context, context.database.transaction() as session:
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
    label: Annotated[str, typer.Option(help="Names this list: the same label and file again changes nothing.")],
    address_column: Annotated[str | None, typer.Option()] = None,
    amount_column: Annotated[str | None, typer.Option()] = None,
    decimals: Annotated[int | None, typer.Option(min=0, max=36)] = None,
) -> None:
    """Report a reward list over HTTP, signed, one interaction an address. Safe to run again."""
    with _context(), steps() as show:
        rewards = read_reward_list(file, address_column, amount_column, decimals)
        # The time is part of what is reported, so a second run must say the same.
        occurred_at = int(file.stat().st_mtime)
        rows = [
            Reported(f"{label}-{address.lower()}", address, amount, occurred_at) for address, amount in rewards.amounts.items()
        ]
        client = PartnerClient(api_url, program, partner, os.environ.get(secret_env, ""))
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
    with _context() as context:
        closed = []
        while True:
            with context.database.transaction() as session:
                batches = close_batches(session, programs.get(session, program, lock=True), force=True)
            closed += [{"bucket": batch.bucket, "sequence": batch.sequence, "items": batch.items} for batch in batches]
            if not batches:
                break
    output.print_json(json.dumps(closed))


def batch_list(program: ProgramName, limit: Annotated[int, typer.Option(min=1, max=1000)] = 50) -> None:
    """The newest batches, those included that were set aside, with what each waits for or why it never lands."""
    with _context() as context, context.database.transaction() as session:
        rows = repository.listed(session, programs.get(session, program).id, limit, None)
        listed = [
            {
                "bucket": row.bucket, "sequence": row.sequence, "state": row.state, "items": row.items, "total": str(row.total),
                "reason": row.reason, "note": row.note, "prove_attempts": row.prove_attempts, "tx_hash": row.tx_hash,
            }
            for row in rows
        ]  # fmt: skip
    output.print_json(json.dumps(listed))


def batch_release(program: ProgramName) -> None:
    """Try once more, each in a batch of its own, the interactions that could not be proven."""
    with _context() as context, context.database.transaction() as session:
        released = release_unprovable(session, programs.get(session, program).id)
    errors.print(f"{released} interactions go into batches again.")


def prove(program: ProgramName) -> None:
    """Attest and prove what is closed and can be proven now; what cannot be attested yet is proven ahead."""
    _advance(program, BatchState.PROVEN, lambda: False)


def post(program: ProgramName, wait_seconds: Annotated[int, typer.Option(min=0)] = 120) -> None:
    """Take every batch to the chain, and wait until it is final there."""
    deadline = time.monotonic() + wait_seconds
    _advance(program, BatchState.FINAL, lambda: time.monotonic() < deadline)


def _advance(program: str, until: BatchState, wait: Callable[[], bool]) -> None:
    with _context() as context, steps() as show:
        row = _here(context, program)
        with context.database.transaction() as session:
            total = len(repository.open_batches(session, row.id))
        while True:
            with context.database.transaction() as session:
                rows = repository.open_batches(session, row.id)
            show(f"Batches {until}", total - sum(batch.state != until for batch in rows), total)
            if not rows:
                return
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


def watch(program: ProgramName, follow: Annotated[bool, typer.Option(help="Go on until Ctrl-C.")] = False) -> None:
    """Book what the chain has made final."""
    with _context() as context:
        row = _here(context, program)
        while True:
            booked = book_chain(context, row.id)
            with context.database.transaction() as session:
                row = programs.get(session, program)
            if booked or not follow:
                errors.print(
                    f"{booked} events; booked up to block {row.booked_block}. {row.halted or ''}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
            if not follow:
                return
            time.sleep(settings().tick_seconds)


def claim(
    program: ProgramName,
    address: Annotated[list[str] | None, typer.Argument(help="Whose claims to push; everybody's if not given.")] = None,
    together: Annotated[int, typer.Option(min=1, max=256, help="Accounts a transaction.")] = 16,
) -> None:
    """Push claims: the operator pays the gas, the Distributor pays the accounts. Prints each account's outcome; fails unless all are paid."""
    with _context() as context, steps() as show:
        row = _here(context, program)
        with context.database.transaction() as session:
            query = select(Account.address).where(Account.program_id == row.id, Account.posted > Account.claimed)
            owed = list(session.scalars(query.order_by(Account.bucket, Account.slot)))
        wanted = {text.lower() for text in address or []}
        chosen = [known for known in owed if not wanted or known.lower() in wanted]
        done = [0]

        def progress(count: int) -> None:
            done[0] += count
            show("Pushing claims", done[0], len(chosen))

        pushes = push_claims(context, row, chosen, together=together, progress=progress)
        book_chain(context, row.id)
    output.print_json(json.dumps([push_json(push) for push in pushes]))
    results = Counter(payment.result for push in pushes for payment in push.payments)
    errors.print(", ".join(f"{count} {result}" for result, count in results.items()) or "Nothing is owed.", highlight=False)
    if set(results) - {Result.PAID, Result.ALREADY_PAID}:
        raise typer.Exit(1)
