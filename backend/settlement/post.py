"""Posting a proven batch: its signed transaction is stored, broadcast and tracked.

A post that reverted or is lost is followed by another in the same envelope, as long as the envelope
stands: digest, signatures and proof are still good. Each post is a transaction of its own, whose
purpose names the digest and the number of the post, so their rows are the memory of what was tried.
"""

from collections.abc import Sequence
from typing import NamedTuple

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.attestation.models import Attestation, AttestorFault
from backend.batch import repository as batches
from backend.batch.models import Batch, BatchState
from backend.batch.states import log_fields, transition
from backend.chain import calldata
from backend.chain.models import OPEN, OutgoingTransaction
from backend.chain.sender import SimulationReverted
from backend.context import Context
from backend.errors import GuerdonError, Invalid
from backend.kit.failpoint import failpoint
from backend.kit.metrics import POSTS_REPEATED
from backend.program.models import Program
from backend.settlement.blame import Blame, blame, suspects
from backend.settlement.quorum import Faults, Quorum, all_tried, choose
from prover.wire import Proof

log = structlog.get_logger()

SIMULATIONS_MAX = 8
"""Most quorums that one look simulates where the simulation does not say who is at fault."""
REPEAT_SECONDS_MAX = 60
"""Each revert costs gas: the first is followed by another post after two seconds, each further one
after twice the time, up to this."""


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


def posts_of(session: Session, program: Program, batch: Batch) -> list[OutgoingTransaction]:
    """The posts of the batch in its envelope, oldest first."""
    found: list[OutgoingTransaction] = []
    while row := session.scalar(
        select(OutgoingTransaction).where(
            OutgoingTransaction.purpose == _purpose(program, batch, len(found) + 1)
        )
    ):
        found.append(row)
    return found


def _purpose(program: Program, batch: Batch, number: int) -> str:
    # The digest names the envelope: a batch that is signed again is another transaction.
    base = (
        f"post {program.chain_id} {program.distributor} {batch.bucket} {batch.sequence} "
        f"{batch.envelope().digest.hex()}"
    )
    return base if number == 1 else f"{base} {number}"


def quorum_of(row: OutgoingTransaction) -> Quorum:
    """Whose signatures a post holds."""
    return Quorum(one.attestor for one in calldata.decode_post_batch(row.data).attestations)


def faults(session: Session, program_id: int) -> dict[str, Faults]:
    """attestor -> what it is blamed for."""
    rows = session.scalars(select(AttestorFault).where(AttestorFault.program_id == program_id))
    return {row.attestor: Faults(row.refused, row.suspected) for row in rows}


def needs_signatures(session: Session, program: Program, batch: Batch, threshold: int) -> bool:
    """Whether every quorum of those who have signed was tried, and a post failed."""
    posts = posts_of(session, program, batch)
    signers = [one.attestor for one in attested(session, batch)]
    return bool(posts) and all_tried(signers, threshold, map(quorum_of, posts))


def is_signers_fault(error: GuerdonError) -> bool:
    """Whether a post that `enqueue` refused may be accepted with other signatures."""
    if isinstance(error, SimulationReverted):
        return not error.data or error.data[:4] == calldata.INVALID_ATTESTATION
    return isinstance(error, Invalid) and error.field == "data"


def enqueue(context: Context, program: Program, batch_id: int, threshold: int) -> None:
    """Store the signed transaction that posts a proven batch, and mark the batch as posted.

    Nothing is broadcast. A signature that the contract no longer accepts (an attestor that is a
    contract has changed its answer) is left out while enough others are valid. Attestors that made
    a post revert go along last.

    Raises: as `Sender.enqueue`. Nothing is reserved then.
    """
    doubtful: list[Quorum] = []
    try:
        with context.database.transaction() as session:
            batch = batches.locked(session, batch_id, BatchState.PROVEN)
            if batch is None:
                return
            row = _enqueue(context, session, program, batch, threshold, doubtful)
            batch.transaction_id = row.id
            transition(batch, BatchState.POSTED)
            failpoint("post.before_commit")
    finally:
        for quorum in doubtful:
            found = suspects(context.node, sorted(quorum))
            with context.database.transaction() as session:
                _record_faults(session, program.id, Blame((), found, "it could not be simulated"))
    failpoint("post.stored")


def _enqueue(
    context: Context,
    session: Session,
    program: Program,
    batch: Batch,
    threshold: int,
    doubtful: list[Quorum],
) -> OutgoingTransaction:
    """Store the first post that the simulation accepts. Quorums that it refuses without a name are
    added to `doubtful`."""
    posts = posts_of(session, program, batch)
    purpose = _purpose(program, batch, len(posts) + 1)
    blamed, tried = faults(session, program.id), [quorum_of(row) for row in posts]
    valid = {one.attestor: one for one in attested(session, batch)}
    while True:
        quorum = choose(valid, threshold, blamed, tried) or Quorum(valid)
        data = post_calldata(batch, [one for name, one in valid.items() if name in quorum])
        try:
            return context.poster.enqueue(session, purpose, program.distributor, data)
        except (SimulationReverted, Invalid) as error:
            if not is_signers_fault(error):
                raise
            named = _refused(error, quorum)
            if named is None:
                doubtful.append(quorum)
                tried.append(quorum)
                if len(doubtful) >= SIMULATIONS_MAX or all_tried(valid, threshold, tried):
                    raise
            elif len(valid) <= threshold:
                raise
            else:
                del valid[named]


def _refused(error: GuerdonError, quorum: Quorum) -> str | None:
    """The attestor whose signature the simulation refused; None if it names none."""
    data = error.data if isinstance(error, SimulationReverted) else b""
    return next((one for one in quorum if calldata.invalid_attestation(one) == data), None)


def track(context: Context, program: Program, batch_id: int) -> OutgoingTransaction:
    """Poll the transaction of a posted batch once: broadcast it if needed; returns its row.

    The batch becomes final when the indexer records its event, not here.
    """
    with context.database.transaction() as session:
        batch = session.get_one(Batch, batch_id)
        context.poster.advance(session, batch.posting_transaction(), program.finality)
        row = session.get_one(OutgoingTransaction, batch.posting_transaction())
    failpoint("post.tracked")
    return row


class Repeat(NamedTuple):
    """A post is to follow another in the same envelope, after `seconds`."""

    reason: str
    seconds: int


def repeat(context: Context, program: Program, batch: Batch, row: OutgoingTransaction) -> Repeat:
    """Take a batch whose post `row` reverted or is lost back to proven, to be posted again in its
    envelope. Whoever made it revert is remembered. Raises Unavailable."""
    signers = sorted(quorum_of(row), key=lambda signer: int(signer, 16))
    found = blame(context.node, row, signers) if row.status == 0 else Blame(reason="it is lost")
    with context.database.transaction() as session:
        locked = batches.locked(session, batch.id, BatchState.POSTED)
        posts = posts_of(session, program, batch)
        reverted = sum(post.status == 0 for post in posts)
        seconds = min(2**reverted, REPEAT_SECONDS_MAX) if row.status == 0 else 0
        said = _said(len(posts), found, row)
        # Another process may have taken the batch on.
        if locked is not None and locked.transaction_id == row.id:
            _record_faults(session, program.id, found)
            locked.transaction_id = None
            transition(locked, BatchState.PROVEN)
            _tell(locked, row, signers, found)
            failpoint("post.repeated")
    return Repeat(said, seconds)


def _said(number: int, found: Blame, row: OutgoingTransaction) -> str:
    if row.status != 0:
        return f"its post {number} is lost: another transaction used its nonce"
    if found.refused:
        who = f"attestor {found.refused[0]} refused the signature that it had accepted"
    elif found.suspected:
        who = f"{found.reason}; an attestor among {', '.join(found.suspected)} may be the cause"
    else:
        who = found.reason
    return f"its post {number} reverted ({who}): it is posted again in the same envelope"


def _tell(batch: Batch, row: OutgoingTransaction, signers: Sequence[str], found: Blame) -> None:
    cause = "attestor" if found.refused else "unknown" if found.suspected else "other"
    POSTS_REPEATED.labels(cause if row.status == 0 else "lost").inc()
    log.error(
        "post_reverted" if row.status == 0 else "post_lost",
        **log_fields(batch),
        tx_hash=None if row.mined_hash is None else "0x" + row.mined_hash.hex(),
        signers=signers,
        refused_by=list(found.refused),
        suspected=list(found.suspected),
        reason=found.reason,
    )


def _record_faults(session: Session, program_id: int, found: Blame) -> None:
    for attestor in sorted({*found.refused, *found.suspected}):
        one = int(attestor in found.refused)
        made = insert(AttestorFault).values(
            program_id=program_id,
            attestor=attestor,
            refused=one,
            suspected=1 - one,
            reason=found.reason,
        )
        session.execute(
            made.on_conflict_do_update(
                index_elements=["program_id", "attestor"],
                set_={
                    "refused": AttestorFault.refused + made.excluded.refused,
                    "suspected": AttestorFault.suspected + made.excluded.suspected,
                    "reason": made.excluded.reason,
                    "updated_at": func.now(),
                },
            )
        )


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
        # The stored bytes of a key that no worker holds any more go out again as well: without its
        # key a transaction's fees cannot be raised, but it may hold up later ones.
        sender = context.payer if context.payer.address == address else context.poster
        with context.database.transaction() as session:
            sender.advance(session, transaction_id, finality)
