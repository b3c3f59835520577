"""Following the transactions that post batches, by what the log says of each batch."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog
from sqlalchemy import func, select

from backend.batch import repository as batches
from backend.batch.models import Batch, BatchState
from backend.batch.states import log_fields, transition
from backend.chain.events import BatchPosted, BatchSkipped, BatchSkipReason
from backend.chain.models import OPEN, OutgoingTransaction
from backend.context import Context
from backend.errors import Unavailable
from backend.kit.failpoint import failpoint
from backend.kit.metrics import POSTS_REPEATED
from backend.program.models import Program
from backend.settlement.blame import Blame, blame, blame_skipped
from backend.settlement.post_rows import (
    attestations_in,
    is_of_several,
    post_calldata,
    posts_of,
    quorum_of,
    record_faults,
)

log = structlog.get_logger()

REPEAT_SECONDS_MAX = 60
"""Each post that fails costs gas: the first is followed by another after two seconds, each further
one after twice the time, up to this."""


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


def skipped(
    context: Context, program: Program, batch: Batch, row: OutgoingTransaction
) -> BatchSkipReason | None:
    """Why a mined post of several batches passed over this one; None if it posted the batch.

    The log says so, for the transaction executes either way. Raises Unavailable, also if no block
    holds the transaction any more.
    """
    if not is_of_several(row) or row.mined_hash is None:
        return None
    for event in context.distributor(program).events_of(row.mined_hash):
        if not isinstance(event, BatchPosted | BatchSkipped):
            continue
        if (event.bucket, event.sequence) == (batch.bucket, batch.sequence):
            return event.reason if isinstance(event, BatchSkipped) else None
    raise Unavailable(f"transaction {row.id}: its log does not name the batch")


class Repeat(NamedTuple):
    """A post is to follow another in the same envelope, after `seconds`."""

    reason: str
    seconds: int


def repeat(
    context: Context,
    program: Program,
    batch: Batch,
    row: OutgoingTransaction,
    skip: BatchSkipReason | None = None,
) -> Repeat:
    """Take a batch whose post `row` reverted, is lost, or passed over it, back to proven, to be
    posted again in its envelope. Whoever was the cause is remembered. Raises Unavailable."""
    signers = sorted(quorum_of(row, batch), key=lambda signer: int(signer, 16))
    found = _blame(context, batch, row, signers, skip)
    with context.database.transaction() as session:
        locked = batches.locked(session, batch.id, BatchState.POSTED)
        posts = posts_of(session, batch)
        # A lost one is told by its state: it was never in a block.
        failed = sum(post.status is not None for post in posts)
        seconds = min(2**failed, REPEAT_SECONDS_MAX) if row.status is not None else 0
        said = _said(len(posts), found, row, skip)
        # Another process may have taken the batch on.
        if locked is not None and locked.transaction_id == row.id:
            record_faults(session, program.id, found)
            locked.transaction_id = None
            transition(locked, BatchState.PROVEN)
            _tell(locked, row, signers, found, skip)
            failpoint("post.repeated" if skip is None else "post.skipped")
    return Repeat(said, seconds)


def _blame(
    context: Context,
    batch: Batch,
    row: OutgoingTransaction,
    signers: Sequence[str],
    skip: BatchSkipReason | None,
) -> Blame:
    if skip is BatchSkipReason.TOO_FEW_ATTESTATIONS:
        signed = attestations_in(row, batch)
        return blame_skipped(context.node, row, post_calldata(batch, signed), signers)
    if skip is not None:
        return Blame(reason=skip.name.lower().replace("_", " "))
    if row.status != 0:
        return Blame(reason="it is lost")
    if not is_of_several(row):
        return blame(context.node, row, signers)
    # Another batch of it may be the cause. The batch goes alone from now on: that will show.
    return Blame(reason="a post of several batches reverted")


def _said(number: int, found: Blame, row: OutgoingTransaction, skip: BatchSkipReason | None) -> str:
    if row.status is None:
        return f"its post {number} is lost: another transaction used its nonce"
    if found.refused:
        who = f"attestor {found.refused[0]} refused the signature that it had accepted"
    elif found.suspected:
        who = f"{found.reason}; an attestor among {', '.join(found.suspected)} may be the cause"
    else:
        who = found.reason
    what = "reverted" if skip is None else "passed over it"
    return f"its post {number} {what} ({who}): it is posted again in the same envelope"


def _tell(
    batch: Batch,
    row: OutgoingTransaction,
    signers: Sequence[str],
    found: Blame,
    skip: BatchSkipReason | None,
) -> None:
    cause = "attestor" if found.refused else "unknown" if found.suspected else "other"
    POSTS_REPEATED.labels(cause if row.status is not None else "lost").inc()
    reverted = "post_reverted" if row.status == 0 else "post_lost"
    # A full day or an empty reserve is nobody's fault.
    say = log.warning if skip is not None and cause == "other" else log.error
    say(
        reverted if skip is None else "post_skipped",
        **log_fields(batch),
        tx_hash=None if row.mined_hash is None else "0x" + row.mined_hash.hex(),
        signers=signers,
        refused_by=list(found.refused),
        suspected=list(found.suspected),
        reason=found.reason,
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
