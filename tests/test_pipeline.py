"""The pipeline without a chain: what a step's outcome does to a batch, and that a proof is stored
for its own envelope alone."""

from types import SimpleNamespace
from typing import Any

import pytest

from backend import pipeline
from backend.batch.models import Batch, BatchState
from backend.batch.states import transition
from backend.errors import GuerdonError, NotYet
from backend.kit.db import db_now
from backend.pipeline import BACKOFF_SECONDS_MAX, Moved, NeedsProof, Waits
from backend.program.models import Program
from backend.proof.service import Proven
from prover.wire import Proof
from tests.support.engine import Engine, report, settings

OLD, NEW = b"\1" * 32, b"\2" * 32
PROVEN = Proven(Proof((1, 2), ((3, 4), (5, 6)), (7, 8)), (0, 0, 0, 0, 0), 5)


def context_of(engine: Engine) -> Any:
    """As much of a context as the tests need: the program is on the node's chain, keys load."""
    part = SimpleNamespace(get=lambda _: None)
    return SimpleNamespace(
        database=engine.database,
        keys=part,
        provers=part,
        settings=settings(engine.url),
        require_chain=lambda _: None,
    )


def closed_batch(engine: Engine) -> tuple[Program, Batch]:
    program = engine.program()
    engine.take_in(program, [report("a")])
    [batch] = engine.close(program)
    return program, batch


def row_of(engine: Engine, batch: Batch) -> Batch:
    with engine.database.transaction() as session:
        return session.get_one(Batch, batch.id)


def seconds_left(engine: Engine, batch: Batch) -> float:
    """Until the next look, by the database's clock."""
    with engine.database.transaction() as session:
        row = session.get_one(Batch, batch.id)
        return (row.retry_at - db_now(session)).total_seconds()


def steps(monkeypatch: pytest.MonkeyPatch, **outcomes: object) -> None:
    """Let each named step return its outcome, or raise it."""

    def step(outcome: object) -> Any:
        def take(*_: object) -> object:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return take

    for state, outcome in outcomes.items():
        if state == "proof":
            monkeypatch.setattr(pipeline, "_make_proof", step(outcome))
        else:
            monkeypatch.setitem(pipeline._STEPS, BatchState(state), step(outcome))


@pytest.mark.parametrize("state", [BatchState.CLOSED, BatchState.ATTESTED])
@pytest.mark.parametrize("meanwhile", [OLD, NEW], ids=["same envelope", "another"])
def test_proof_belongs_to_its_envelope(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, state: BatchState, meanwhile: bytes
) -> None:
    """A proof is bound to the digest that it was made for: it is stored under that one alone, and
    the attempt is forgiven either way."""
    program, closed = closed_batch(engine)

    def envelope(digest: bytes) -> Batch:
        with engine.database.transaction() as session:
            batch = session.get_one(Batch, closed.id)
            batch.state, batch.digest, batch.attestor_epoch, batch.valid_until = (
                state,
                digest,
                1,
                2**40,
            )
        return batch

    def prove(*_: object) -> Proven:
        envelope(meanwhile)
        return PROVEN

    monkeypatch.setattr(pipeline.proof, "prove", prove)
    assert pipeline._make_proof(context_of(engine), program, envelope(OLD)) == Moved()
    row = row_of(engine, closed)
    assert row.prove_attempts == 0
    if meanwhile == OLD:
        assert row.proof == PROVEN.proof.to_bytes()
        assert row.state == (
            BatchState.PROVEN if state == BatchState.ATTESTED else BatchState.CLOSED
        )
    else:
        assert (row.proof, row.state) == (None, state)


@pytest.mark.parametrize(
    "outcome", [Waits("the chain is behind"), NotYet("the chain is behind")], ids=["value", "error"]
)
def test_a_batch_that_waits_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, outcome: object
) -> None:
    """A step that waits, by its value or by an error that says to try again, leaves its reason on
    the batch and is tried again soon: it has not failed."""
    _, batch = closed_batch(engine)
    steps(monkeypatch, closed=outcome)
    assert pipeline.advance(context_of(engine), batch.id) is BatchState.CLOSED
    row = row_of(engine, batch)
    assert (row.note, row.failures) == ("the chain is behind", 0)
    assert row.retry_at is not None


def test_failures_back_off(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure doubles the time to the next try, up to a limit; a wait forgets them."""
    _, batch = closed_batch(engine)
    context, waits = context_of(engine), []
    steps(monkeypatch, closed=GuerdonError("no"))
    for _ in range(8):
        pipeline.advance(context, batch.id)
        waits.append(seconds_left(engine, batch))
    assert [round(seconds) for seconds in waits] == [2, 4, 8, 16, 32, *[BACKOFF_SECONDS_MAX] * 3]
    steps(monkeypatch, closed=Waits("later"))
    pipeline.advance(context, batch.id)
    assert row_of(engine, batch).failures == 0


def test_waits_grow(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that waits is looked at soon at first, and each time after twice the time, up to a
    limit: ten minutes of an attestor's refusals are some forty questions. A batch that moves is
    looked at soon again."""
    _, batch = closed_batch(engine)
    context, waits = context_of(engine), []
    steps(monkeypatch, closed=Waits("not final"))
    while sum(waits) < 600:
        pipeline.advance(context, batch.id)
        waits.append(seconds_left(engine, batch))
    assert [round(seconds, 0) for seconds in waits[:9]] == [0, 1, 1, 2, 5, 10, 19, 20, 20]
    assert len(waits) < 40
    with engine.database.transaction() as session:
        session.get_one(Batch, batch.id).waits = 10**6
    pipeline.advance(context, batch.id)
    assert round(seconds_left(engine, batch)) == 20
    with engine.database.transaction() as session:
        transition(session.get_one(Batch, batch.id), BatchState.ATTESTED)
    steps(monkeypatch, attested=Waits("not final"))
    pipeline.advance(context, batch.id)
    assert seconds_left(engine, batch) < 0.5


def test_a_fault_of_ours_is_noted_and_raised(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that no step should raise is on the batch, counts as a failure, and reaches the
    caller."""
    _, batch = closed_batch(engine)
    steps(monkeypatch, closed=ZeroDivisionError("oops"))
    with pytest.raises(ZeroDivisionError):
        pipeline.advance(context_of(engine), batch.id)
    row = row_of(engine, batch)
    assert (row.note, row.failures) == ("ZeroDivisionError: oops", 1)


def test_a_proof_is_handed_over_with_the_lock_free(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `hand_over` the batch's proof is left to another process, which finds the lock free; the
    batch keeps no note."""
    _, batch = closed_batch(engine)
    steps(monkeypatch, closed=NeedsProof(), proof=AssertionError("made here"))
    seen: list[tuple[int, bool]] = []

    def hand_over(batch_id: int) -> None:
        with engine.database.advisory_lock(f"batch {batch_id}") as free:
            seen.append((batch_id, free))

    state = pipeline.advance(context_of(engine), batch.id, hand_over=hand_over)
    assert (state, seen) == (BatchState.CLOSED, [(batch.id, True)])
    assert row_of(engine, batch).note is None


def test_a_proof_is_made_here(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `hand_over` the proof is made at once, and its outcome is the batch's."""
    _, batch = closed_batch(engine)
    steps(monkeypatch, closed=NeedsProof(), proof=Waits("the prover is busy"))
    assert pipeline.advance(context_of(engine), batch.id) is BatchState.CLOSED
    assert row_of(engine, batch).note == "the prover is busy"


def test_one_worker_a_batch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that another worker has is left alone, without a step."""
    _, batch = closed_batch(engine)
    steps(monkeypatch, closed=AssertionError("a step"))
    with engine.database.advisory_lock(f"batch {batch.id}"):
        assert pipeline.advance(context_of(engine), batch.id) is None
        assert pipeline.prove(context_of(engine), batch.id) is False


@pytest.mark.parametrize("halted", [False, True])
def test_no_step_is_taken(engine: Engine, monkeypatch: pytest.MonkeyPatch, halted: bool) -> None:
    """A batch that is where the caller wants it, or whose program is halted, takes no step."""
    program, batch = closed_batch(engine)
    steps(monkeypatch, closed=AssertionError("a step"))
    if halted:
        with engine.database.transaction() as session:
            session.get_one(Program, program.id).halted = "for the test"
    until = BatchState.FINAL if halted else BatchState.CLOSED
    assert pipeline.advance(context_of(engine), batch.id, until) is BatchState.CLOSED
