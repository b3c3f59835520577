"""Booking the chain: final events move batches, accounts and the ledger, exactly once.

Events of a block range and the cursor behind it are booked in one transaction under the program's row lock. Only blocks at or below the
program's finality head are read, so there is nothing to take back; should a block that was final change all the same, the program
halts and waits for an operator.
"""

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.batch import repository as batches
from backend.batch.models import Batch, BatchState
from backend.chain.client import block, final_block
from backend.chain.events import BatchPosted, Claimed, Event, Funded, Unreadable, Withdrawn
from backend.chain.receipts import gas_used
from backend.context import Context
from backend.errors import Unavailable
from backend.interaction import service as interactions
from backend.kit.failpoint import failpoint
from backend.ledger import service as ledger
from backend.payout.models import Claim
from backend.program import repository as programs
from backend.program.models import Program

BLOCKS_PER_BOOKING = 5000


class Contradiction(Exception):
    """The chain says something that the ledger cannot follow."""


def watch(context: Context, program_id: int) -> int:
    """Book everything that is final and not booked; returns how many events. Raises Unavailable if the node does not answer."""
    booked = 0
    while True:
        with context.database.transaction() as session:
            program = programs.lock(session, program_id)
            count = _book_range(context, session, program)
            if count:
                failpoint("watch.before_commit")
        if count is None:
            return booked
        if count:
            failpoint("watch.after_commit")
        booked += count


def _book_range(context: Context, session: Session, program: Program) -> int | None:
    """Book the next range; None if there is nothing left to read."""
    if program.halted is not None:
        return None
    head = final_block(context.w3, program.finality)
    if head.number < program.booked_block:
        return None
    if block(context.w3, program.booked_block).hash != program.booked_block_hash:
        program.halted = f"block {program.booked_block} was final and has changed: compare the node with others, then rebook"
        return None
    if head.number == program.booked_block:
        return None
    last = min(head.number, program.booked_block + BLOCKS_PER_BOOKING)
    last_hash = block(context.w3, last).hash
    events = context.distributor(program).events(program.booked_block + 1, last)
    if block(context.w3, last).hash != last_hash:
        raise Unavailable(f"block {last} changed while the log was read")
    try:
        with session.begin_nested():
            if events:
                # Before any account, as intake does: two that lock the same rows in one order cannot end in a deadlock.
                ledger.available_budget(session, program.id, lock=True)
            for event in events:
                _book(context, session, program, event)
    except (Contradiction, IntegrityError, LookupError) as error:
        program.halted = f"booking of blocks {program.booked_block + 1} to {last} failed: {error}"
        return None
    program.booked_block = last
    program.booked_block_hash = last_hash
    return len(events)


def _book(context: Context, session: Session, program: Program, event: Event) -> None:
    reference = f"{event.block_number}:{event.log_index}"
    if isinstance(event, BatchPosted):
        _book_batch(context, session, program, event)
    elif isinstance(event, Claimed):
        _book_claim(session, program, event, reference)
    elif isinstance(event, Funded) and event.amount:
        ledger.book_funding(session, program.id, reference, event.amount)
        interactions.release_held(session, program.id)
    elif isinstance(event, Withdrawn) and event.amount:
        ledger.book_withdrawal(session, program.id, reference, event.amount)
    elif isinstance(event, Unreadable):
        raise Contradiction(f"a log named {event.name} cannot be read: {event.reason}")


def _book_batch(context: Context, session: Session, program: Program, event: BatchPosted) -> None:
    batch = batches.get(session, program.id, event.bucket, event.sequence)
    ours = batch and (batch.new_root, batch.items_root, batch.interactions_root, batch.deltas)
    if ours != (event.new_root, event.items_root, event.interactions_root, event.deltas):
        raise Contradiction(f"batch {event.sequence} of bucket {event.bucket} on chain is not the ledger's")
    _finalize(session, batch, event, gas_used(context.w3, event.tx_hash))


def _finalize(session: Session, batch: Batch, event: BatchPosted, gas: int) -> None:
    batch.state = BatchState.FINAL
    batch.tx_hash = "0x" + event.tx_hash.hex()
    batch.block_number = event.block_number
    batch.gas_used = gas
    batch.note = None
    session.execute(
        text("""
            UPDATE account SET posted = touched.cumulative FROM batch_account AS touched
            WHERE touched.batch_id = :batch_id AND account.program_id = touched.program_id
              AND account.bucket = touched.bucket AND account.slot = touched.slot
        """),
        {"batch_id": batch.id},
    )


def _book_claim(session: Session, program: Program, event: Claimed, reference: str) -> None:
    query = select(Account).where(Account.program_id == program.id, Account.bucket == event.bucket, Account.slot == event.slot)
    account = session.scalar(query)
    if account is None or account.address != event.account:
        raise Contradiction(f"a claim of slot {event.slot} of bucket {event.bucket} names another account than the ledger")
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
