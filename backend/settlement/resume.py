"""Resuming a halted program.

Ledger and chain are compared, missing events are recorded, and the halt ends only if every rule
holds then. The ledger is append-only: a booking whose event is no longer on chain is not taken back
here. Such bookings are listed for a person to correct (docs/OPERATIONS.md says how), and the
program stays halted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend.batch import repository as batches
from backend.batch.models import Batch, BatchState
from backend.chain.events import (
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
from backend.chain.logs import deployment_block
from backend.context import Context
from backend.errors import Conflict, GuerdonError, Invalid, NotYet, Unavailable
from backend.invariant import check_all, check_with_chain
from backend.kit.failpoint import failpoint
from backend.ledger.models import LedgerTransactionKind as Kind
from backend.program import repository as programs
from backend.program.halts import RESUMING, halt
from backend.program.models import Program
from backend.settlement.indexer import index

log = structlog.get_logger()

CORRECTION = "correction:"
"""A person's booking corrects one whose transaction is gone. Its reference is this prefix and then
the reference of the booking that it corrects."""
LISTED_MAX = 20

_BOOKED = text("""
    SELECT movement.kind, movement.reference, account.holder, abs(entry.amount) AS amount,
      claim.block_number
    FROM ledger_transaction AS movement
    JOIN ledger_entry AS entry ON entry.transaction_id = movement.id
    JOIN ledger_account AS account ON account.id = entry.account_id AND account.kind <> 'reserve'
    LEFT JOIN LATERAL (
        SELECT min(block_number) AS block_number FROM claim
        WHERE claim.program_id = movement.program_id
          AND tx_hash = split_part(movement.reference, ':', 1)
    ) AS claim ON movement.kind = 'claim'
    WHERE movement.program_id = :program_id AND movement.kind IN ('fund', 'claim', 'withdraw')
      ORDER BY movement.id
""")


class _Booked(NamedTuple):
    """A booking of a chain event; `amount` in base units, `holder` for claims alone."""

    kind: str
    reference: str
    holder: str
    amount: int
    block_number: int | None
    """The block of a claim; the ledger does not know the block of the other kinds."""


class _Said(NamedTuple):
    """What an event books in the ledger."""

    kind: str
    amount: int
    holder: str


class BookedAndGone(Conflict):
    """The ledger has booked what the chain does not hold. `gone`: a sentence each."""

    code = "booked_and_gone"

    def __init__(self, gone: Sequence[str]) -> None:
        self.gone = list(gone)
        more = [f"and {len(gone) - LISTED_MAX} more"] if len(gone) > LISTED_MAX else []
        listed = "\n  ".join([*gone[:LISTED_MAX], *more])
        super().__init__(
            "booked, and not on this node's chain; a person must correct it "
            f"(docs/OPERATIONS.md):\n  {listed}"
        )


@dataclass(frozen=True)
class Resumed:
    """How a program was resumed."""

    back_to: int | None
    """The block after which indexing restarted; None if it went on from the cursor."""
    events: int
    """How many events were recorded, events that were recorded before included."""
    last_indexed_block: int


def resume(context: Context, program_id: int, from_block: int | None = None) -> Resumed:
    """End a program's halt if all invariants hold and ledger and chain agree.

    Ledger and chain are compared if the last indexed block has changed, from the deployment on, or
    if `from_block` is given, from there (use it when a node omitted logs). Indexing restarts after
    the last block on which both agree.

    Raises:
        Conflict: the program is not halted and no block is given, it is on another chain, it breaks
        a rule, or the chain contradicts it.
        BookedAndGone: as above.
        Invalid: `from_block` is beyond the last indexed block.
        NotYet, Unavailable: the node is behind, or does not answer. Whatever is raised, the program
        stays halted.
    """
    with context.database.advisory_lock(f"resume {program_id}") as mine:
        if not mine:
            raise Conflict("the program is being resumed by another process", "program")
        program, reason = _begin(context, program_id, from_block)
        try:
            back_to = (
                _compare(context, program, from_block)
                if _is_due(context, program, from_block)
                else None
            )
            events = index(context, program_id, past_halt=RESUMING).events
            failpoint("resume.booked")
            resumed = _end(context, program_id, back_to, events)
        except GuerdonError as error:
            with context.database.transaction() as session:
                program = programs.lock(session, program_id)
                # If the indexer halted the program, its reason is newer.
                if program.halted == RESUMING:
                    if reason is None:
                        halt(program, f"it could not be resumed: {error.message}")
                    program.halted = reason or program.halted
            raise
    log.info("program_resumed", program=program_id, back_to=back_to, events=events)
    return resumed


def _begin(context: Context, program_id: int, from_block: int | None) -> tuple[Program, str | None]:
    """Halt the program for the resuming; returns it, and why it was halted before."""
    with context.database.snapshot() as session:
        program = session.get_one(Program, program_id)
        context.require_chain(program)
        if program.halted is None and from_block is None:
            raise Conflict(f"program {program.name} is not halted", "program")
        if from_block is not None and not 0 <= from_block <= program.last_indexed_block + 1:
            raise Invalid(
                f"from_block: expected 0 to {program.last_indexed_block + 1}, got {from_block}: "
                f"the last indexed block is {program.last_indexed_block}",
                "from_block",
            )
        if findings := check_all(session, program):
            raise Conflict(
                "an invariant is broken, in the database alone: "
                f"{'; '.join(findings[:LISTED_MAX])}",
                "program",
            )
    with context.database.transaction() as session:
        program = programs.lock(session, program_id)
        reason = program.halted if program.halted != RESUMING else None
        program.halted = RESUMING
    return program, reason


def _is_due(context: Context, program: Program, from_block: int | None) -> bool:
    """Whether ledger and chain must be compared."""
    if from_block is not None:
        return True
    newest = context.node.block("latest").number
    if newest < program.last_indexed_block:
        raise NotYet(
            f"the node is at block {newest}, the last indexed block is "
            f"{program.last_indexed_block}: wait for the node, or, if its chain is to stay "
            "shorter, give the block to compare from"
        )
    return context.node.block(program.last_indexed_block).hash != program.last_indexed_block_hash


def _compare(context: Context, program: Program, from_block: int | None) -> int:
    """Set the cursor back to the last block on which ledger and chain agree; returns its number.

    Raises BookedAndGone.
    """
    head = final_block(context.node, program.finality)
    first = (
        from_block
        if from_block is not None
        else deployment_block(context.node, program.distributor, head.number)
    )
    events = context.distributor(program).events(first, head.number)
    if context.node.block(head.number).hash != head.hash:
        raise Unavailable(f"block {head.number} changed while the log was read")
    with context.database.transaction() as session:
        row = programs.lock(session, program.id)
        agreed = _Agreement(context, session, row, first, events)
        if gone := [*agreed.gone_movements(), *agreed.gone_batches()]:
            raise BookedAndGone(gone)
        last = max(
            0, min((event.block_number for event in agreed.unbooked()), default=head.number + 1) - 1
        )
        row.last_indexed_block, row.last_indexed_block_hash = last, context.node.block(last).hash
    return last


def _end(context: Context, program_id: int, back_to: int | None, events: int) -> Resumed:
    with context.database.transaction() as session:
        program = session.get_one(Program, program_id)
    if program.halted != RESUMING:
        raise Conflict(f"program {program.name} is halted again: {program.halted}", "program")
    if findings := check_with_chain(context, program_id):
        raise Conflict(
            f"an invariant is broken: {'; '.join(findings[:LISTED_MAX])}. If the node "
            "omitted logs, give the block to compare from",
            "program",
        )
    with context.database.transaction() as session:
        program = programs.lock(session, program_id)
        program.halted = None
        batches.wake(session, program_id)
    return Resumed(back_to, events, program.last_indexed_block)


class _Agreement:
    """What the ledger has booked, beside what the chain says from block `first` on."""

    def __init__(
        self,
        context: Context,
        session: Session,
        program: Program,
        first: int,
        events: Sequence[Event],
    ) -> None:
        self._node, self._first, self._events = context.node, first, events
        self._daily_limit, self._families = program.daily_limit, program.families
        self._said = {
            name: movement
            for name, event in references(events)
            if (movement := _movement(event)) is not None
        }
        self._booked = [
            _Booked(kind, reference, holder, int(amount), number)
            for kind, reference, holder, amount, number in session.execute(
                _BOOKED, {"program_id": program.id}
            )
        ]
        query = select(Batch).where(Batch.program_id == program.id, Batch.state == BatchState.FINAL)
        self._batches = {
            (row.bucket, row.sequence): row
            for row in session.scalars(query.order_by(Batch.bucket, Batch.sequence))
        }

    def gone_movements(self) -> Iterator[str]:
        """The fundings, claims and withdrawals that are not on chain, neither as an event from
        `first` on nor as a transaction before it."""
        corrections = {
            row.reference: row for row in self._booked if row.reference.startswith(CORRECTION)
        }
        for row in self._booked:
            correction = corrections.get(CORRECTION + row.reference)
            corrected = correction is not None and (correction.amount, correction.holder) == (
                row.amount,
                row.holder,
            )
            if row.reference in corrections or corrected:
                continue
            said = self._said.get(row.reference)
            if said != _Said(row.kind, row.amount, row.holder) and (
                said or not self._is_before(row)
            ):
                whose = f" of {row.holder}" if row.holder else ""
                instead = (
                    f": there it is a {said.kind} of {said.amount} {said.holder}".rstrip()
                    if said
                    else ""
                )
                yield f"{row.kind} of {row.amount}{whose}, event {row.reference}{instead}"

    def gone_batches(self) -> Iterator[str]:
        """The final batches that are not on chain, or that the chain has another batch for."""
        said = {
            (event.bucket, event.sequence): event
            for event in self._events
            if isinstance(event, BatchPosted)
        }
        for (bucket, sequence), batch in self._batches.items():
            event = said.get((bucket, sequence))
            # Every final batch has its block.
            if (
                event is None
                and batch.block_number is not None
                and batch.block_number < self._first
            ):
                continue
            if event is None or (event.new_root, event.interactions_root) != (
                batch.new_root,
                batch.interactions_root,
            ):
                instead = ": the chain has another batch in its place" if event else ""
                yield (
                    f"batch {sequence} of bucket {bucket}, total {batch.total}, transaction "
                    f"{batch.tx_hash}{instead}"
                )

    def unbooked(self) -> Iterator[Event]:
        """The events that have to be recorded."""
        changes = [event for event in self._events if isinstance(event, DailyLimitChanged)]
        if changes and changes[-1].per_day != self._daily_limit:
            yield from changes
        raises = [event for event in self._events if isinstance(event, FamiliesChanged)]
        if raises and raises[-1].families != self._families:
            yield from raises
        booked = {row.reference for row in self._booked}
        for name, event in references(self._events):
            if isinstance(event, BatchPosted):
                if (event.bucket, event.sequence) not in self._batches:
                    yield event
            elif isinstance(event, Unreadable) or (_movement(event) and name not in booked):
                yield event

    def _is_before(self, row: _Booked) -> bool:
        """Whether the booking's transaction is in a block before `first`."""
        if row.block_number is not None and row.block_number < self._first:
            return True
        tx_hash, _, place = row.reference.partition(":")
        if not (len(tx_hash) == 66 and place.isdigit()):
            return False
        receipt = self._node.receipt(bytes.fromhex(tx_hash[2:]))
        return receipt is not None and receipt.block_number < self._first


def _movement(event: Event) -> _Said | None:
    """What an event books in the ledger; None if it books nothing."""
    if isinstance(event, Claimed):
        return _Said(Kind.CLAIM, event.amount, event.account)
    if isinstance(event, Funded) and event.amount:
        return _Said(Kind.FUND, event.amount, "")
    if isinstance(event, Withdrawn) and event.amount:
        return _Said(Kind.WITHDRAW, event.amount, "")
    return None
