"""Closing under a daily limit: no batch is above it, what alone is above it waits for a higher one,
and what a lowering has made too large is made anew."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from backend.api.measures import DatabaseMeasures
from backend.batch.models import Batch, BatchState
from backend.batch.quarantine import replace_too_large
from backend.chain.daily_limit import DAY, LeakyBucket
from backend.chain.events import DailyLimitChanged
from backend.errors import NotYet
from backend.interaction.models import Interaction
from backend.payout import service as payout
from backend.program import repository as programs
from backend.program.models import Program
from backend.settlement import indexer
from tests.batch.test_quarantine import assert_whole
from tests.support.engine import Api, Engine, address, now, report

BOOKED = 1_000_000


def change(engine: Engine, program: Program, per_day: int, at: int = BOOKED) -> None:
    """The limit changes, as the watcher books it."""
    event = DailyLimitChanged(
        block_number=at, block_hash=b"", tx_hash=b"\1" * 32, log_index=0, per_day=per_day, by=""
    )
    with engine.database.transaction() as session:
        row = programs.lock(session, program.id)
        indexer.record_events(session, row, [event], {}, {at: at})


def fresh(engine: Engine, program: Program) -> Program:
    with engine.database.transaction() as session:
        return session.get_one(Program, program.id)


def close(engine: Engine, program: Program) -> list[Batch]:
    return engine.close(fresh(engine, program))


def open_amounts(engine: Engine, program: Program) -> list[int]:
    query = select(Interaction.amount).where(
        Interaction.program_id == program.id, Interaction.batch_id.is_(None)
    )
    with engine.database.transaction() as session:
        return sorted(session.scalars(query))


def anew(engine: Engine, program: Program, batch: Batch) -> list[int]:
    """Sequences of what was superseded."""
    with engine.database.transaction() as session:
        return [row.sequence for row in replace_too_large(session, program.id, batch.id, BOOKED)]


@given(
    st.integers(1, 120),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 100)), max_size=25),
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_batch_is_above_the_limit(
    engine: Engine, limit: int, rewards: list[tuple[str, int]]
) -> None:
    """Whatever is rewarded: each batch is within the limit, all that can be batched is, in the
    order of each account, and nothing is lost once the limit is raised."""
    program = engine.program(families=2, daily_limit=limit)
    reports = [report(f"e{i}", name, amount) for i, (name, amount) in enumerate(rewards)]
    if reports:
        engine.take_in(program, reports)
    batches = []
    while more := close(engine, program):
        batches += more
    assert all(batch.total <= limit for batch in batches)
    above = sorted(amount for _, amount in rewards if amount > limit)
    assert open_amounts(engine, program) == above
    assert sum(batch.total for batch in batches) == sum(a for _, a in rewards) - sum(above)
    change(engine, program, 0)
    while more := close(engine, program):
        batches += more
    assert sum(batch.total for batch in batches) == sum(amount for _, amount in rewards)
    assert_whole(engine, program)


def test_what_is_above_the_limit_says_so(api: Api) -> None:
    """Its account and its interaction tell why it waits; its neighbours go on. The program tells
    what is left, when all of it is, and how much waits for a higher limit."""
    engine = api.engine
    program = engine.program(daily_limit=500)
    engine.take_in(
        program, [report("e1", "ann", 501), report("e2", "ann", 500), report("e3", "bob", 502)]
    )
    assert [batch.total for batch in close(engine, program)] == [500]
    with engine.database.transaction() as session:
        standing = payout.standing(session, fresh(engine, program), address("ann"))
    assert standing.pending == {"above_daily_limit": 501, "batched": 500}
    answer = api.get(program, "/interactions/adnet/e1").json()
    assert (answer["state"], answer["batch"]) == ("above_daily_limit", None)
    assert api.get(program, "/interactions/adnet/e2").json()["state"] == "batched"
    with engine.database.transaction() as session:
        row = session.get_one(Program, program.id)
        row.limit = LeakyBucket(500, 400 * DAY, now())
    limit = api.get(program, "").json()["daily_limit"]
    assert (limit["per_day"], limit["above"], limit["above_interactions"]) == ("500", "1003", 2)
    assert 100 <= int(limit["left"]) <= 101
    assert abs(limit["whole_at"] - now() - DAY * 4 // 5) < 60

    change(engine, program, 501, now())
    assert api.get(program, "/interactions/adnet/e1").json()["state"] == "accepted"
    assert [batch.total for batch in close(engine, program)] == [501]
    change(engine, program, 0, now())
    assert api.get(program, "").json()["daily_limit"] is None
    assert [batch.total for batch in close(engine, program)] == [502]


def test_a_lowered_limit_makes_batches_anew(engine: Engine) -> None:
    """A batch above the lowered limit gives way, with what was built on it, once it cannot land any
    more; its rewards come back in smaller batches."""
    program = engine.program(daily_limit=1_000)
    engine.take_in(program, [report(f"e{i}", name, 300) for i, name in enumerate("abc")])
    (large,) = close(engine, program)
    engine.take_in(program, [report("e9", "d", 40)])
    (later,) = close(engine, program)
    assert anew(engine, program, large) == []
    change(engine, program, 600)
    with engine.database.transaction() as session:
        row = session.get_one(Batch, large.id)
        row.state, row.landable_until = BatchState.CLOSED, BOOKED
    with pytest.raises(NotYet, match="can still land"):
        anew(engine, program, large)
    with engine.database.transaction() as session:
        session.get_one(Batch, large.id).landable_until = BOOKED - 1
    assert anew(engine, program, later) == []
    assert anew(engine, program, large) == [1, 2]
    assert_whole(engine, program)
    totals = []
    while more := close(engine, program):
        totals += [batch.total for batch in more]
    assert sorted(totals) == [340, 600]
    assert_whole(engine, program)
    with engine.database.transaction() as session:
        reason = session.get_one(Batch, large.id).reason
    assert reason == "it is above the daily limit of 600 base units"


def test_the_limit_follows_the_final_log(engine: Engine) -> None:
    """Changes and batches are counted as on chain, a batch that is recorded again is not counted
    again, and changes that are recorded again leave the last one in force."""
    program = engine.program(daily_limit=0)
    change(engine, program, 1_000)
    engine.take_in(program, [report("e1", "ann", 700)])
    (batch,) = close(engine, program)
    engine.finalize(program, batch)
    before = fresh(engine, program).limit
    assert before.left(before.updated_at) == 300
    engine.finalize(program, batch)
    assert fresh(engine, program).limit == before
    for per_day in (1_000, 400, 900):
        change(engine, program, per_day)
    after: Any = fresh(engine, program).limit
    assert (after.per_day, after.used) == (900, before.used)


def test_measures(api: Api) -> None:
    """What is left of the limit, what is above it, and the age of the oldest batch without those
    that wait for the limit."""
    engine = api.engine
    program = engine.program(daily_limit=1_000)
    engine.take_in(program, [report("e1", "ann", 1_001), report("e2", "bob", 1_000)])
    (batch,) = close(engine, program)
    free = engine.program()
    with engine.database.transaction() as session:
        session.get_one(Program, program.id).limit = LeakyBucket(1_000, 750 * DAY, now())
        session.execute(
            update(Batch)
            .where(Batch.id != batch.id, Batch.state == BatchState.CLOSED)
            .values(state=BatchState.FINAL)
        )
        row = session.get_one(Batch, batch.id)
        row.fits_at, row.created_at = now() + 500, func.now() - timedelta(seconds=1_000)
    named = {
        (one.name, one.labels.get("program", one.labels.get("state"))): one.value
        for family in DatabaseMeasures(engine.database).collect()
        for one in family.samples
    }
    assert named["guerdon_above_daily_limit", program.name] == 1
    assert 0.25 <= named["guerdon_daily_limit_left_ratio", program.name] < 0.26
    assert ("guerdon_daily_limit_left_ratio", free.name) not in named
    assert named["guerdon_batches", "closed"] == 1
    assert named["guerdon_batch_oldest_seconds", "closed"] == 0
    with engine.database.transaction() as session:
        session.get_one(Batch, batch.id).fits_at = now() - 1
    families = list(DatabaseMeasures(engine.database).collect())
    (aged,) = [one for one in families if one.name == "guerdon_batch_oldest_seconds"]
    assert max(one.value for one in aged.samples) >= 1_000
