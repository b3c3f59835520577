"""Quarantine: what goes with a batch that cannot be proven, what comes back, and that no reward is
lost on the way."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from backend.account.models import Account
from backend.batch import repository
from backend.batch.models import INACTIVE, Batch, BatchState
from backend.batch.quarantine import quarantine, release_unprovable
from backend.errors import NotYet
from backend.interaction.models import Interaction
from backend.invariant import check_all
from backend.payout import service as payout
from backend.program.models import Program
from prover.circuit import load_instance
from prover.state import ProgramState
from tests.batch.test_close import closed_pairs, items_of, members
from tests.support.engine import Engine, address, report

DEV = load_instance("dev")
BOOKED = 1_000_000
"""Timestamp of the newest booked block, in the tests that care."""


def discard(engine: Engine, program: Program, batch: Batch) -> list[tuple[int, int]]:
    """Quarantine a batch; (bucket, sequence) of what went, itself first."""
    with engine.database.transaction() as session:
        gone = [
            (row.bucket, row.sequence)
            for row in quarantine(session, program.id, batch.id, "for the test", BOOKED)
        ]
    assert_whole(engine, program)
    return gone


def assert_whole(engine: Engine, program: Program) -> None:
    """Every invariant holds; the active batches replay, from deltas alone, to the homes that the
    database gives."""
    with engine.database.snapshot() as session:
        assert check_all(session, program) == []
        query = (
            select(Batch)
            .where(Batch.program_id == program.id, Batch.state.not_in(INACTIVE))
            .order_by(Batch.bucket, Batch.sequence)
        )
        state = ProgramState(DEV, program.families)
        for batch in session.scalars(query):
            state.apply(batch.bucket, batch.sequence, batch.deltas)
            assert state.bucket(batch.bucket).root == batch.new_root
        accounts = session.scalars(select(Account).where(Account.program_id == program.id))
        assert {int(row.address, 16): (row.bucket, row.slot) for row in accounts} == state.home


def counts(engine: Engine, program: Program) -> dict[str, int]:
    """state -> interactions."""
    with engine.database.transaction() as session:
        query = (
            select(Interaction.state, func.count())
            .where(Interaction.program_id == program.id)
            .group_by(Interaction.state)
        )
        return dict(session.execute(query).all())


def land(engine: Engine, program: Program, poison: set[str]) -> list[Batch]:
    """Close and prove as the workers do, in order; a batch that holds a poisonous account is
    quarantined. Returns what was quarantined."""
    found = []
    for _ in range(1000):
        engine.close(program)
        with engine.database.transaction() as session:
            queued = repository.open_batches(session, program.id)
        if not queued:
            return found
        if poison & {row.account for row in items_of(engine, queued[0])}:
            assert discard(engine, program, queued[0])
            found.append(queued[0])
        else:
            engine.finalize(program, queued[0])
            assert_whole(engine, program)
    raise AssertionError("it never ends")


def earned(engine: Engine, program: Program, account: str) -> payout.Standing:
    with engine.database.transaction() as session:
        return payout.standing(session, program, account)


def test_later_batches_are_superseded(engine: Engine) -> None:
    """With a batch, all later ones of its bucket go, and no earlier one; their places and slots are
    free again."""
    program = engine.program(items_max=4)
    engine.take_in(program, [report(i, f"w{i}") for i in range(4)])
    engine.settle(program)
    engine.take_in(program, [report(f"x{i}", f"x{i}") for i in range(12)])
    batches = [batch for _ in range(3) for batch in engine.close(program)]
    assert closed_pairs(batches) == [(0, 2, 4), (0, 3, 4), (0, 4, 4)]
    assert discard(engine, program, batches[1]) == [(0, 3), (0, 4)]
    with engine.database.transaction() as session:
        states = [session.get_one(Batch, batch.id) for batch in batches]
        assert [(row.state, row.reason is None) for row in states] == [
            ("closed", True),
            ("quarantined", False),
            ("superseded", False),
        ]
        assert repository.opened(session, program.id) == {0: 8}
        assert repository.newest_sequence(session, program.id, 0) == 2
    assert earned(engine, program, address("x5")).pending == {"accepted": 1000}


def test_quarantine_groups_are_batched_apart(engine: Engine) -> None:
    """The batch comes back in halves, one at a time; nothing is closed on top of a half, and
    nothing else is in it."""
    program = engine.program(items_max=8)
    engine.take_in(program, [report(i, f"w{i}") for i in range(5)])
    (batch,) = engine.close(program)
    engine.take_in(program, [report(f"late {i}", f"w{i}") for i in range(3)])
    discard(engine, program, batch)
    for expected in (["0", "1", "2"], ["3", "4"], ["late 0", "late 1", "late 2"]):
        (made,) = engine.close(program, force=expected[0].startswith("late"))
        assert [row.event_id for row in items_of(engine, made)] == expected
        assert (made.quarantine_group is None) == expected[0].startswith("late")
        if made.quarantine_group is not None:
            assert engine.close(program) == []
        engine.finalize(program, made)
    assert_whole(engine, program)


@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_one_poisonous_interaction_is_found(engine: Engine, size: int) -> None:
    """One of `size` interactions cannot be proven: it alone is left over, in at most log2 steps;
    its reward stays earned."""
    program = engine.program()
    engine.take_in(program, [report(i, f"w{i}", 100 + i) for i in range(size)])
    bad = size // 2
    found = land(engine, program, {address(f"w{bad}")})
    assert len(found) <= size.bit_length() + 1
    assert counts(engine, program) == ({"accepted": size - 1} if size > 1 else {}) | {
        "unprovable": 1
    }
    for i in range(size):
        standing = earned(engine, program, address(f"w{i}"))
        assert standing.earned == 100 + i
        assert (standing.claimable, standing.pending) == (
            (0, {"unprovable": 100 + i}) if i == bad else (100 + i, {})
        )


def test_unprovable_does_not_come_back_by_itself(engine: Engine) -> None:
    """An unprovable interaction stays out of every closing until an operator releases it; then it
    lands in a batch of its own."""
    program = engine.program()
    engine.take_in(program, [report("bad", "bad", 7), report("good", "good", 5)])
    land(engine, program, {address("bad")})
    engine.take_in(program, [report("other", "other", 3)])
    assert [
        row.event_id for batch in engine.settle(program) for row in items_of(engine, batch)
    ] == ["other"]
    engine.take_in(program, [report("another", "other", 3)])
    with engine.database.transaction() as session:
        assert release_unprovable(session, program.id) == 1
        assert release_unprovable(session, program.id) == 0
    batches = engine.settle(program)
    assert [[row.event_id for row in items_of(engine, batch)] for batch in batches] == [
        ["bad"],
        ["another"],
    ]
    assert earned(engine, program, address("bad")).claimable == 7
    assert_whole(engine, program)


def test_released_and_still_poisonous(engine: Engine) -> None:
    """What fails again after its release waits again; it takes nobody with it."""
    program = engine.program()
    engine.take_in(program, [report("bad", "bad")])
    land(engine, program, {address("bad")})
    with engine.database.transaction() as session:
        release_unprovable(session, program.id)
    engine.take_in(program, [report("good", "good")])
    assert [batch.items for batch in land(engine, program, {address("bad")})] == [1]
    assert counts(engine, program) == {"accepted": 1, "unprovable": 1}
    assert earned(engine, program, address("good")).claimable == 1000


def test_higher_buckets_follow(engine: Engine) -> None:
    """When a bucket's slots become free, what opens accounts in higher buckets of its family, and
    follows that, goes too; other families and rewards of open accounts stay."""
    program = engine.program(families=3)
    own, other = members(0, 3, 40, "own"), members(1, 3, 3, "other")
    engine.take_in(program, [report(a, a) for a in own[:31]])
    engine.settle(program)
    engine.take_in(program, [report(a, a) for a in (*own[31:], *other)])
    closed = engine.close(program)
    assert closed_pairs(closed) == [(0, 2, 1), (1, 1, 3), (3, 1, 8)]
    engine.take_in(program, [report(f"{a} again", a) for a in own[32:34]])
    assert closed_pairs(engine.close(program)) == [(3, 2, 2)]
    assert discard(engine, program, closed[0]) == [(0, 2), (3, 1), (3, 2)]
    land(engine, program, {own[31]})
    # The one that was in the way has no slot: the next newcomer took its place.
    assert counts(engine, program)["unprovable"] == 1
    with engine.database.transaction() as session:
        assert repository.opened(session, program.id) == {0: 32, 1: 3, 3: 7}


def test_full_bucket_leaves_higher_ones_alone(engine: Engine) -> None:
    """A batch that opens nothing takes only its own bucket's later ones along."""
    program = engine.program(items_max=32)
    names = members(0, 1, 33, "full")
    engine.take_in(program, [report(a, a) for a in names[:32]])
    engine.settle(program)
    engine.take_in(program, [report("old", names[0]), report(names[32], names[32])])
    closed = engine.close(program)
    assert closed_pairs(closed) == [(0, 2, 1), (1, 1, 1)]
    assert discard(engine, program, closed[0]) == [(0, 2)]


@pytest.mark.parametrize("state", [BatchState.PROVEN, BatchState.POSTED, BatchState.FINAL])
def test_what_has_moved_on_stays(engine: Engine, state: BatchState) -> None:
    """A batch that was proven, posted or made final meanwhile is not quarantined."""
    program = engine.program()
    engine.take_in(program, [report("e1")])
    (batch,) = engine.close(program)
    with engine.database.transaction() as session:
        session.get_one(Batch, batch.id).state = state
    with engine.database.transaction() as session:
        assert quarantine(session, program.id, batch.id, "for the test", BOOKED) == []
        assert session.get_one(Batch, batch.id).state == state


@pytest.mark.parametrize("which", [0, 1])
def test_what_can_still_land_is_not_superseded(engine: Engine, which: int) -> None:
    """While the batch, or one on top of it, could be posted by anyone who holds its signatures and
    proof, nothing is changed."""
    program = engine.program(items_max=1)
    engine.take_in(program, [report("e1"), report("e2")])
    batches = engine.close(program) + engine.close(program)
    with engine.database.transaction() as session:
        session.get_one(Batch, batches[which].id).landable_until = BOOKED
    with pytest.raises(NotYet, match="can still land"):
        discard(engine, program, batches[0])
    with engine.database.transaction() as session:
        assert {row.state for row in repository.open_batches(session, program.id)} == {"closed"}
        session.get_one(Batch, batches[which].id).landable_until = BOOKED - 1
    assert discard(engine, program, batches[0]) == [(0, 1), (0, 2)]


def test_history_outlives_it(engine: Engine) -> None:
    """What a batch touched stays written down, but is no part of the bucket's history."""
    program = engine.program()
    engine.take_in(program, [report("e1", "alice", 5), report("e2", "bob", 6)])
    (batch,) = engine.close(program)
    discard(engine, program, batch)
    with engine.database.transaction() as session:
        assert [row.delta for row in repository.touched(session, batch.id)] == [5, 6]
        assert repository.pairs_after(session, program.id, 0, 10) == []
        assert repository.get(session, program.id, 0, 1) is None


@pytest.mark.slow
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.integers(0, 45), min_size=1, max_size=60),
    st.sets(st.integers(0, 45), max_size=3),
    st.sampled_from([1, 3]),
    st.integers(3, 32),
)
def test_random_poison(
    engine: Engine, who: list[int], poison: set[int], families: int, items_max: int
) -> None:
    """Whoever is poisonous, and whatever is closed around it: every other account gets exactly what
    it earned."""
    program = engine.program(families=families, items_max=items_max)
    engine.take_in(program, [report(i, f"p{number}", 1 + i) for i, number in enumerate(who)])
    land(engine, program, {address(f"p{number}") for number in poison})
    for number in set(who):
        standing = earned(engine, program, address(f"p{number}"))
        reward = sum(1 + i for i, other in enumerate(who) if other == number)
        assert (standing.earned, standing.claimable) == (reward, 0 if number in poison else reward)
