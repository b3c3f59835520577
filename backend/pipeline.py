"""Moving a batch on: closed → attested → proven → posted → final.

A batch that cannot be signed yet, because it is not its bucket's next or an attestor is behind, is
proven meanwhile: its roots are known.

`advance` takes one batch as far as it goes now. A PostgreSQL advisory lock keeps two workers off
one batch and goes away with a worker that dies; every step commits what it has done before the next
begins, and each can be done again.
"""

from collections.abc import Callable
from datetime import timedelta

import structlog

from backend.attestation import service as attestation
from backend.batch import repository
from backend.batch.content import as_pairs
from backend.batch.models import INACTIVE, Batch, BatchState
from backend.batch.quarantine import affected, quarantine
from backend.chain.client import block
from backend.chain.models import State
from backend.context import WRONG_CHAIN, Context
from backend.errors import GuerdonError, NotYet
from backend.interaction import repository as interactions
from backend.kit.failpoint import failpoint
from backend.kit.time import utc_now
from backend.program.models import Program
from backend.proof import service as proof
from backend.settlement import post
from backend.settlement.cover import require_covered
from backend.settlement.indexer import index
from prover.wire import challenge

log = structlog.get_logger()

Step = Callable[[Context, Program, Batch], bool]
"""Takes a batch one state on; returns whether there may be more to do now."""

WAIT_SECONDS = 0.3
"""How long a batch that waits for something outside is left alone."""
BACKOFF_SECONDS_MAX = 60


class _ProofDue(Exception):
    """The batch's next step is its proof."""


def advance(
    context: Context,
    batch_id: int,
    until: BatchState = BatchState.FINAL,
    hand_over: Callable[[int], None] | None = None,
) -> BatchState | None:
    """Take a batch as far as it goes now, at most to `until`; returns its state, None if another
    worker has it.

    With `hand_over`, which is called with the batch's id, somebody else makes its proof (`prove`).
    Expected failures (a service that is down, a chain that is behind) are written to the batch,
    with the time of the next try.
    """
    with context.database.advisory_lock(f"batch {batch_id}") as mine:
        if not mine:
            return None
        while True:
            program, batch = _load(context, batch_id)
            state = BatchState(batch.state)
            if program.halted is not None or list(BatchState).index(state) >= list(
                BatchState
            ).index(until):
                return state
            try:
                moved = _take(context, program, batch, _STEPS[state])
            except _ProofDue:
                if hand_over is not None:
                    break
                # Read again: the step may have made the envelope that the proof is over.
                moved = _take(context, program, _load(context, batch_id)[1], _make_proof)
            if not moved:
                return state
    # Only now: who takes it up at once must find the lock free, or it waits for the next look.
    hand_over(batch_id)
    return state


def prove(context: Context, batch_id: int) -> bool:
    """Make the proof of a batch that still wants it, and nothing else; returns whether that has
    moved it. It needs no key that signs."""
    with context.database.advisory_lock(f"batch {batch_id}") as mine:
        if not mine:
            return False
        program, batch = _load(context, batch_id)
        wanted = (
            batch.state in (BatchState.CLOSED, BatchState.ATTESTED)
            and batch.digest is not None
            and batch.proof is None
        )
        return wanted and program.halted is None and _take(context, program, batch, _prove_fresh)


def _take(context: Context, program: Program, batch: Batch, step: Step) -> bool:
    """Whether `step` has moved the batch; if it failed, the batch says why. Raises Conflict for a
    program on another chain than the node."""
    try:
        context.require_chain(program)
        return step(context, program, batch)
    except _ProofDue:
        raise
    except GuerdonError as error:
        if error.code == WRONG_CHAIN:
            raise  # Its own chain's workers go on with it: nothing may hold them up.
        if isinstance(error, proof.ProverFailed):
            log.error(
                "prover_failed", batch=batch.id, attempts=batch.prove_attempts, error=error.message
            )
        _note(context, batch.id, error.message, failed=not error.retryable)
        return False
    except Exception as error:
        _note(context, batch.id, f"{type(error).__name__}: {error}"[:500], failed=True)
        log.exception("batch_step_failed", batch=batch.id, state=batch.state)
        raise


def _load(context: Context, batch_id: int) -> tuple[Program, Batch]:
    with context.database.transaction() as session:
        batch = session.get_one(Batch, batch_id)
        return session.get_one(Program, batch.program_id), batch


def _note(context: Context, batch_id: int, message: str, failed: bool) -> None:
    with context.database.transaction() as session:
        batch = session.get_one(Batch, batch_id)
        if batch.state in (BatchState.FINAL, *INACTIVE):
            return
        batch.failures = batch.failures + 1 if failed else 0
        seconds = min(2**batch.failures, BACKOFF_SECONDS_MAX) if failed else WAIT_SECONDS
        batch.note = message
        batch.retry_at = utc_now() + timedelta(seconds=seconds)


def _attest(context: Context, program: Program, batch: Batch) -> bool:
    require_covered(context, program, batch)
    attestation.ensure_envelope(context, program, batch.id)
    with context.database.transaction() as session:
        batch = session.get_one(Batch, batch.id)
        head = repository.is_head(session, batch)
    try:
        if not head:
            raise NotYet("the bucket's batch before it is not final")
        if batch.quarantine_group is not None and batch.proof is None:
            # What attestors sign holds up its place until it expires: suspects must be proven
            # first.
            raise NotYet("it is proven before it is signed")
        attestation.collect(context, program, batch.id)
        return True
    except NotYet:
        if batch.proof is not None:
            raise
        raise _ProofDue from None


def _prove(context: Context, program: Program, batch: Batch) -> bool:
    if attestation.is_stale(context, program, batch.envelope()):
        return _start_over(context, batch)
    raise _ProofDue


def _prove_fresh(context: Context, program: Program, batch: Batch) -> bool:
    """A job may have waited long: a proof over an envelope that has expired would be for
    nothing."""
    if attestation.is_stale(context, program, batch.envelope()):
        return _start_over(context, batch)
    return _make_proof(context, program, batch)


def _make_proof(context: Context, program: Program, batch: Batch) -> bool:
    """Prove a batch that is closed or attested. One that fails for good, or that the prover has
    died of too often, is set aside."""
    # Whatever goes wrong in here is not the batch's fault.
    key = context.keys.get(program)
    context.provers.get(key)
    attempts = _count_attempt(context, batch)
    if attempts is None:
        return True
    if attempts > context.settings.prove_attempts_max:
        return _set_aside(
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
        proven = proof.prove(context.provers, key, old, items, roots, challenge(batch.digest))
    except proof.ProofError as error:
        return _set_aside(context, program, batch, str(error))
    failpoint("prove.before_commit")
    with context.database.transaction() as session:
        if row := repository.locked(session, batch.id, batch.state):
            row.prove_attempts, row.note, row.retry_at = 0, None, None
            # A worker whose connection broke has lost its lock: the batch may have another envelope
            # by now, which wants another proof.
            if row.digest == batch.digest:
                row.proof, row.prove_ms = proven.proof.to_bytes(), proven.milliseconds
                if row.state == BatchState.ATTESTED:
                    repository.mark_proven(row)
    failpoint("prove.after_commit")
    return True


def _count_attempt(context: Context, batch: Batch) -> int | None:
    """Count an attempt before it begins, so that one that takes the worker with it counts too; None
    if the batch has moved on."""
    with context.database.transaction() as session:
        row = repository.locked(session, batch.id, batch.state)
        if row is None:
            return None
        row.prove_attempts = min(row.prove_attempts, context.settings.prove_attempts_max) + 1
        # If this worker dies of it, the next one waits.
        row.retry_at = utc_now() + timedelta(
            seconds=min(2**row.prove_attempts, BACKOFF_SECONDS_MAX)
        )
        return row.prove_attempts


def _set_aside(context: Context, program: Program, batch: Batch, reason: str) -> bool:
    index(context, program.id)
    booked = block(context.w3, _load(context, batch.id)[0].last_indexed_block).timestamp
    with context.database.transaction() as session:
        affected(session, program.id, batch.id, booked)
    try:
        # With a broken prover or key every batch would fail: then it is not the batch that must go.
        proof.prove_control(context.provers, context.keys.get(program))
    except proof.ProverFailed:
        with context.database.transaction() as session:
            session.get_one(Batch, batch.id).prove_attempts = 0
        raise
    with context.database.transaction() as session:
        quarantine(session, program.id, batch.id, reason, booked)
        failpoint("quarantine.before_commit")
    failpoint("quarantine.after_commit")
    return True


def _post(context: Context, program: Program, batch: Batch) -> bool:
    require_covered(context, program, batch)
    if attestation.is_stale(context, program, batch.envelope()):
        return _start_over(context, batch)
    _, threshold, _ = context.distributor(program).attestors("latest")
    try:
        post.enqueue(context, program, batch.id, threshold)
    except GuerdonError:
        # Most often because it stands on chain already: anyone may post it.
        index(context, program.id)
        if BatchState(_load(context, batch.id)[1].state) is BatchState.FINAL:
            return True
        raise
    return True


def _follow(context: Context, program: Program, batch: Batch) -> bool:
    state = post.track(context, program, batch.id)
    if state in (State.MINED, State.FINAL):
        index(context, program.id)
        if BatchState(_load(context, batch.id)[1].state) is BatchState.FINAL:
            post.track(context, program, batch.id)
            return True
    if state in (State.FAILED, State.LOST):
        index(context, program.id)
        if BatchState(_load(context, batch.id)[1].state) is BatchState.FINAL:
            return True
        log.error("post_did_not_land", batch=batch.id, transaction_state=state)
        return _start_over(context, batch)
    raise NotYet(f"its transaction is {state}")


def _start_over(context: Context, batch: Batch) -> bool:
    """Back to closed, for a new envelope: the old one can no longer be posted."""
    with context.database.transaction() as session:
        if row := repository.locked(session, batch.id, batch.state):
            attestation.clear_envelope(session, row)
    return True


_STEPS: dict[BatchState, Step] = {
    BatchState.CLOSED: _attest,
    BatchState.ATTESTED: _prove,
    BatchState.PROVEN: _post,
    BatchState.POSTED: _follow,
}
