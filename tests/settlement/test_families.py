"""The number of families is raised on chain: the ledger follows, and what was closed under the
former number is made anew and lands."""

import pytest

from backend import pipeline
from backend.batch.models import Batch, BatchState
from backend.invariant import check_with_chain
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
