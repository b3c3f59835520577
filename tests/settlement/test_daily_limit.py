"""Posting under a daily limit, against the real contract: batches wait for room and say until when,
none waits without end, and what a lowering has made too large lands in smaller batches."""

from collections.abc import Callable

import pytest

from backend import pipeline
from backend.batch.models import Batch, BatchState
from backend.chain.daily_limit import DAY, NO_LIMIT
from backend.invariant import check_with_chain
from backend.settlement import daily_limit
from backend.settlement.indexer import index
from tests.settlement.test_sets import FAMILIES, closed, go_on, posts, row_of, states, store
from tests.support.anvil import Anvil
from tests.support.engine import apart, report
from tests.support.onchain import OnChain

LIMIT = 1_000


@pytest.fixture
def program(make: Callable[..., OnChain], clock: Callable[[int], None]) -> OnChain:
    """Of eight buckets, with a daily limit."""
    return make(funded=1_000_000, families=FAMILIES, daily_limit=LIMIT)


@pytest.fixture
def clock(chain: Anvil, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the chain's time go on. This machine's clock counts for nothing: the chain's blocks are
    new."""
    monkeypatch.setattr(daily_limit, "is_local", lambda chain_id: False)

    def wait(seconds: int) -> None:
        chain.rpc("evm_increaseTime", seconds)
        chain.rpc("evm_mine")

    return wait


def room(program: OnChain, batch: Batch) -> daily_limit.Full | None:
    return daily_limit.room_for(program.context, program.row, row_of(program, batch))


def look(program: OnChain, batch: Batch) -> str:
    """The batch's note after one look."""
    pipeline.advance(program.context, batch.id)
    return row_of(program, batch).note or ""


def test_a_batch_waits_until_it_fits(program: OnChain, clock: Callable[[int], None]) -> None:
    """It says until when, is simulated and sent not once too early, and is posted when there is
    room; the ledger's bucket says what the contract does."""
    first, second = closed(program, [700, 600])
    program.prove(first)
    go_on(program, [first])
    program.prove(second)
    assert "the daily limit is used up: it fits at 20" in look(program, second)
    full = room(program, second)
    assert full is not None
    assert abs((full.seconds or 0) - DAY * 300 // LIMIT) < 100
    assert posts(program, second) == []
    said = program.program.distributor.daily_limit()
    head = program.chain.w3.eth.get_block("latest")["timestamp"]
    assert program.row.limit.left(head) == said.left < 310

    clock((full.seconds or 0) + 1)
    assert room(program, second) is None
    go_on(program, [second])
    assert states(program, [first, second]) == [BatchState.FINAL] * 2
    assert check_with_chain(program.context, program.id) == []


def test_small_batches_do_not_keep_a_large_one_waiting(
    program: OnChain, clock: Callable[[int], None]
) -> None:
    """One that was closed later leaves an earlier one its room, also where both are in the set of a
    third; once the earlier one has its post, or does not come for its room, the others go on."""
    spent, large, small = closed(program, [900, 800, 50])
    for batch in (spent, large, small):
        program.prove(batch)
    store(program, spent)
    assert states(program, [spent, large, small]) == [
        BatchState.POSTED,
        BatchState.PROVEN,
        BatchState.POSTED,
    ], "nothing waits yet: what fits beside the first goes along"
    go_on(program, [spent, small])

    program.engine.take_in(program.row, [report("later", apart(FAMILIES)[3], 20)])
    (later,) = program.engine.close(program.row)
    program.prove(later)
    assert "used up" in look(program, large)
    assert "used up" in look(program, later)
    waits = room(program, large)
    assert waits is not None
    clock((waits.seconds or 0) + 1)
    assert "used up" in look(program, later), "the room is the large one's"
    with program.engine.database.transaction() as session:
        # As if it had not come for ROOM_KEPT_SECONDS.
        row = session.get_one(Batch, large.id)
        row.fits_at = (row.fits_at or 0) - daily_limit.ROOM_KEPT_SECONDS - 60
    assert room(program, later) is None
    assert room(program, large) is None
    go_on(program, [large])
    assert row_of(program, large).state == BatchState.FINAL


def test_posts_under_way_count(program: OnChain) -> None:
    """What is signed and in no block yet is used: the next batch is not sent into a revert."""
    first, second = closed(program, [600, 600])
    program.prove(first)
    store(program, first)
    program.prove(second)
    full = room(program, second)
    assert full is not None
    assert "used up" in look(program, second)
    assert posts(program, second) == []


def test_a_batch_is_signed_shortly_before_there_is_room(
    program: OnChain, clock: Callable[[int], None]
) -> None:
    """Earlier its signatures would expire: no envelope is fixed, and no proof is made."""
    spent, waiting = closed(program, [900, 300])
    program.post_batches([spent])
    index(program.context, program.id)
    assert "it fits at" in look(program, waiting)
    assert row_of(program, waiting).digest is None
    full = room(program, waiting)
    assert full is not None
    # Of so small a limit a base unit takes 86 seconds, by which the estimate may be too late.
    clock((full.seconds or 0) - daily_limit.SIGN_AHEAD_SECONDS + 100)
    assert "used up" not in look(program, waiting)
    assert row_of(program, waiting).digest is not None


def test_a_lowering_makes_a_signed_batch_anew(
    program: OnChain, clock: Callable[[int], None]
) -> None:
    """A proven batch above the lowered limit is not sent; while it may land, nothing replaces it.
    After its signatures have expired its rewards land in smaller batches."""
    rewards = [report(f"e{i}", "one account", 250) for i in range(3)]
    program.engine.take_in(program.row, rewards)
    (large,) = program.engine.close(program.row)
    until = program.chain.w3.eth.get_block("latest")["timestamp"] + 900
    program.prove(large, until)
    with program.engine.database.transaction() as session:
        session.get_one(Batch, large.id).landable_until = until
    program.call("lowerDailyLimit", 500)
    index(program.context, program.id)
    assert program.row.daily_limit == 500
    note = look(program, large)
    assert "above the daily limit of 0.0000000000000005 HSTL" in note
    assert posts(program, large) == []

    clock(890)  # In the last minute of its envelope it is taken back, and can still land.
    assert "can still land" in look(program, large)
    assert row_of(program, large).state == BatchState.CLOSED
    clock(60)
    look(program, large)
    assert row_of(program, large).state == BatchState.SUPERSEDED
    totals = []
    while more := program.engine.close(program.row):
        totals += [batch.total for batch in more]
    assert totals == [500, 250]
    assert check_with_chain(program.context, program.id) == []


def test_without_a_limit_nothing_is_asked(make: Callable[..., OnChain]) -> None:
    """A program without one has no view read for it; what is left is NO_LIMIT."""
    free = make(funded=1_000)
    (batch,) = closed(free, [10])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daily_limit, "_limit", None)
        assert room(free, batch) is None
        assert daily_limit.left_for(free.context, free.row, [batch]) == NO_LIMIT
    assert free.program.distributor.daily_limit() == (0, NO_LIMIT, 0)


def test_a_raced_limit_is_no_fault(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another post was faster, the simulation's refusal is told in the contract's words, and
    counts as no failure; no attestor is blamed."""
    first, second = closed(program, [700, 700])
    program.post_batches([first])
    index(program.context, program.id)
    program.prove(second)
    monkeypatch.setattr(pipeline, "room_for", lambda *given: None)
    assert "DailyLimitExceeded(total=700, left=30" in look(program, second)
    row = row_of(program, second)
    assert (row.state, row.failures) == (BatchState.PROVEN, 0)
