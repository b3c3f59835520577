"""The number of families is raised on chain: the ledger follows, and what was closed under the
former number is made anew and lands."""

import pytest

from backend import pipeline
from backend.batch.models import Batch, BatchState
from backend.invariant import check_with_chain
from backend.kit.db import in_seconds
from backend.program.models import Program as Row
from backend.settlement.indexer import index
from tests.support.engine import report
from tests.support.onchain import OnChain


@pytest.fixture
def raised(program: OnChain) -> tuple[OnChain, Batch]:
    """A program with two accounts that are open, one batch that opens others, and 16 families
    since."""
    program.reward([("ann", 10), ("bob", 10)])
    program.engine.take_in(
        program.row, [report(f"e{name}", name, 5) for name in ("eve", "fay", "gil", "ann")]
    )
    (batch,) = program.engine.close(program.row)
    program.call("raiseFamilies", 16)
    return program, batch


def state(program: OnChain, batch: Batch) -> BatchState:
    return {row.id: BatchState(row.state) for row in program.batches()}[batch.id]


def test_the_ledger_follows_the_chain(raised: tuple[OnChain, Batch]) -> None:
    """In chain order, and not before it is recorded; the first number is kept."""
    program, _ = raised
    assert (program.row.families, program.row.families_first) == (1, 1)
    index(program.context, program.id)
    assert (program.row.families, program.row.families_first) == (16, 1)
    assert check_with_chain(program.context, program.id) == []


def test_a_raise_that_is_not_final_is_waited_for(raised: tuple[OnChain, Batch]) -> None:
    """No envelope is made and no attestor is asked: the old epoch cannot be posted, and the new one
    is not signed yet."""
    program, batch = raised
    with program.engine.database.transaction() as session:
        session.get_one(Row, program.id).finality = "3"
    assert pipeline.advance(program.context, batch.id) == BatchState.CLOSED
    (row,) = [row for row in program.batches() if row.id == batch.id]
    assert (row.digest, row.note) == (None, "attestor epoch 2 is not final yet")
    program.chain.rpc("anvil_mine", "0x3")
    with program.engine.database.transaction() as session:
        session.get_one(Batch, batch.id).retry_at = None
    assert pipeline.advance(program.context, batch.id) == BatchState.CLOSED
    (row,) = [row for row in program.batches() if row.id == batch.id]
    assert row.attestor_epoch == 2


def test_a_family_opens_its_next_bucket_once_the_lower_one_is_full(program: OnChain) -> None:
    """On the final chain: nobody is asked before, and the batch is woken when it is."""
    names = [f"person {i}" for i in range(33)]
    program.engine.take_in(program.row, [report(f"e{name}", name, 1) for name in names])
    first, second = program.engine.close(program.row)
    assert (first.bucket, second.bucket) == (0, 1)
    assert pipeline.advance(program.context, second.id) == BatchState.CLOSED
    row = program.batches()[1]
    assert row.note == "it opens accounts once bucket 0 is full on the final chain"
    with program.engine.database.transaction() as session:
        session.get_one(Batch, second.id).retry_at = in_seconds(600)
    program.post_batches([first])
    index(program.context, program.id)
    assert program.batches()[1].retry_at is None
    pipeline.advance(program.context, second.id)
    assert "attestation" in (program.batches()[1].note or "")


def test_rewards_land_in_batches_made_anew(raised: tuple[OnChain, Batch]) -> None:
    """The batch is superseded at its next step; its rewards land once each, the open account's in
    its old bucket."""
    program, batch = raised
    index(program.context, program.id)
    assert pipeline.advance(program.context, batch.id) == BatchState.SUPERSEDED
    assert pipeline.advance(program.context, batch.id) == BatchState.SUPERSEDED
    program.program.epoch = 2
    program.post()
    index(program.context, program.id)
    assert state(program, batch) == BatchState.SUPERSEDED
    assert {name: program.account(name).posted for name in ("ann", "bob", "eve", "fay", "gil")} == {
        "ann": 15,
        "bob": 10,
        "eve": 5,
        "fay": 5,
        "gil": 5,
    }
    assert program.account("ann").bucket == 0
    assert check_with_chain(program.context, program.id) == []
    assert program.row.halted is None
