"""Collecting attestations: fixing what is to be signed, and asking the attestors until m of them have."""

import time
from concurrent.futures import ThreadPoolExecutor

import structlog
from eth_utils import keccak
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.attestation.client import (
    Attested,
    MissingLeaves,
    Outcome,
    Refused,
    request_attestation,
    send_leaves,
)
from backend.attestation.client import NotYet as AskAgain
from backend.attestation.models import Attestation
from backend.attestation.request import DeliveryEvidence, ItemSource, build_leaves, build_request
from backend.batch import repository as batches
from backend.batch.close import items_of
from backend.batch.models import Batch, BatchState
from backend.chain.client import final_block
from backend.context import Context
from backend.errors import Conflict, NotYet
from backend.interaction import repository as interactions
from backend.interaction.evidence import Delivery
from backend.interaction.models import DeliveryRow, DeliverySalt
from backend.kit.failpoint import failpoint
from backend.partner.models import Partner
from backend.program.models import Program
from prover.eip712 import BatchEnvelope, Domain

log = structlog.get_logger()

EXPIRY_MARGIN_SECONDS = 60
"""A batch is not posted in the last minute of its envelope: it would be mined after it and reverted."""


class AttestationRefused(Conflict):
    """Attestors refuse the batch for good: it cannot collect m signatures. An operator has to look."""

    code = "attestation_refused"


def envelope(batch: Batch) -> BatchEnvelope:
    """What the attestors sign of a batch whose envelope is fixed."""
    return BatchEnvelope(
        batch.bucket, batch.sequence, batch.old_root, batch.new_root, batch.items_root, batch.interactions_root, batch.ledger_head,
        keccak(batch.deltas), batch.attestor_epoch, batch.valid_until,
    )  # fmt: skip


def ensure_envelope(context: Context, program: Program, batch_id: int) -> None:
    """Fix epoch, expiry and digest, unless they are and still good. Committed before anyone is asked: an attestor that has signed one
    digest refuses another until that one has expired."""
    with context.database.transaction() as session:
        batch = batches.locked(session, batch_id, BatchState.CLOSED)
        if batch is None:
            return
        if batch.digest is not None and not envelope_is_stale(context, program, batch):
            return
        clear_envelope(session, batch)
        final = final_block(context.w3, program.finality)
        _, _, batch.attestor_epoch = context.distributor(program).attestors(final.number)
        # An idle local chain's head is old, but the block that takes the batch will not be.
        now = max(final_block(context.w3, "latest").timestamp, int(time.time()))
        batch.valid_until = now + context.settings.batch_valid_seconds
        batch.digest = envelope(batch).digest(Domain(program.chain_id, program.distributor))
    failpoint("attest.envelope_fixed")


def envelope_is_stale(context: Context, program: Program, batch: Batch) -> bool:
    """Whether the batch can no longer be posted as it was signed: it has expired, or the attestors have changed."""
    head = final_block(context.w3, "latest")
    _, _, epoch = context.distributor(program).attestors(head.number)
    return head.timestamp + EXPIRY_MARGIN_SECONDS > batch.valid_until or epoch != batch.attestor_epoch


def clear_envelope(session: Session, batch: Batch) -> None:
    """Back to closed: content stays, signatures and proof go; `landable_until` remembers them."""
    session.execute(delete(Attestation).where(Attestation.batch_id == batch.id))
    batch.attestor_epoch = batch.valid_until = batch.digest = batch.proof = batch.prove_ms = batch.transaction_id = None
    batch.state = BatchState.CLOSED


def collect(context: Context, program: Program, batch_id: int) -> None:
    """Ask every attestor that has not signed yet, all at once; once m have, the batch is attested, and proven if it has its proof.

    Raises:
        NotYet: too few have signed so far, and more may.
        AttestationRefused: too many have refused.
    """
    with context.database.transaction() as session:
        batch = batches.locked(session, batch_id, BatchState.CLOSED)
        if batch is None:
            return
        payload = _payload(session, program, batch)
        signed = set(session.scalars(select(Attestation.attestor).where(Attestation.batch_id == batch.id)))
    members, threshold, _ = context.distributor(program).attestors("latest")
    if len(signed & set(members)) < threshold:
        with ThreadPoolExecutor(len(program.attestors) or 1) as pool:
            outcomes = list(pool.map(lambda url: _ask(context, program, url, payload, batch.digest), program.attestors))
        signed |= _store(context, batch_id, batch.digest, members, outcomes)
        failpoint("attest.signed")
        _require_enough(signed & set(members), threshold, outcomes)
    with context.database.transaction() as session:
        if row := batches.locked(session, batch_id, BatchState.CLOSED):
            row.state, row.note = BatchState.ATTESTED, None
            if row.proof is not None:
                batches.mark_proven(row)
    failpoint("attest.after_commit")


def _require_enough(signed: set[str], threshold: int, outcomes: list[Outcome]) -> None:
    if len(signed) >= threshold:
        return
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    waiting = [outcome for outcome in outcomes if isinstance(outcome, AskAgain)]
    reasons = "; ".join(sorted({f"{outcome.code}: {outcome.message}" for outcome in (*refusals, *waiting)}))
    message = f"{len(signed)} of {threshold} attestations: {reasons}"
    if len(signed) + len(waiting) < threshold:
        raise AttestationRefused(message)
    raise NotYet(message)


def _payload(session: Session, program: Program, batch: Batch) -> dict[str, object]:
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
        DeliveryEvidence(name, Delivery(row.message_id, row.timestamp, row.signature, row.body), salt)
        for row, salt, name in session.execute(query)
    ]
    number = {id_: i for i, id_ in enumerate(ids)}
    items = [ItemSource(number[row.delivery_id], row.position, row.amount) for row in rows]
    return build_request(Domain(program.chain_id, program.distributor), envelope(batch), batch.deltas, deliveries, items)


def _ask(context: Context, program: Program, url: str, payload: dict[str, object], digest: bytes) -> Outcome:
    """One attestor's outcome; leaves that it lacks are sent, and it is asked once more."""
    token, timeout = context.settings.attestor_token.get_secret_value() or None, context.settings.attestor_timeout_seconds
    outcome = request_attestation(url, token, payload, digest=digest, timeout=timeout)
    if isinstance(outcome, MissingLeaves):
        for bucket, sequence in outcome.batches:
            failed = send_leaves(url, token, _leaves(context, program, bucket, sequence), timeout=timeout)
            if failed is not None:
                return failed
        outcome = request_attestation(url, token, payload, digest=digest, timeout=timeout)
    return AskAgain("missing_leaves", "leaves are still missing") if isinstance(outcome, MissingLeaves) else outcome


def _leaves(context: Context, program: Program, bucket: int, sequence: int) -> dict[str, object]:
    domain = Domain(program.chain_id, program.distributor)
    with context.database.transaction() as session:
        batch = batches.get(session, program.id, bucket, sequence)
        if batch is None:
            raise Conflict(f"an attestor asks for batch {sequence} of bucket {bucket}, which the ledger does not have")
        items = items_of(session, interactions.of_batch(session, batch.id))
    return build_leaves(domain, bucket, sequence, [(item.interaction(domain), item.amount) for item in items])


def _store(context: Context, batch_id: int, digest: bytes, members: tuple[str, ...], outcomes: list[Outcome]) -> set[str]:
    """Keep the signatures of members of the set; returns their addresses."""
    found = [outcome for outcome in outcomes if isinstance(outcome, Attested) and outcome.attestor in members]
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            log.error("attestor_refused", batch=batch_id, code=outcome.code, reason=outcome.reason, item=outcome.item)
    with context.database.transaction() as session:
        for attested in found:
            values = {
                "batch_id": batch_id, "attestor": attested.attestor, "digest": digest, "signature": attested.signature,
            }  # fmt: skip
            session.execute(insert(Attestation).values(values).on_conflict_do_nothing())
    return {attested.attestor for attested in found}
