"""Which batches of a program go along with a post: one transaction for several costs less.

What does not go along is no worse off: its own look posts it, and says what it waits for. So
whatever is in doubt stays behind, and nothing here fails because of another batch than the one that
is posted.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session, aliased

from backend.attestation.envelope import EXPIRY_MARGIN_SECONDS
from backend.batch.models import INACTIVE, Batch, BatchState, Envelope
from backend.batch.repository import LOOK_SECONDS
from backend.chain.finality import final_block
from backend.context import Context
from backend.program.models import Program
from backend.settlement.models import BatchPost

CALLDATA_BYTES_MAX = 120 * 1024
"""Nodes take a transaction of at most 128 KiB into their pool; signature and fees need little of
it."""


WAITS_MAX = 3
"""Looks that may have found a batch waiting for its signatures, for others to wait for it."""


class Standing(NamedTuple):
    """What the newest block says of a program: its time, the attestor epoch, and how many base
    units more can be committed."""

    timestamp: int
    epoch: int
    room: int

    def takes(self, envelope: Envelope) -> bool:
        """Whether a batch can still be posted in the envelope, with time to spare."""
        in_time = self.timestamp + EXPIRY_MARGIN_SECONDS <= envelope.valid_until
        return in_time and envelope.attestor_epoch == self.epoch


def standing(context: Context, program: Program) -> Standing:
    """Raises Unavailable."""
    distributor = context.distributor(program)
    head = final_block(context.node, "latest")
    _, _, epoch = distributor.attestors(head.number)
    totals = distributor.totals(head.number)
    covered = totals.reserve + totals.claimed - totals.committed
    return Standing(head.timestamp, epoch, min(covered, distributor.daily_limit(head.number).left))


def candidates(session: Session, program_id: int, batch: Batch, most: int) -> Sequence[Batch]:
    """Other proven batches that may go along with `batch`, those closed first first.

    Each is the next of its bucket: nothing else is signed. A batch whose post did not land goes
    alone in the same envelope, so that it can hold up no other one again and what is wrong with it
    shows.
    """
    if _has_post(session, batch):
        return []
    query = (
        select(Batch)
        .where(
            Batch.program_id == program_id,
            Batch.state == BatchState.PROVEN,
            Batch.id != batch.id,
            Batch.retry_at.is_(None)
            | (Batch.retry_at <= func.now() + timedelta(seconds=LOOK_SECONDS)),
            ~_posted_in_its_envelope(),
        )
        .order_by(Batch.id)
        .limit(most)
    )
    return session.scalars(query).all()


def is_awaited(
    session: Session, program_id: int, batch: Batch, most: int, wait_seconds: float
) -> bool:
    """Whether `batch`, which is proven, should wait for others that may be proven soon: while other
    buckets' next batches are being signed or proven, at most `wait_seconds`, and only as long as a
    post has room for more."""
    if most == 1 or wait_seconds <= 0 or _has_post(session, batch):
        return False
    since = func.now() - timedelta(seconds=wait_seconds)
    young = select(Batch.id).where(Batch.id == batch.id, Batch.proven_at > since)
    earlier = aliased(Batch)
    nearly = select(Batch.id).where(
        Batch.program_id == program_id,
        Batch.state.in_((BatchState.CLOSED, BatchState.ATTESTED)),
        Batch.failures == 0,
        # One that has waited longer may wait for an attestor that is down, or for funds.
        Batch.waits <= WAITS_MAX,
        ~exists().where(
            earlier.program_id == Batch.program_id,
            earlier.bucket == Batch.bucket,
            earlier.sequence < Batch.sequence,
            earlier.state.not_in((BatchState.FINAL, *INACTIVE)),
        ),
    )
    if session.scalar(young) is None or session.scalar(nearly.limit(1)) is None:
        return False
    return len(candidates(session, program_id, batch, most - 1)) < most - 1


def _posted_in_its_envelope() -> ColumnElement[bool]:
    return exists().where(BatchPost.batch_id == Batch.id, BatchPost.digest == Batch.digest)


def _has_post(session: Session, batch: Batch) -> bool:
    query = select(BatchPost.batch_id).where(
        BatchPost.batch_id == batch.id, BatchPost.digest == batch.digest
    )
    return session.scalar(query.limit(1)) is not None
