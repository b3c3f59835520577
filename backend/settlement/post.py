"""Posting a proven batch: its transaction is stored, signed, before it leaves, and followed until
it is settled."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.attestation.models import Attestation
from backend.batch import repository as batches
from backend.batch.models import Batch, BatchState
from backend.batch.states import transition
from backend.chain import calldata
from backend.chain.models import OPEN, OutgoingTransaction, State
from backend.chain.sender import SimulationReverted
from backend.context import Context
from backend.kit.failpoint import failpoint
from backend.program.models import Program
from prover.wire import Proof


def attested(session: Session, batch: Batch) -> list[calldata.Attestation]:
    """The attestations of a batch's digest, in ascending order of attestor."""
    query = select(Attestation).where(
        Attestation.batch_id == batch.id, Attestation.digest == batch.digest
    )
    rows = sorted(session.scalars(query), key=lambda row: int(row.attestor, 16))
    return [calldata.Attestation(row.attestor, row.signature) for row in rows]


def post_calldata(batch: Batch, attestations: Sequence[calldata.Attestation]) -> bytes:
    """The postBatch call of a proven batch."""
    header = calldata.Batch(
        batch.bucket,
        batch.sequence,
        batch.new_root,
        batch.items_root,
        batch.interactions_root,
        batch.ledger_head,
        batch.envelope().valid_until,
    )
    return calldata.post_batch(
        header, batch.deltas, Proof.from_bytes(batch.stored_proof()).to_words(), attestations
    )


def enqueue(context: Context, program: Program, batch_id: int, threshold: int) -> None:
    """Store the signed transaction that posts a proven batch, and mark the batch posted. Broadcasts
    nothing.

    A signature that the contract takes no more (a contract that attests has changed its word) is
    left out, as long as enough others stand.

    Raises: as `Sender.enqueue`: nothing is reserved then.
    """
    with context.database.transaction() as session:
        batch = batches.locked(session, batch_id, BatchState.PROVEN)
        if batch is None:
            return
        # The digest names the envelope: a batch signed anew is another transaction.
        purpose = (
            f"post {program.chain_id} {program.distributor} {batch.bucket} {batch.sequence} "
            f"{batch.envelope().digest.hex()}"
        )
        standing = attested(session, batch)
        while True:
            data = post_calldata(batch, standing[:threshold])
            try:
                row = context.poster.enqueue(session, purpose, program.distributor, data)
                break
            except SimulationReverted as error:
                others = [
                    one
                    for one in standing
                    if calldata.invalid_attestation(one.attestor) != error.data
                ]
                if len(others) == len(standing) or len(others) < threshold:
                    raise
                standing = others
        batch.transaction_id = row.id
        transition(batch, BatchState.POSTED)
        failpoint("post.before_commit")
    failpoint("post.stored")


def track(context: Context, program: Program, batch_id: int) -> State:
    """One poll of a posted batch's transaction: broadcast what has not left, see where it is. The
    batch is done when the watcher has booked its event, not here."""
    with context.database.transaction() as session:
        batch = session.get_one(Batch, batch_id)
        state = context.poster.advance(session, batch.posting_transaction(), program.finality)
    failpoint("post.tracked")
    return state


def track_orphaned(context: Context) -> None:
    """One poll of each open transaction on the node's chain that nobody follows: its batch became
    final meanwhile, or its pusher died.

    They must leave all the same: a nonce that never does holds up every later one of its key.
    """
    transaction = OutgoingTransaction
    followed = select(Batch.transaction_id).where(
        Batch.state == BatchState.POSTED, Batch.transaction_id.is_not(None)
    )
    query = (
        select(transaction.id, transaction.sender, Program.finality)
        .join(
            Program,
            (Program.chain_id == transaction.chain_id)
            & (Program.distributor == transaction.to_address),
        )
        .where(transaction.chain_id == context.chain_id, transaction.state.in_(OPEN))
        .where((Program.halted.is_not(None)) | transaction.id.not_in(followed))
        .order_by(transaction.nonce)
    )
    with context.database.transaction() as session:
        orphaned = session.execute(query).all()
    for transaction_id, address, finality in orphaned:
        sender = next(
            (one for one in (context.poster, context.payer) if one.address == address), None
        )
        if sender is not None:
            with context.database.transaction() as session:
                sender.advance(session, transaction_id, finality)
