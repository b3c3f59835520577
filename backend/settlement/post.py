"""Posting a proven batch: its signed transaction is stored, broadcast and tracked."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
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
    """The attestations of the batch's digest, in ascending order of attestor."""
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
    """Store the signed transaction that posts a proven batch, and mark the batch as posted.

    Nothing is broadcast. A signature that the contract no longer accepts (an attestor that is a
    contract has changed its answer) is left out while enough others are valid.

    Raises: as `Sender.enqueue`. Nothing is reserved then.
    """
    with context.database.transaction() as session:
        batch = batches.locked(session, batch_id, BatchState.PROVEN)
        if batch is None:
            return
        # The digest names the envelope: a batch that is signed again is another transaction.
        purpose = (
            f"post {program.chain_id} {program.distributor} {batch.bucket} {batch.sequence} "
            f"{batch.envelope().digest.hex()}"
        )
        valid = attested(session, batch)
        while True:
            data = post_calldata(batch, valid[:threshold])
            try:
                row = context.poster.enqueue(session, purpose, program.distributor, data)
                break
            except SimulationReverted as error:
                others = [
                    one for one in valid if calldata.invalid_attestation(one.attestor) != error.data
                ]
                if len(others) == len(valid) or len(others) < threshold:
                    raise
                valid = others
        batch.transaction_id = row.id
        transition(batch, BatchState.POSTED)
        failpoint("post.before_commit")
    failpoint("post.stored")


def track(context: Context, program: Program, batch_id: int) -> State:
    """Poll the transaction of a posted batch once: broadcast it if needed; returns its state.

    The batch becomes final when the indexer records its event, not here.
    """
    with context.database.transaction() as session:
        batch = session.get_one(Batch, batch_id)
        state = context.poster.advance(session, batch.posting_transaction(), program.finality)
    failpoint("post.tracked")
    return state


STRICTEST_FINALITY = "finalized"


class _Orphaned(NamedTuple):
    """An open outgoing transaction that nobody tracks."""

    transaction_id: int
    sender: str
    finality: str


def track_orphaned(context: Context) -> None:
    """Poll once each open transaction on the node's chain that nobody else tracks.

    Its batch became final meanwhile, or the process that pushed it died, or it is an operator's
    command (`program fund`) that ended early. The transaction must be sent all the same: a nonce
    that is not used blocks every later nonce of its key. A transaction of no program's Distributor
    is finalized as the strictest program would say.
    """
    transaction = OutgoingTransaction
    tracked = select(Batch.transaction_id).where(
        Batch.state == BatchState.POSTED, Batch.transaction_id.is_not(None)
    )
    query = (
        select(
            transaction.id, transaction.sender, func.coalesce(Program.finality, STRICTEST_FINALITY)
        )
        .outerjoin(
            Program,
            (Program.chain_id == transaction.chain_id)
            & (Program.distributor == transaction.to_address),
        )
        .where(transaction.chain_id == context.chain_id, transaction.state.in_(OPEN))
        .where((Program.halted.is_not(None)) | transaction.id.not_in(tracked))
        .order_by(transaction.nonce)
    )
    with context.database.transaction() as session:
        orphaned = [_Orphaned(*row) for row in session.execute(query)]
    for transaction_id, address, finality in orphaned:
        sender = next(
            (one for one in (context.poster, context.payer) if one.address == address), None
        )
        if sender is not None:
            with context.database.transaction() as session:
                sender.advance(session, transaction_id, finality)
