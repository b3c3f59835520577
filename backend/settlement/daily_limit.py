"""When the daily limit has room for a batch.

The chain's newest block says what is left. Posts that are under way will use some of it, and so
will batches that were closed earlier and wait for room: a batch leaves them theirs, so that small
batches cannot keep a large one waiting without end. No credit is lost by that: what refills while a
large batch waits is there for it, and for the next ones after it.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.batch.models import Batch, BatchState
from backend.batch.repository import locked
from backend.chain import calldata
from backend.chain.daily_limit import DAY, NO_LIMIT, LeakyBucket
from backend.chain.finality import final_block
from backend.chain.local import is_local
from backend.chain.models import OutgoingTransaction
from backend.chain.sender import SimulationReverted
from backend.context import Context
from backend.errors import GuerdonError
from backend.program.models import Program

SIGN_AHEAD_SECONDS = 300
"""How long before there is room a batch is signed and proven. Earlier it would expire meanwhile."""
ROOM_KEPT_SECONDS = 600
"""How long after it should have fitted a batch keeps its room: one that something else holds up
must not hold up the others."""
LOOK_SECONDS_MAX = 60


class Full(NamedTuple):
    """There is no room now. `reason` says when there is; `seconds` from now on, None if never
    under this limit."""

    reason: str
    seconds: int | None


def room_for(context: Context, program: Program, batch: Batch) -> Full | None:
    """Whether the daily limit takes the batch now: None if it does, or if there is no limit. What
    it waits for is kept in its `fits_at`. Raises Unavailable.

    A program without a limit asks the chain nothing. If a limit is new and not final yet, the
    simulation of the post refuses what is above it.
    """
    if not program.daily_limit:
        return None
    now, limit = _limit(context, program)
    with context.database.transaction() as session:
        ahead = _ahead(session, batch, now)
        at = limit.post(ahead, now).fits_at(batch.total, now)
        # Where it fits now, it keeps the room that it has waited for until it is posted.
        if at != now and at != batch.fits_at and (row := locked(session, batch.id, batch.state)):
            row.fits_at = at
    if at is None:
        text = program.reward_token.text
        return Full(
            f"its {text(batch.total)} are above the daily limit of {text(limit.per_day)}: "
            "smaller batches replace it once its signatures have expired",
            None,
        )
    if at == now:
        return None
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    return Full(f"the daily limit is used up: it fits at {when}", at - now)


def left_for(context: Context, program: Program, several: Sequence[Batch]) -> int:
    """Base units that the daily limit has left for batches that go together, apart from what is
    under way and what earlier ones keep; NO_LIMIT without a limit. Raises Unavailable."""
    if not program.daily_limit:
        return NO_LIMIT
    now, limit = _limit(context, program)
    with context.database.transaction() as session:
        newest = max(several, key=lambda one: one.id)
        ahead = _ahead(session, newest, now, frozenset(one.id for one in several))
    return limit.post(ahead, now).left(now)


def is_full(error: GuerdonError) -> bool:
    """Whether a post was refused for the daily limit: another one was faster."""
    return isinstance(error, SimulationReverted) and error.data[:4] == calldata.DAILY_LIMIT_EXCEEDED


def _limit(context: Context, program: Program) -> tuple[int, LeakyBucket]:
    """The chain's time, and its limit by then."""
    head = final_block(context.node, "latest")
    said = context.distributor(program).daily_limit(head.number)
    now = head.timestamp
    if is_local(program.chain_id):
        # As for envelopes: an idle local chain's head is old, the next block will not be.
        now = max(now, int(time.time()))
    if not said.per_day:
        return now, LeakyBucket()
    # What is left is rounded down: this errs by less than one base unit, on the safe side.
    return now, LeakyBucket(said.per_day, (said.per_day - said.left) * DAY, head.timestamp)


def _ahead(session: Session, batch: Batch, now: int, without: frozenset[int] = frozenset()) -> int:
    """Base units of posts that no block holds yet, and of earlier batches that wait for room."""
    others = select(func.coalesce(func.sum(Batch.total), 0)).where(
        Batch.program_id == batch.program_id, Batch.id.not_in(without | {batch.id})
    )
    under_way = others.join(
        OutgoingTransaction, OutgoingTransaction.id == Batch.transaction_id
    ).where(Batch.state == BatchState.POSTED, OutgoingTransaction.block_number.is_(None))
    waiting = others.where(
        Batch.state.in_((BatchState.CLOSED, BatchState.ATTESTED, BatchState.PROVEN)),
        Batch.id < batch.id,
        Batch.fits_at > now - ROOM_KEPT_SECONDS,
    )
    return int(session.scalar(under_way) or 0) + int(session.scalar(waiting) or 0)
