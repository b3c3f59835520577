"""The process manager of batches, and the regular look at a program.

    closed -> attested -> proven -> posted -> final

`advance` takes one batch as far as it goes now. A PostgreSQL advisory lock keeps two workers off
one batch and goes away with a worker that dies. Every step commits what it has done before the next
step begins, and each step can run again.

A batch that cannot be signed yet, because it is not the next one of its bucket or an attestor is
behind, is proven meanwhile: its roots are known.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import update
from sqlalchemy.orm import Session

from backend.attestation.envelope import (
    EXPIRY_MARGIN_SECONDS,
    clear_envelope,
    ensure_envelope,
    is_stale,
)
from backend.attestation.service import collect, collect_more
from backend.batch import repository
from backend.batch.close import close_all
from backend.batch.content import as_pairs
from backend.batch.models import INACTIVE, Batch, BatchState
from backend.batch.quarantine import (
    affected,
    is_misplaced,
    quarantine,
    replace_misplaced,
    replace_too_large,
)
from backend.batch.states import log_fields, mark_proven, reached
from backend.batch.turn import comes_before
from backend.chain.models import State
from backend.context import WRONG_CHAIN, Context
from backend.errors import GuerdonError, NotYet
from backend.interaction import repository as interactions
from backend.interaction.service import release_held
from backend.invariant import check_on_schedule
from backend.kit.db import Database, in_seconds, is_away
from backend.kit.failpoint import failpoint
from backend.kit.metrics import INVARIANT_RUNS
from backend.ledger import blocks
from backend.program import repository as programs
from backend.program.halts import halt
from backend.program.models import Program
from backend.proof import service as proof
from backend.settlement import post, post_track
from backend.settlement.company import is_awaited
from backend.settlement.cover import require_covered
from backend.settlement.daily_limit import (
    LOOK_SECONDS_MAX,
    SIGN_AHEAD_SECONDS,
    Full,
    is_full,
    room_for,
)
from backend.settlement.indexer import index
from backend.settlement.post_rows import needs_signatures
from prover.wire import challenge

log = structlog.get_logger()

WAIT_SECONDS = 0.3
"""How long a batch that waits for something outside is left alone at first. Each further look in
the same state comes after twice the time, up to WAIT_SECONDS_MAX: no look comes much later than the
batch has waited already. What the database sees wakes the batch at once (`repository.wake`)."""
WAIT_SECONDS_MAX = 20
BACKOFF_SECONDS_MAX = 60
READINGS_A_LOOK = 4
CLOSINGS_A_LOOK = 4
PROOF_SECONDS = 10
"""How long a batch whose proof another process is to make is left alone. The proof wakes it."""


@dataclass(frozen=True)
class Moved:
    """The batch has changed: there may be another step to take now."""


@dataclass(frozen=True)
class Waits:
    """The batch cannot go on now, and says why."""

    reason: str
    failed: bool = False
    """Whether the step failed."""
    seconds: float | None = None
    """When to look again, where the step knows it."""


@dataclass(frozen=True)
class NeedsProof:
    """The next thing that the batch needs is its proof."""


Outcome = Moved | Waits | NeedsProof
"""What a step did."""
Step = Callable[[Context, Program, Batch], Outcome]
"""Takes a batch one state on. A GuerdonError that a step raises is an outcome, too: see `_take`."""
HandOver = Callable[[int], None]
"""Called with the id of a batch whose proof another process is to make."""


def advance(
    context: Context,
    batch_id: int,
    until: BatchState = BatchState.FINAL,
    hand_over: HandOver | None = None,
) -> BatchState | None:
    """Take a batch as far as it goes now, at most to `until`.

    With `hand_over`, another process makes the proof of the batch (`prove`). Expected failures (a
    service that is down, a chain that is behind) are written to the batch, with the time of the
    next try.

    Returns:
        The state of the batch; None if another worker has the batch.
    """
    with context.database.advisory_lock(f"batch {batch_id}") as mine:
        if not mine:
            return None
        state, needs_proof = _go_on(context, batch_id, until, prove_here=hand_over is None)
    # The lock is free now: the other process must not find it taken, or it waits for the next tick.
    if hand_over is not None and needs_proof:
        with context.database.transaction() as session:
            # The proof wakes the batch. If it is made already, it has.
            session.execute(
                update(Batch)
                .where(Batch.id == batch_id, Batch.proof.is_(None))
                .values(retry_at=in_seconds(PROOF_SECONDS))
            )
        hand_over(batch_id)
    return state


def _go_on(
    context: Context, batch_id: int, until: BatchState, prove_here: bool
) -> tuple[BatchState, bool]:
    """Take steps until one does not move the batch; the state before that step, and whether another
    process has to make the proof."""
    while True:
        program, batch = _load(context, batch_id)
        state = BatchState(batch.state)
        if program.halted is not None or reached(state, until):
            return state, False
        outcome = _take(context, program, batch, _STEPS[state])
        if prove_here and isinstance(outcome, NeedsProof):
            # Read again: the step may have fixed the envelope that the proof is over.
            outcome = _take(context, program, _load(context, batch_id)[1], _make_proof)
        if not isinstance(outcome, Moved):
            return state, isinstance(outcome, NeedsProof)


def prove(context: Context, batch_id: int) -> bool:
    """Make the proof of a batch that needs one, and nothing else. No signing key is needed.

    Returns:
        Whether that has moved the batch.
    """
    with context.database.advisory_lock(f"batch {batch_id}") as mine:
        if not mine:
            return False
        program, batch = _load(context, batch_id)
        wanted = (
            batch.state in (BatchState.CLOSED, BatchState.ATTESTED)
            and batch.digest is not None
            and batch.proof is None
        )
        if not wanted or program.halted is not None:
            return False
        return isinstance(_take(context, program, batch, _prove_fresh), Moved)


def look_at_program(context: Context, program_id: int) -> int:
    """Record what is final, release what is funded now, close what is due: each only so far that
    the other programs come to their turn. The next look goes on.

    Returns:
        How many batches were closed.

    Raises:
        Conflict: the program is on another chain than the node.
        Unavailable: the node does not answer.
    """
    with context.database.transaction() as session:
        program = session.get_one(Program, program_id)
    context.require_chain(program)
    index(context, program_id, readings_max=READINGS_A_LOOK)
    with context.database.transaction() as session:
        # Apart from closing: a release locks the budget, which every request needs.
        release_held(session, program_id)
    _seal_full_blocks(context.database, program_id)
    return len(close_all(context.database, program_id, closings_max=CLOSINGS_A_LOOK))


def _seal_full_blocks(database: Database, program_id: int) -> None:
    """Seal the ledger's full blocks, one in a transaction. Closing seals too, but a program that
    closes no batch has rewards all the same."""
    sealed = True
    while sealed:
        with database.transaction() as session:
            programs.lock(session, program_id)
            sealed = blocks.seal_full(session, program_id)


def check_program(context: Context, program_id: int) -> None:
    """Check that money is conserved, in the database and against the chain. A broken invariant
    halts the program until an operator looks.

    Raises:
        Unavailable: the node does not answer.
    """
    findings = check_on_schedule(context, program_id)
    INVARIANT_RUNS.labels("broken" if findings else "ok").inc()
    if findings:
        log.error("invariants_broken", program=program_id, findings=findings[:10])
        with context.database.transaction() as session:
            halt(programs.lock(session, program_id), f"an invariant is broken: {findings[0]}")


def _take(context: Context, program: Program, batch: Batch, step: Step) -> Outcome:
    """Take a step. What the batch waits for, or why the step failed, is written to the batch.

    Raises:
        Conflict: the program is on another chain than the node.
    """
    try:
        context.require_chain(program)
        outcome = step(context, program, batch)
    except GuerdonError as error:
        if error.code == WRONG_CHAIN:
            raise  # The workers of that chain take the batch on: nothing may hold them up.
        if isinstance(error, proof.ProverFailed):
            attempts = batch.prove_attempts
            log.error("prover_failed", **log_fields(batch), attempts=attempts, error=error.message)
        outcome = Waits(error.message, failed=not error.retryable)
    except Exception as error:
        if is_away(error):
            raise  # Nothing can be written now, and it is no fault of the batch.
        _note(context, batch.id, Waits(f"{type(error).__name__}: {error}"[:500], failed=True))
        log.exception("batch_step_failed", **log_fields(batch))
        raise
    if isinstance(outcome, Waits):
        _note(context, batch.id, outcome)
    return outcome


def _load(context: Context, batch_id: int) -> tuple[Program, Batch]:
    with context.database.transaction() as session:
        batch = session.get_one(Batch, batch_id)
        return session.get_one(Program, batch.program_id), batch


def _note(context: Context, batch_id: int, waits: Waits) -> None:
    with context.database.transaction() as session:
        batch = session.get_one(Batch, batch_id, with_for_update={"key_share": True})
        if batch.state in (BatchState.FINAL, *INACTIVE):
            return
        batch.failures = batch.failures + 1 if waits.failed else 0
        batch.waits = 0 if waits.failed else batch.waits + 1
        if waits.failed:
            seconds: float = min(2 ** min(batch.failures, 10), BACKOFF_SECONDS_MAX)
        else:
            doublings = min(batch.waits - 1, 10)  # A batch may wait for weeks.
            seconds = min(WAIT_SECONDS * 2**doublings, WAIT_SECONDS_MAX)
        batch.note = waits.reason
        batch.retry_at = in_seconds(waits.seconds or seconds)


def _attest(context: Context, program: Program, batch: Batch) -> Outcome:
    if is_misplaced(batch, program.families):
        _replaced(context, program, batch, replace_misplaced)
        return Moved()
    require_covered(context, program, batch)
    if full := room_for(context, program, batch):
        if full.seconds is None and _replaced(context, program, batch, replace_too_large):
            return Moved()
        if full.seconds is None or full.seconds > SIGN_AHEAD_SECONDS:
            return _waits_for_room(full)
    ensure_envelope(context, program, batch.id)
    with context.database.transaction() as session:
        # Read again: a new envelope has taken the proof away.
        batch = session.get_one(Batch, batch.id)
        before = comes_before(session, program, batch)
    outcome = Waits(before) if before else _collect(context, program, batch)
    return NeedsProof() if isinstance(outcome, Waits) and batch.proof is None else outcome


Replace = Callable[[Session, int, int, int], list[Batch]]
"""Supersedes a batch: see backend/batch/quarantine.py."""


def _replaced(context: Context, program: Program, batch: Batch, replace: Replace) -> bool:
    """Whether the batch has given way to others. Raises NotYet while it may still land."""
    timestamp = _booked_timestamp(context, program, batch)
    with context.database.transaction() as session:
        return bool(replace(session, program.id, batch.id, timestamp))


def _booked_timestamp(context: Context, program: Program, batch: Batch) -> int:
    """Record what is final; the time of the last block that is recorded."""
    index(context, program.id)
    indexed_block = _load(context, batch.id)[0].last_indexed_block
    return context.node.block(indexed_block).timestamp


def _waits_for_room(full: Full) -> Waits:
    seconds = LOOK_SECONDS_MAX if full.seconds is None else full.seconds
    return Waits(full.reason, seconds=min(max(seconds, 1), LOOK_SECONDS_MAX))


def _collect(context: Context, program: Program, batch: Batch) -> Moved | Waits:
    if batch.quarantine_group is not None and batch.proof is None:
        # What attestors sign blocks the batch's place until the envelope expires. A quarantine
        # group must therefore be proven first.
        return Waits("it is proven before it is signed")
    try:
        collect(context, program, batch.id)
    except NotYet as error:
        return Waits(error.message)
    return Moved()


def _prove(context: Context, program: Program, batch: Batch) -> Outcome:
    if is_stale(context, program, batch.envelope()):
        return _start_over(context, batch)
    return NeedsProof()


def _prove_fresh(context: Context, program: Program, batch: Batch) -> Outcome:
    """Prove a batch from the queue. The job may have waited long: a proof over an expired envelope
    is of no use."""
    if is_stale(context, program, batch.envelope()):
        return _start_over(context, batch)
    return _make_proof(context, program, batch)


def _make_proof(context: Context, program: Program, batch: Batch) -> Outcome:
    """Prove a batch that is closed or attested. A batch whose proof fails for good, or that the
    prover has died of too often, is quarantined."""
    # A failure to get the key or the prover is not the batch's fault.
    key = context.keys.get(program)
    context.provers.get(key)
    envelope = batch.envelope()
    attempts = _count_attempt(context, batch)
    if attempts is None:
        return Moved()
    if attempts > context.settings.prove_attempts_max:
        return _quarantine(
            context, program, batch, f"{attempts - 1} attempts to prove it ended with the prover"
        )
    failpoint("prove.counted")
    with context.database.transaction() as session:
        old = as_pairs(
            repository.pairs_after(session, program.id, batch.bucket, batch.sequence - 1)
        )
        items = as_pairs(
            [(row.account, row.amount) for row in interactions.of_batch(session, batch.id)]
        )
    roots = (batch.old_root, batch.new_root, batch.items_root)
    try:
        proven = proof.prove(context.provers, key, old, items, roots, challenge(envelope.digest))
    except proof.ProofError as error:
        return _quarantine(context, program, batch, str(error))
    failpoint("prove.before_commit")
    with context.database.transaction() as session:
        if row := repository.locked(session, batch.id, batch.state):
            row.prove_attempts, row.note, row.retry_at = 0, None, None
            # A worker whose connection broke has lost its lock: the batch may have another envelope
            # by now, and needs another proof for it.
            if row.digest == envelope.digest:
                row.proof, row.prove_ms = proven.proof.to_bytes(), proven.milliseconds
                if row.state == BatchState.ATTESTED:
                    mark_proven(row)
    failpoint("prove.after_commit")
    return Moved()


def _count_attempt(context: Context, batch: Batch) -> int | None:
    """Count an attempt before it begins, so that an attempt that kills the worker counts too.

    Returns:
        The number of the attempt; None if the batch has moved on.
    """
    with context.database.transaction() as session:
        row = repository.locked(session, batch.id, batch.state)
        if row is None:
            return None
        row.prove_attempts = min(row.prove_attempts, context.settings.prove_attempts_max) + 1
        # If this worker dies of the attempt, the next worker waits.
        row.retry_at = in_seconds(min(2**row.prove_attempts, BACKOFF_SECONDS_MAX))
        return row.prove_attempts


def _quarantine(context: Context, program: Program, batch: Batch, reason: str) -> Outcome:
    timestamp = _booked_timestamp(context, program, batch)
    with context.database.transaction() as session:
        affected(session, program.id, batch.id, timestamp)
    try:
        # With a broken prover or key every batch would fail: then the batch is not at fault.
        proof.prove_control(context.provers, context.keys.get(program))
    except proof.ProverFailed:
        with context.database.transaction() as session:
            session.get_one(Batch, batch.id).prove_attempts = 0
        raise
    with context.database.transaction() as session:
        quarantine(session, program.id, batch.id, reason, timestamp)
        failpoint("quarantine.before_commit")
    failpoint("quarantine.after_commit")
    return Moved()


def _post(context: Context, program: Program, batch: Batch) -> Outcome:
    require_covered(context, program, batch)
    if is_stale(context, program, batch.envelope()):
        return _start_over(context, batch)
    if full := room_for(context, program, batch):
        return _waits_for_room(full)
    _, threshold, _ = context.distributor(program).attestors("latest")
    settings = context.settings
    with context.database.transaction() as session:
        if is_awaited(
            session, program.id, batch, settings.post_batches_max, settings.post_wait_seconds
        ):
            return Waits(
                "others are nearly proven, to share its transaction",
                seconds=repository.LOOK_SECONDS,
            )
        lacking = needs_signatures(session, batch, threshold)
    if lacking:
        collect_more(context, program, batch.id)
    try:
        if not post.enqueue(context, program, batch.id, threshold):
            return Waits("another worker posts batches of the program", seconds=WAIT_SECONDS)
    except GuerdonError as error:
        # Most often the chain has the batch already: anybody may post it.
        if _has_landed(context, batch):
            return Moved()
        if is_full(error):
            return Waits(error.message, seconds=LOOK_SECONDS_MAX)
        if not lacking and post.is_signers_fault(error):
            collect_more(context, program, batch.id)
        raise
    return Moved()


def _track(context: Context, program: Program, batch: Batch) -> Outcome:
    row = post_track.track(context, program, batch.id)
    skip = post_track.skipped(context, program, batch, row) if row.status == 1 else None
    if row.status == 1 and skip is None:
        if _has_landed(context, batch):
            post_track.track(context, program, batch.id)
            return Moved()
        return Waits(f"its transaction is {row.state}: it waits for finality")
    ended = row.status == 0 or skip is not None or row.state == State.LOST
    if ended and _has_landed(context, batch):
        return Moved()
    # One that still waits is sent all the same (`track_orphaned`): later nonces need it.
    if is_stale(context, program, batch.envelope(), 0 if not ended else EXPIRY_MARGIN_SECONDS):
        return _start_over(context, batch)
    if not ended:
        return Waits(f"its transaction is {row.state}" + (f": {row.note}" if row.note else ""))
    again = post_track.repeat(context, program, batch, row, skip)
    return Waits(again.reason, seconds=again.seconds) if again.seconds else Moved()


def _has_landed(context: Context, batch: Batch) -> bool:
    """Whether the batch is final, once the indexer has recorded what the chain has."""
    if batch.id in index(context, batch.program_id).final_batches:
        return True
    # Another process may have indexed the block first.
    return _load(context, batch.id)[1].state == BatchState.FINAL


def _start_over(context: Context, batch: Batch) -> Outcome:
    """Take the batch back to closed, for another envelope: the old one can no longer be posted."""
    with context.database.transaction() as session:
        if row := repository.locked(session, batch.id, batch.state):
            clear_envelope(session, row)
    return Moved()


_STEPS: dict[BatchState, Step] = {
    BatchState.CLOSED: _attest,
    BatchState.ATTESTED: _prove,
    BatchState.PROVEN: _post,
    BatchState.POSTED: _track,
}
