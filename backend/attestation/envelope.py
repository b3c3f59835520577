"""The envelope of a batch: what attestors sign beside the content, and its expiry."""

import time

from eth_utils.crypto import keccak
from sqlalchemy import delete
from sqlalchemy.orm import Session

from backend.attestation.models import Attestation
from backend.batch import repository as batches
from backend.batch.models import Batch, BatchState, Envelope
from backend.batch.states import transition
from backend.chain.finality import final_block
from backend.chain.local import is_local
from backend.context import Context
from backend.errors import NotYet
from backend.kit.failpoint import failpoint
from backend.program.models import Program
from prover.eip712 import BatchEnvelope, Domain

EXPIRY_MARGIN_SECONDS = 60
"""A batch is not posted in the last minute of its envelope: its transaction would be mined after
the envelope has expired, and would revert."""


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

    Raises NotYet while a change of the attestors is on chain and not final.
    """
    with context.database.transaction() as session:
        batch = batches.locked(session, batch_id, BatchState.CLOSED)
        if batch is None:
            return
        if batch.digest is not None and not is_stale(context, program, batch.envelope()):
            return
        clear_envelope(session, batch)
        distributor = context.distributor(program)
        _, _, epoch = distributor.attestors(final_block(context.node, program.finality).number)
        head = final_block(context.node, "latest")
        _, _, newest = distributor.attestors(head.number)
        if newest != epoch:
            # An attestor signs for the final chain's epoch, and no such batch can be posted.
            raise NotYet(f"attestor epoch {newest} is not final yet")
        now = head.timestamp
        if is_local(program.chain_id):
            # An idle local chain's head is old, but the block that takes the batch will not be. It
            # is this machine's chain: elsewhere the chain's clock alone counts.
            now = max(now, int(time.time()))
        valid_until = now + context.settings.batch_valid_seconds
        signed = batch_envelope(batch, epoch, valid_until)
        batch.attestor_epoch, batch.valid_until = epoch, valid_until
        batch.digest = signed.digest(Domain(program.chain_id, program.distributor))
    failpoint("attest.envelope_fixed")


def is_stale(
    context: Context,
    program: Program,
    envelope: Envelope,
    margin_seconds: int = EXPIRY_MARGIN_SECONDS,
) -> bool:
    """Whether no batch can be posted in the envelope: it expires in `margin_seconds`, or the set of
    attestors has changed."""
    head = final_block(context.node, "latest")
    _, _, epoch = context.distributor(program).attestors(head.number)
    expired = head.timestamp + margin_seconds > envelope.valid_until
    return expired or epoch != envelope.attestor_epoch


def clear_envelope(session: Session, batch: Batch) -> None:
    """Take the batch back to closed, for another envelope.

    The content stays. Signatures and proof go; `landable_until` remembers them.
    """
    session.execute(delete(Attestation).where(Attestation.batch_id == batch.id))
    batch.attestor_epoch = batch.valid_until = batch.digest = None
    batch.proof = batch.prove_ms = batch.transaction_id = batch.retry_at = None
    if batch.state != BatchState.CLOSED:
        transition(batch, BatchState.CLOSED)
