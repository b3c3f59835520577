"""The owner withdraws what the ledger has promised and no landed batch has committed, as the
contract allows: the program goes on."""

import pytest
from sqlalchemy import update

from backend import pipeline
from backend.batch.models import Batch, BatchState
from backend.invariant import check_with_chain
from backend.settlement.indexer import index
from tests.support.engine import address, report
from tests.support.onchain import OnChain

DELAY_SECONDS = 7 * 86_400


def withdraw(program: OnChain, amount: int) -> None:
    """By the owner, on chain; booked."""
    program.call("announceWithdrawal", address("owner"), amount)
    program.chain.rpc("evm_increaseTime", DELAY_SECONDS)
    program.chain.rpc("evm_mine")
    program.call("executeWithdrawal")
    index(program.context, program.id)


def waits_for(program: OnChain, batch: Batch) -> str:
    """What a batch says after it was taken as far as it goes."""
    with program.engine.database.transaction() as session:
        session.get_one(Batch, batch.id).retry_at = None
    assert pipeline.advance(program.context, batch.id) != BatchState.FINAL
    (row,) = [row for row in program.batches() if row.id == batch.id]
    return row.note or ""


def assert_whole(program: OnChain) -> None:
    assert program.row.halted is None
    assert check_with_chain(program.context, program.id) == []


@pytest.mark.parametrize("state", [BatchState.CLOSED, BatchState.PROVEN])
def test_withdrawal_of_what_is_promised(program: OnChain, state: BatchState) -> None:
    """It is booked, as a deficit, and the program is not halted. A batch that the reserve does not
    cover says what it lacks, whether or not it is proven, and is neither signed nor sent; reports
    are held. Funding fills the deficit first, then the batch goes on, then what is held."""
    program.engine.take_in(program.row, [report("e1", "ann", 800)])
    (batch,) = program.engine.close(program.row)
    with program.engine.database.transaction() as session:
        session.execute(update(Batch).where(Batch.id == batch.id).values(state=state))
    withdraw(program, 1000)
    assert program.engine.budget(program.row) == -800
    assert_whole(program)
    assert "reserve is short by 800 base units" in waits_for(program, batch)
    (answer,) = program.engine.take_in(program.row, [report("e2", "bob", 5)])
    assert (answer.outcome, answer.reason) == ("held", "budget_exhausted")

    program.fund(799)
    assert "reserve is short by 1 base units" in waits_for(program, batch)
    with program.engine.database.transaction() as session:
        session.execute(update(Batch).where(Batch.id == batch.id).values(state=BatchState.CLOSED))
    program.fund(1)
    assert "attestation" in waits_for(program, batch)  # the reserve is no matter any more
    assert program.engine.owed(program.row, address("bob")) == 0
    program.fund(5)
    assert program.engine.owed(program.row, address("bob")) == 5
    assert_whole(program)


def test_a_batch_that_fits_lands_in_a_deficit(program: OnChain) -> None:
    """Of two batches, the one that what is left does cover goes on, and is booked; money stays
    exact to the last unit."""
    program.engine.take_in(program.row, [report("e1", "ann", 300)])
    (small,) = program.engine.close(program.row)
    program.engine.take_in(program.row, [report("e2", "bob", 600)])
    (large,) = program.engine.close(program.row)
    withdraw(program, 700)
    assert program.engine.budget(program.row) == 1000 - 700 - 900
    assert "attestation" in waits_for(program, small)
    assert "reserve is short by 300 base units" in waits_for(program, large)
    program.post_batches([small])
    index(program.context, program.id)
    assert program.account("ann").posted == 300
    assert "reserve is short by 600 base units" in waits_for(program, large)
    assert_whole(program)


def test_the_whole_reserve_goes_and_comes_back(program: OnChain) -> None:
    """Withdrawn to nothing, the program is whole; funded again, what was promised lands and is
    claimed."""
    program.engine.take_in(program.row, [report("e1", "ann", 800)])
    (batch,) = program.engine.close(program.row)
    withdraw(program, 1000)
    program.fund(800)
    program.post_batches([batch])
    program.program.claim(address("ann"))
    index(program.context, program.id)
    assert program.engine.owed(program.row, address("ann")) == 0
    assert_whole(program)
