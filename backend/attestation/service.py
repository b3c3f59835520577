"""Collecting attestations: fixing what is to be signed, and asking the attestors until m of them
have."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import structlog
from eth_utils.crypto import keccak
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.attestation.client import Attested, Outcome, Refused, open_client
from backend.attestation.client import NotYet as AskAgain
from backend.attestation.conversation import Question, ask, check_signature, encode
from backend.attestation.models import Attestation
from backend.attestation.request import DeliveryEvidence, ItemSource, build_leaves, build_request
from backend.batch import repository as batches
from backend.batch.close import items_of
from backend.batch.models import Batch, BatchState, Envelope
from backend.batch.states import log_fields, transition
from backend.chain.finality import final_block
from backend.context import Context
from backend.errors import Conflict, NotYet
from backend.interaction import repository as interactions
from backend.interaction.models import DeliveryRow, DeliverySalt
from backend.kit.failpoint import failpoint
from backend.partner.evidence import Delivery
from backend.partner.models import Partner
from backend.program.models import Program
from prover.eip712 import BatchEnvelope, Domain

log = structlog.get_logger()

EXPIRY_MARGIN_SECONDS = 60
"""A batch is not posted in the last minute of its envelope: it would be mined after it and
reverted."""

LATE_SECONDS = 1
"""How long the other attestors still have once m have signed. Nobody needs their signatures, but
they need the leaves: one that is never heard would lack every batch on the day that another is
down."""


class AttestationRefused(Conflict):
    """Attestors refuse the batch for good: it cannot collect m signatures. An operator has to
    look."""

    code = "attestation_refused"


def batch_envelope(batch: Batch, attestor_epoch: int, valid_until: int) -> BatchEnvelope:
    """What the attestors sign of a batch, for this epoch and expiry."""
    return BatchEnvelope(
        batch.bucket,
        batch.sequence,
        batch.old_root,
        batch.new_root,
        batch.items_root,
        batch.interactions_root,
        batch.ledger_head,
        keccak(batch.deltas),
        attestor_epoch,
        valid_until,
    )


def ensure_envelope(context: Context, program: Program, batch_id: int) -> None:
    """Fix the envelope of a closed batch, unless a good one is fixed.

    The envelope is committed before any attestor is asked: an attestor that has signed one digest
    refuses another until the first has expired.
    """
    with context.database.transaction() as session:
        batch = batches.locked(session, batch_id, BatchState.CLOSED)
        if batch is None:
            return
        if batch.digest is not None and not is_stale(context, program, batch.envelope()):
            return
        clear_envelope(session, batch)
        final = final_block(context.node, program.finality)
        _, _, epoch = context.distributor(program).attestors(final.number)
        # An idle local chain's head is old, but the block that takes the batch will not be.
        now = max(final_block(context.node, "latest").timestamp, int(time.time()))
        valid_until = now + context.settings.batch_valid_seconds
        signed = batch_envelope(batch, epoch, valid_until)
        batch.attestor_epoch, batch.valid_until = epoch, valid_until
        batch.digest = signed.digest(Domain(program.chain_id, program.distributor))
    failpoint("attest.envelope_fixed")


def is_stale(context: Context, program: Program, envelope: Envelope) -> bool:
    """Whether no batch can be posted in the envelope: it has expired, or the set of attestors has
    changed."""
    head = final_block(context.node, "latest")
    _, _, epoch = context.distributor(program).attestors(head.number)
    expired = head.timestamp + EXPIRY_MARGIN_SECONDS > envelope.valid_until
    return expired or epoch != envelope.attestor_epoch


def clear_envelope(session: Session, batch: Batch) -> None:
    """Take the batch back to closed, for another envelope.

    The content stays. Signatures and proof go; `landable_until` remembers them.
    """
    session.execute(delete(Attestation).where(Attestation.batch_id == batch.id))
    batch.attestor_epoch = batch.valid_until = batch.digest = None
    batch.proof = batch.prove_ms = batch.transaction_id = None
    if batch.state != BatchState.CLOSED:
        transition(batch, BatchState.CLOSED)


def collect(context: Context, program: Program, batch_id: int) -> None:
    """Ask the attestors, all at once, until m have signed; then the batch is attested, and proven
    if it has its proof.

    Raises:
        NotYet: too few have signed so far, and more may; or the batch got another envelope
        meanwhile.
        AttestationRefused: too many have refused.
    """
    with context.database.transaction() as session:
        batch = batches.locked(session, batch_id, BatchState.CLOSED)
        if batch is None:
            return
        payload = _payload(session, program, batch)
        signed = _signed(session, batch)
    addresses, threshold, _ = context.distributor(program).attestors("latest")
    members, outcomes = frozenset(addresses), list[Outcome]()
    if len(signed & members) < threshold:
        question = _question(context, program, batch.envelope().digest, payload, members)
        outcomes = _ask_all(context, program, batch, question, threshold, signed & members)
        failpoint("attest.signed")
    with context.database.transaction() as session:
        if row := _in_envelope(session, batch):
            _require_enough(_signed(session, row) & members, threshold, outcomes)
            transition(row, BatchState.ATTESTED)
            row.note = None
            if row.proof is not None:
                batches.mark_proven(row)
    failpoint("attest.after_commit")


def _in_envelope(session: Session, batch: Batch) -> Batch | None:
    """The batch's row, locked, if it is still closed. Raises NotYet if it has got another envelope
    since `batch` was read.

    Whoever works on a batch holds its advisory lock, but a worker whose connection breaks loses
    that without a word.
    """
    row = batches.locked(session, batch.id, BatchState.CLOSED)
    if row is not None and row.digest != batch.digest:
        raise NotYet("the batch got another envelope while its signatures were collected")
    return row


def _signed(session: Session, batch: Batch) -> set[str]:
    query = select(Attestation.attestor).where(
        Attestation.batch_id == batch.id, Attestation.digest == batch.digest
    )
    return set(session.scalars(query))


def _question(
    context: Context,
    program: Program,
    digest: bytes,
    payload: dict[str, object],
    members: frozenset[str],
) -> Question:
    node = context.node
    return Question(
        encode(payload),
        digest,
        context.settings.attestor_timeout_seconds,
        leaves=lambda bucket, sequence: _leaves(context, program, bucket, sequence),
        check=lambda found: check_signature(node, members, found),
    )


def _ask_all(
    context: Context,
    program: Program,
    batch: Batch,
    question: Question,
    threshold: int,
    signed: set[str],
) -> list[Outcome]:
    """Ask every attestor at once and store each signature as it comes; outcomes of those that were
    waited for."""
    # Not asyncio.run: it would wait for threads that nobody waits for any more, such as one that
    # resolves a name.
    loop = asyncio.new_event_loop()
    # Enough for all of them: what one attestor's name or contract holds up must not keep another's
    # signature from being stored.
    loop.set_default_executor(ThreadPoolExecutor(2 * len(program.attestors) + 1, "attestation"))
    try:
        return loop.run_until_complete(
            _ask_until_enough(context, program, batch, question, threshold, set(signed))
        )
    finally:
        loop.close()


async def _ask_until_enough(
    context: Context,
    program: Program,
    batch: Batch,
    question: Question,
    threshold: int,
    signed: set[str],
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    async with open_client(context.settings.attestor_token.get_secret_value() or None) as http:
        tasks = {asyncio.create_task(ask(http, url, question)) for url in program.attestors}
        pending, clock, end = tasks, asyncio.get_running_loop().time, None
        try:
            while pending:
                if end is None and len(signed) >= threshold:
                    end = clock() + LATE_SECONDS
                seconds = None if end is None else end - clock()
                done, pending = await asyncio.wait(
                    pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                outcomes += (came := [task.result() for task in done])
                found = [outcome for outcome in came if isinstance(outcome, Attested)]
                await asyncio.to_thread(_store, context, batch, found)
                signed |= {attested.attestor for attested in found}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            log.error(
                "attestor_refused",
                **log_fields(batch),
                code=outcome.code,
                reason=outcome.reason,
                item=outcome.item,
            )
    return outcomes


def _store(context: Context, batch: Batch, found: list[Attested]) -> None:
    """Keep signatures of the batch's envelope. Raises NotYet if the batch has got another one."""
    with context.database.transaction() as session:
        if _in_envelope(session, batch) is None:
            return
        for attested in found:
            values = {"digest": attested.digest, "signature": attested.signature}
            row = insert(Attestation).values(
                batch_id=batch.id, attestor=attested.attestor, **values
            )
            session.execute(
                row.on_conflict_do_update(index_elements=["batch_id", "attestor"], set_=values)
            )


def _require_enough(signed: set[str], threshold: int, outcomes: list[Outcome]) -> None:
    if len(signed) >= threshold:
        return
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    waiting = [outcome for outcome in outcomes if isinstance(outcome, AskAgain)]
    said = {f"{refused.code}: {refused.message}" for refused in refusals}
    said |= {f"{later.code}: {later.message}" for later in waiting}
    reasons = "; ".join(sorted(said))
    message = f"{len(signed)} of {threshold} attestations: {reasons}"
    if len(signed) + len(waiting) < threshold:
        raise AttestationRefused(message)
    raise NotYet(message)


def _payload(session: Session, program: Program, batch: Batch) -> dict[str, object]:
    envelope = batch.envelope()
    rows = interactions.of_batch(session, batch.id)
    ids = sorted({row.delivery_id for row in rows})
    query = (
        select(DeliveryRow, DeliverySalt.salt, Partner.name)
        .join(DeliverySalt, DeliverySalt.delivery_id == DeliveryRow.id)
        .join(Partner, Partner.id == DeliveryRow.partner_id)
        .where(DeliveryRow.id.in_(ids))
        .order_by(DeliveryRow.id)
    )
    deliveries = [
        DeliveryEvidence(
            name, Delivery(row.message_id, row.timestamp, row.signature, row.body), salt
        )
        for row, salt, name in session.execute(query)
    ]
    number = {id_: i for i, id_ in enumerate(ids)}
    items = [ItemSource(number[row.delivery_id], row.position, row.amount) for row in rows]
    return build_request(
        Domain(program.chain_id, program.distributor),
        batch_envelope(batch, envelope.attestor_epoch, envelope.valid_until),
        batch.deltas,
        deliveries,
        items,
    )


def _leaves(
    context: Context, program: Program, bucket: int, sequence: int
) -> dict[str, object] | None:
    domain = Domain(program.chain_id, program.distributor)
    with context.database.transaction() as session:
        batch = batches.get(session, program.id, bucket, sequence)
        if batch is None:
            return None
        items = items_of(session, interactions.of_batch(session, batch.id))
    return build_leaves(
        domain, bucket, sequence, [(item.interaction(domain), item.amount) for item in items]
    )
