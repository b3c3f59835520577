"""The indexer: it records final events, which move batches, accounts and the ledger exactly once.

The indexer reads from the node first, while nothing is locked. Then it records the events in parts
of whole blocks. Each part and the cursor behind it are one transaction under the program's row
lock. Only blocks at or below the finality head are read, so nothing has to be taken back. If a
final block changes all the same, the program halts and waits for an operator.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import NamedTuple

import structlog
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.account import repository as accounts
from backend.account.service import record_claim
from backend.batch import repository as batches
from backend.batch.models import Batch, BatchState
from backend.batch.states import transition
from backend.chain.events import (
    AttestorsChanged,
    BatchPosted,
    Claimed,
    DailyLimitChanged,
    Event,
    FamiliesChanged,
    Funded,
    Unreadable,
    Withdrawn,
    references,
)
from backend.chain.finality import final_block
from backend.chain.node import Node
from backend.context import Context
from backend.errors import Unavailable
from backend.interaction import service as interactions
from backend.kit.failpoint import failpoint
from backend.kit.metrics import INDEXER_LAG_BLOCKS
from backend.ledger import service as ledger
from backend.program import repository as programs
from backend.program.halts import halt
from backend.program.models import Program
from prover.wire import count_openings

log = structlog.get_logger()

BLOCKS_PER_READING = 5000
EVENTS_PER_PART = 200
"""A part ends with the block that brings it to this many events. The indexer holds the budget while
it records a part, and intake needs the budget."""


class Contradiction(Exception):
    """The chain says something that the ledger cannot follow."""


class Indexed(NamedTuple):
    """What one call of `index` has recorded.

    Another indexer may have recorded an event first. A batch that is missing in `final_batches` may
    therefore be final all the same.
    """

    events: int = 0
    """How many events were recorded."""
    final_batches: frozenset[int] = frozenset()
    """Ids of the batches that became final with them."""


@dataclass(frozen=True)
class _Part:
    """Whole blocks: their events, and the last block with its hash."""

    events: Sequence[Event]
    last: int
    last_hash: bytes


@dataclass(frozen=True)
class _Reading:
    """What the node says of the blocks after `program.last_indexed_block`.

    `gas`: transaction hash -> gas used, of the transactions that post batches. `times`: block
    number -> its time, of the blocks that the daily limit depends on.
    """

    program: Program
    parts: Sequence[_Part]
    gas: Mapping[bytes, int]
    times: Mapping[int, int]


def index(
    context: Context, program_id: int, past_halt: str | None = None, readings_max: int | None = None
) -> Indexed:
    """Record every event that is final and not recorded yet; returns what was recorded.

    A halted program is left alone, unless its halt reason is `past_halt`. Recording an event twice
    changes nothing. `readings_max` bounds how far one call goes.

    Raises Unavailable if the node does not answer, Conflict if the program is on another chain.
    """
    events, final = 0, frozenset[int]()
    for _ in count() if readings_max is None else range(readings_max):
        if (reading := _read(context, program_id, past_halt)) is None:
            break
        at = reading.program.last_indexed_block, reading.program.last_indexed_block_hash
        for part in reading.parts:
            with context.database.transaction() as session:
                program = programs.lock(session, program_id)
                # Another indexer was faster, or the program was halted: this reading is out of
                # date.
                if (
                    program.halted != past_halt
                    or (program.last_indexed_block, program.last_indexed_block_hash) != at
                ):
                    break
                recorded = _record_part(session, program, part, reading.gas, reading.times)
                if recorded.events:
                    failpoint("index.before_commit")
            if recorded.events:
                failpoint("index.after_commit")
            _log_part(program, part)
            events, final = events + recorded.events, final | recorded.final_batches
            at = part.last, part.last_hash
    return Indexed(events, final)


def _read(context: Context, program_id: int, past_halt: str | None) -> _Reading | None:
    """Read what comes next, with no lock and no transaction; None if there is nothing to record."""
    with context.database.transaction() as session:
        program = session.get_one(Program, program_id)
    if program.halted != past_halt:
        return None
    context.require_chain(program)
    head = final_block(context.node, program.finality)
    INDEXER_LAG_BLOCKS.labels(program.name).set(max(head.number - program.last_indexed_block, 0))
    if head.number < program.last_indexed_block:
        return None
    if context.node.block(program.last_indexed_block).hash != program.last_indexed_block_hash:
        _halt_changed(context, program)
        return None
    if head.number == program.last_indexed_block:
        return None
    last = min(head.number, program.last_indexed_block + BLOCKS_PER_READING)
    last_hash = context.node.block(last).hash
    events = context.distributor(program).events(program.last_indexed_block + 1, last)
    gas = {
        event.tx_hash: _gas_used(context.node, event.tx_hash)
        for event in events
        if isinstance(event, BatchPosted)
    }
    times = _times(context.node, program, events)
    if context.node.block(last).hash != last_hash:
        raise Unavailable(f"block {last} changed while the log was read")
    return _Reading(program, list(_parts(events, last, last_hash)), gas, times)


def _times(node: Node, program: Program, events: Sequence[Event]) -> dict[int, int]:
    """Block number -> its time, of the blocks that the daily limit depends on. A program without a
    limit asks nothing."""
    if not program.daily_limit and not any(isinstance(one, DailyLimitChanged) for one in events):
        return {}
    numbers = {
        event.block_number for event in events if isinstance(event, BatchPosted | DailyLimitChanged)
    }
    return {number: node.block(number).timestamp for number in numbers}


def _parts(events: Sequence[Event], last: int, last_hash: bytes) -> Iterator[_Part]:
    start = 0
    for end, (event, following) in enumerate(pairwise(events), start=1):
        if end - start >= EVENTS_PER_PART and following.block_number != event.block_number:
            yield _Part(events[start:end], event.block_number, event.block_hash)
            start = end
    yield _Part(events[start:], last, last_hash)


def _halt_changed(context: Context, read: Program) -> None:
    with context.database.transaction() as session:
        program = programs.lock(session, read.id)
        same = (program.last_indexed_block, program.last_indexed_block_hash) == (
            read.last_indexed_block,
            read.last_indexed_block_hash,
        )
        if same and program.halted == read.halted:
            halt(
                program,
                f"block {read.last_indexed_block} was final and has changed: compare the node "
                "with others, then resume",
            )


def _record_part(
    session: Session,
    program: Program,
    part: _Part,
    gas: Mapping[bytes, int],
    times: Mapping[int, int],
) -> Indexed:
    """Record a part and move the cursor, or halt the program."""
    try:
        with session.begin_nested():
            final = record_events(session, program, part.events, gas, times)
    except (Contradiction, IntegrityError, LookupError) as error:
        blocks = f"{program.last_indexed_block + 1} to {part.last}"
        halt(program, f"recording blocks {blocks} failed: {error}")
        return Indexed()
    program.last_indexed_block = part.last
    program.last_indexed_block_hash = part.last_hash
    return Indexed(len(part.events), final)


def _log_part(program: Program, part: _Part) -> None:
    """One line an event, after the commit. Nothing for a part that halted the program."""
    if program.last_indexed_block != part.last:
        return
    for event in part.events:
        details: dict[str, str | int] = {}
        if isinstance(event, BatchPosted):
            details = {"bucket": event.bucket, "sequence": event.sequence, "total": event.total}
        elif isinstance(event, Claimed):
            details = {"account": event.account, "amount": event.amount}
        elif isinstance(event, Funded | Withdrawn):
            details = {"amount": event.amount}
        log.info(
            "event_recorded",
            program=program.id,
            kind=type(event).__name__,
            block=event.block_number,
            tx_hash="0x" + event.tx_hash.hex(),
            **details,
        )


def record_events(
    session: Session,
    program: Program,
    events: Sequence[Event],
    gas: Mapping[bytes, int],
    times: Mapping[int, int],
) -> frozenset[int]:
    """Record events, whole blocks in chain order; returns the ids of the batches now final.

    The caller holds the program's row lock. `gas`: transaction hash -> gas used, of the batches.
    `times`: block number -> its time, of batches under a daily limit, and of its changes.

    Raises Contradiction, IntegrityError or LookupError for what the ledger cannot follow.
    """
    posted = [event for event in events if isinstance(event, BatchPosted)]
    _count_limit(session, program, events, times)
    # Batches first. The worker that posts a batch may hold its row while it waits for the node, and
    # the budget must not wait with it.
    final = frozenset(
        _record_batch(session, program, event, share)
        for event, share in zip(posted, _shares(posted, gas), strict=True)
    )
    if len(posted) == len(events):
        return final
    # Before any account, as intake does: two transactions that lock the same rows in one order
    # cannot end in a deadlock.
    ledger.available_budget(session, program.id, lock=True)
    for reference, event in references(events):
        _record_movement(session, program, event, reference)
    if any(isinstance(event, Funded) for event in events):
        batches.wake(session, program.id)  # Some may wait for a reserve that covers them.
        interactions.release_held(session, program.id)
    return final


def _count_limit(
    session: Session, program: Program, events: Sequence[Event], times: Mapping[int, int]
) -> None:
    """Bring the program's daily limit up to these events. A batch that is recorded again is not
    counted again. A change that is recorded again frees nothing: earlier times refill nothing."""
    limit = program.limit
    for event in events:
        if isinstance(event, DailyLimitChanged):
            limit = limit.change(event.per_day, times[event.block_number])
        elif isinstance(event, BatchPosted) and limit.per_day:
            batch = batches.get(session, program.id, event.bucket, event.sequence)
            if batch is None or batch.state != BatchState.FINAL:
                limit = limit.post(event.total, times[event.block_number])
    if limit.per_day != program.daily_limit:
        batches.wake(session, program.id)  # Some may fit now, and some not any more.
    program.limit = limit


class _Share(NamedTuple):
    """A batch's part of its transaction's gas, and how many batches share it."""

    gas: int
    batches: int


def _shares(posted: Sequence[BatchPosted], gas: Mapping[bytes, int]) -> Iterator[_Share]:
    """Each batch's share: equal parts, what is left over to the first ones. The sum is exact."""
    batches, seen = Counter(event.tx_hash for event in posted), Counter[bytes]()
    for event in posted:
        each, left = divmod(gas[event.tx_hash], batches[event.tx_hash])
        yield _Share(each + int(seen[event.tx_hash] < left), batches[event.tx_hash])
        seen[event.tx_hash] += 1


def _record_movement(session: Session, program: Program, event: Event, reference: str) -> None:
    if isinstance(event, Claimed):
        _record_claim(session, program, event, reference)
    elif isinstance(event, Funded) and event.amount:
        ledger.book_funding(session, program.id, reference, event.amount)
    elif isinstance(event, Withdrawn) and event.amount:
        ledger.book_withdrawal(session, program.id, reference, event.amount)
    elif isinstance(event, FamiliesChanged):
        program.families = event.families
        program.families_first = min(program.families_first, event.families)
    elif isinstance(event, AttestorsChanged):
        batches.bury(session, program.id, event.epoch)
    elif isinstance(event, Unreadable):
        raise Contradiction(f"a log named {event.name} cannot be read: {event.reason}")


def _record_claim(session: Session, program: Program, event: Claimed, reference: str) -> None:
    account = accounts.at_slot(session, program.id, event.bucket, event.slot)
    if account is None or account.address != event.account:
        raise Contradiction(
            f"a claim of slot {event.slot} of bucket {event.bucket} names another account "
            "than the ledger"
        )
    if ledger.book_claim(session, program.id, reference, event.account, event.amount):
        record_claim(session, account, event)


def _record_batch(session: Session, program: Program, event: BatchPosted, share: _Share) -> int:
    """Make the batch final; returns its id."""
    batch = batches.get(session, program.id, event.bucket, event.sequence)
    said = event.new_root, event.items_root, event.interactions_root, event.deltas
    if (
        batch is None
        or (batch.new_root, batch.items_root, batch.interactions_root, batch.deltas) != said
    ):
        raise Contradiction(
            f"batch {event.sequence} of bucket {event.bucket} on chain is not the ledger's"
        )
    _finalize(session, batch, event, share, program.families)
    return batch.id


def _finalize(
    session: Session, batch: Batch, event: BatchPosted, share: _Share, families: int
) -> None:
    # An event that is recorded again, as a resumed program does, finds the batch final.
    if batch.state != BatchState.FINAL:
        transition(batch, BatchState.FINAL)
    batch.tx_hash = "0x" + event.tx_hash.hex()
    batch.block_number = event.block_number
    batch.gas_used, batch.batches_in_tx = share
    batch.note = None
    batches.wake(session, batch.program_id, batch.bucket, batch.sequence + 1)
    if count_openings(batch.deltas):
        # The bucket may be full now: then the family's next one opens.
        batches.wake(session, batch.program_id, batch.bucket + families)
    session.execute(
        text("""
            UPDATE account SET posted = greatest(posted, touched.cumulative)
              FROM batch_account AS touched
            WHERE touched.batch_id = :batch_id AND account.program_id = touched.program_id
              AND account.bucket = touched.bucket AND account.slot = touched.slot
        """),
        {"batch_id": batch.id},
    )


def _gas_used(node: Node, tx_hash: bytes) -> int:
    receipt = node.receipt(tx_hash)
    if receipt is None:
        raise Unavailable(f"receipt: no block holds transaction 0x{tx_hash.hex()}")
    return receipt.gas_used
