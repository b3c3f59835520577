"""Booking the chain: final events move batches, accounts and the ledger, exactly once.

The node is asked first, while nothing is locked. Then the events are booked, some whole blocks at a
time, each time with the cursor behind them in one transaction under the program's row lock. Only
blocks at or below the program's finality head are read, so there is nothing to take back; should a
block that was final change all the same, the program halts and waits for an operator.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.batch import repository as batches
from backend.batch.models import Batch, BatchState
from backend.batch.states import transition
from backend.chain.client import block, final_block
from backend.chain.events import (
    BatchPosted,
    Claimed,
    Event,
    Funded,
    Unreadable,
    Withdrawn,
    references,
)
from backend.chain.receipts import gas_used
from backend.context import Context
from backend.errors import Unavailable
from backend.interaction import service as interactions
from backend.kit.failpoint import failpoint
from backend.ledger import service as ledger
from backend.payout.models import Claim
from backend.program import repository as programs
from backend.program.models import Program

BLOCKS_PER_READING = 5000
EVENTS_PER_BOOKING = 200
"""Booking goes on in another transaction after the block that makes it so many: whoever books holds
the budget, which intake needs."""


class Contradiction(Exception):
    """The chain says something that the ledger cannot follow."""


@dataclass(frozen=True)
class _Part:
    """Whole blocks: their events, and the last of them with its hash."""

    events: Sequence[Event]
    last: int
    last_hash: bytes


@dataclass(frozen=True)
class _Reading:
    """What the node says of the blocks after `program.last_indexed_block`.

    `gas`: transaction hash -> gas used, of the transactions that post batches.
    """

    program: Program
    parts: Sequence[_Part]
    gas: dict[bytes, int]


class Indexed(NamedTuple):
    """What one call of `index` has recorded.

    Another indexer may have recorded an event first. A batch that is missing in `final_batches` may
    therefore be final all the same.
    """

    events: int = 0
    """How many events were recorded."""
    final_batches: frozenset[int] = frozenset()
    """Ids of the batches that became final with them."""


def index(context: Context, program_id: int, past_halt: str | None = None) -> Indexed:
    """Record every event that is final and not recorded yet; returns what was recorded.

    A halted program is left alone, unless its halt reason is `past_halt`. Recording an event twice
    changes nothing.

    Raises Unavailable if the node does not answer, Conflict if the program is on another chain.
    """
    events, final = 0, frozenset[int]()
    while (reading := _read(context, program_id, past_halt)) is not None:
        at = reading.program.last_indexed_block, reading.program.last_indexed_block_hash
        for part in reading.parts:
            with context.database.transaction() as session:
                program = programs.lock(session, program_id)
                # Another watcher was faster, or somebody halted the program: what was read is of no
                # use.
                if (
                    program.halted != past_halt
                    or (program.last_indexed_block, program.last_indexed_block_hash) != at
                ):
                    break
                recorded = _book_part(session, program, part, reading.gas)
                if recorded.events:
                    failpoint("index.before_commit")
            if recorded.events:
                failpoint("index.after_commit")
            events, final = events + recorded.events, final | recorded.final_batches
            at = part.last, part.last_hash
    return Indexed(events, final)


def _read(context: Context, program_id: int, past_halt: str | None) -> _Reading | None:
    """What comes next, with no lock held and no transaction open; None if there is nothing to
    book."""
    with context.database.transaction() as session:
        program = session.get_one(Program, program_id)
    if program.halted != past_halt:
        return None
    context.require_chain(program)
    head = final_block(context.w3, program.finality)
    if head.number < program.last_indexed_block:
        return None
    if block(context.w3, program.last_indexed_block).hash != program.last_indexed_block_hash:
        _halt_changed(context, program)
        return None
    if head.number == program.last_indexed_block:
        return None
    last = min(head.number, program.last_indexed_block + BLOCKS_PER_READING)
    last_hash = block(context.w3, last).hash
    events = context.distributor(program).events(program.last_indexed_block + 1, last)
    gas = {
        event.tx_hash: gas_used(context.w3, event.tx_hash)
        for event in events
        if isinstance(event, BatchPosted)
    }
    if block(context.w3, last).hash != last_hash:
        raise Unavailable(f"block {last} changed while the log was read")
    return _Reading(program, list(_parts(events, last, last_hash)), gas)


def _parts(events: Sequence[Event], last: int, last_hash: bytes) -> Iterator[_Part]:
    start = 0
    for end, (event, following) in enumerate(pairwise(events), start=1):
        if end - start >= EVENTS_PER_BOOKING and following.block_number != event.block_number:
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
            program.halted = (
                f"block {read.last_indexed_block} was final and has changed: compare the node with "
                "others, then resume"
            )


def _book_part(session: Session, program: Program, part: _Part, gas: dict[bytes, int]) -> Indexed:
    """Record a part and move the cursor, or halt the program."""
    try:
        with session.begin_nested():
            final = _book_events(session, program, part.events, gas)
    except (Contradiction, IntegrityError, LookupError) as error:
        program.halted = (
            f"booking of blocks {program.last_indexed_block + 1} to {part.last} failed: {error}"
        )
        return Indexed()
    program.last_indexed_block = part.last
    program.last_indexed_block_hash = part.last_hash
    return Indexed(len(part.events), final)


def _book_events(
    session: Session, program: Program, events: Sequence[Event], gas: dict[bytes, int]
) -> frozenset[int]:
    posted = [event for event in events if isinstance(event, BatchPosted)]
    # First, for a batch's row may be locked by whoever posts it and waits for the node: the budget
    # must not wait with it.
    final = frozenset(_book_batch(session, program, event, gas[event.tx_hash]) for event in posted)
    if len(posted) == len(events):
        return final
    # Before any account, as intake does: two that lock the same rows in one order cannot end in a
    # deadlock.
    ledger.available_budget(session, program.id, lock=True)
    for reference, event in references(events):
        _book(session, program, event, reference)
    if any(isinstance(event, Funded) for event in events):
        interactions.release_held(session, program.id)
    return final


def _book(session: Session, program: Program, event: Event, reference: str) -> None:
    if isinstance(event, Claimed):
        _book_claim(session, program, event, reference)
    elif isinstance(event, Funded) and event.amount:
        ledger.book_funding(session, program.id, reference, event.amount)
    elif isinstance(event, Withdrawn) and event.amount:
        ledger.book_withdrawal(session, program.id, reference, event.amount)
    elif isinstance(event, Unreadable):
        raise Contradiction(f"a log named {event.name} cannot be read: {event.reason}")


def _book_batch(session: Session, program: Program, event: BatchPosted, gas: int) -> int:
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
    _finalize(session, batch, event, gas)
    return batch.id


def _finalize(session: Session, batch: Batch, event: BatchPosted, gas: int) -> None:
    # An event that is recorded again, as a resumed program does, finds the batch final.
    if batch.state != BatchState.FINAL:
        transition(batch, BatchState.FINAL)
    batch.tx_hash = "0x" + event.tx_hash.hex()
    batch.block_number = event.block_number
    batch.gas_used = gas
    batch.note = None
    session.execute(
        text("""
            UPDATE account SET posted = greatest(posted, touched.cumulative)
              FROM batch_account AS touched
            WHERE touched.batch_id = :batch_id AND account.program_id = touched.program_id
              AND account.bucket = touched.bucket AND account.slot = touched.slot
        """),
        {"batch_id": batch.id},
    )


def _book_claim(session: Session, program: Program, event: Claimed, reference: str) -> None:
    query = select(Account).where(
        Account.program_id == program.id, Account.bucket == event.bucket, Account.slot == event.slot
    )
    account = session.scalar(query)
    if account is None or account.address != event.account:
        raise Contradiction(
            f"a claim of slot {event.slot} of bucket {event.bucket} names another account "
            "than the ledger"
        )
    if not ledger.book_claim(session, program.id, reference, event.account, event.amount):
        return
    account.claimed += event.amount
    session.add(
        Claim(
            program_id=program.id,
            account_id=account.id,
            recipient=event.recipient,
            amount=event.amount,
            tx_hash="0x" + event.tx_hash.hex(),
            block_number=event.block_number,
            log_index=event.log_index,
        )
    )
    session.flush()
