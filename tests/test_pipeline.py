"""A step that took long finds the batch as it is now: what was made for another envelope is
dropped."""

from types import SimpleNamespace

import pytest

from backend import pipeline
from backend.batch.models import Batch, BatchState
from backend.proof.service import Proven
from prover.wire import Proof
from tests.support.engine import Engine, report, settings

OLD, NEW = b"\1" * 32, b"\2" * 32
PROVEN = Proven(Proof((1, 2), ((3, 4), (5, 6)), (7, 8)), (0, 0, 0, 0, 0), 5)


@pytest.mark.parametrize("state", [BatchState.CLOSED, BatchState.ATTESTED])
@pytest.mark.parametrize("meanwhile", [OLD, NEW], ids=["same envelope", "another"])
def test_proof_belongs_to_its_envelope(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, state: BatchState, meanwhile: bytes
) -> None:
    """A proof is bound to the digest that it was made for: it is stored under that one alone, and
    the attempt is forgiven either way."""
    program = engine.program()
    engine.take_in(program, [report("a")])
    [closed] = engine.close(program)

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
    part = SimpleNamespace(get=lambda _: None)
    context = SimpleNamespace(
        database=engine.database, keys=part, provers=part, settings=settings(engine.url)
    )
    assert pipeline._make_proof(context, program, envelope(OLD)) == pipeline.Moved()
    with engine.database.transaction() as session:
        row = session.get_one(Batch, closed.id)
    assert row.prove_attempts == 0
    if meanwhile == OLD:
        assert row.proof == PROVEN.proof.to_bytes()
        assert row.state == (
            BatchState.PROVEN if state == BatchState.ATTESTED else BatchState.CLOSED
        )
    else:
        assert (row.proof, row.state) == (None, state)
