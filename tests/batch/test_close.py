"""Closing: which interactions make which batch, when, and that what is closed is what the circuit
proves."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from backend.batch import repository
from backend.batch.close import close_batches
from backend.batch.models import Batch
from backend.interaction import repository as interactions
from backend.interaction.models import Interaction
from backend.invariant import check_all
from backend.program import repository as programs
from backend.program.models import Program
from prover.circuit import load_instance
from prover.state import ProgramState, family
from prover.statement import plan_batch
from prover.wire import UINT96_MAX
from tests.support.engine import Engine, address, report

DEV = load_instance("dev")


def members(wanted: int, families: int, number: int, prefix: str = "") -> list[str]:
    """`number` addresses of one family."""
    names = (address(f"{prefix} member {i}") for i in count())
    return [
        found
        for found, _ in zip(
            (a for a in names if family(int(a, 16), families) == wanted),
            range(number),
            strict=False,
        )
    ]


def closed_pairs(batches: list[Batch]) -> list[tuple[int, int, int]]:
    return [(batch.bucket, batch.sequence, batch.items) for batch in batches]


def items_of(engine: Engine, batch: Batch) -> list[Interaction]:
    with engine.database.transaction() as session:
        return interactions.of_batch(session, batch.id)


def age(engine: Engine, program: Program, seconds: int) -> None:
    """Make the program's open interactions look older."""
    with engine.database.transaction() as session:
        change = {"created_at": Interaction.created_at - text(f"interval '{seconds} seconds'")}
        session.execute(
            update(Interaction).where(Interaction.program_id == program.id).values(change)
        )


def pairs(engine: Engine, program: Program, bucket: int, sequence: int) -> list[tuple[int, int]]:
    with engine.database.transaction() as session:
        return [
            (int(a, 16), amount)
            for a, amount in repository.pairs_after(session, program.id, bucket, sequence)
        ]


def replay(engine: Engine, program: Program) -> ProgramState:
    """All batches in the order in which they were closed, through the replay that attestors and
    auditors use; every rule checked."""
    state = ProgramState(DEV, program.families)
    with engine.database.snapshot() as session:
        assert check_all(session, program) == []
        batches = list(
            session.scalars(select(Batch).where(Batch.program_id == program.id).order_by(Batch.id))
        )
        for batch in batches:
            rows = [
                (int(row.account, 16), row.amount)
                for row in interactions.of_batch(session, batch.id)
            ]
            bucket = state.bucket(batch.bucket)
            planned = plan_batch(DEV, bucket.pairs, rows)
            assert (bucket.root, planned.new_root, planned.items_root) == (
                batch.old_root,
                batch.new_root,
                batch.items_root,
            )
            assert planned.deltas.encode() == batch.deltas
            assert (planned.deltas.total, len(rows)) == (batch.total, batch.items)
            for opening, (opened, _) in enumerate(planned.deltas.opened):
                state.require_home(batch.bucket, opened, opening)
            state.apply(batch.bucket, batch.sequence, batch.deltas)
            assert bucket.root == batch.new_root
    return state


def test_nothing_to_close(engine: Engine) -> None:
    """Without open interactions nothing is closed, forced or not."""
    program = engine.program()
    assert engine.close(program) == engine.close(program, force=False) == []


def test_buckets_fill_in_order(engine: Engine) -> None:
    """One family: 70 accounts fill buckets 0 and 1 and begin 2, in order of first appearance; none
    is opened twice."""
    program = engine.program(items_max=32)
    names = members(0, 1, 70)
    engine.take_in(program, [report(i, a, 1 + i) for i, a in enumerate(names)])
    batches = engine.close(program)
    assert closed_pairs(batches) == [(0, 1, 32), (1, 1, 32), (2, 1, 6)]
    assert [a for bucket in range(3) for a, _ in pairs(engine, program, bucket, 1)] == [
        int(a, 16) for a in names
    ]
    engine.take_in(program, [report(f"{i} again", a, 5) for i, a in enumerate(names)])
    assert closed_pairs(engine.close(program)) == [(0, 2, 32), (1, 2, 32), (2, 2, 6)]
    assert len(replay(engine, program).home) == 70


def test_families(engine: Engine) -> None:
    """Three families: an account goes to the lowest bucket of its own family that has room,
    whatever the others do."""
    program = engine.program(families=3)
    first, second = members(0, 3, 33), members(1, 3, 3)
    engine.take_in(program, [report(i, a) for i, a in enumerate([*second[:2], *first, second[2]])])
    assert closed_pairs(engine.settle(program)) == [(0, 1, 32), (1, 1, 3), (3, 1, 1)]
    state = replay(engine, program)
    assert state.home[int(first[32], 16)] == (3, 0)
    assert [state.home[int(a, 16)] for a in second] == [(1, 0), (1, 1), (1, 2)]


def test_item_limit(engine: Engine) -> None:
    """A batch takes at most M items, the oldest first; the rest waits for the next and keeps its
    order."""
    program = engine.program(items_max=5)
    engine.take_in(program, [report(i, f"w{i % 3}", 1 + i) for i in range(12)])
    batches = [batch for _ in range(3) for batch in engine.close(program)]
    assert closed_pairs(batches) == [(0, 1, 5), (0, 2, 5), (0, 3, 2)]
    assert [row.amount for batch in batches for row in items_of(engine, batch)] == list(
        range(1, 13)
    )
    assert engine.close(program) == []
    replay(engine, program)


def test_item_limit_of_the_circuit(engine: Engine) -> None:
    """A program that allows more items than the circuit has room for is held to the circuit's M."""
    program = engine.program(items_max=1000)
    engine.take_in(program, [report(i) for i in range(DEV.items + 1)])
    assert closed_pairs(engine.close(program)) == [(0, 1, DEV.items)]
    replay(engine, program)


def test_new_account_waits_with_its_bucket(engine: Engine) -> None:
    """When bucket 0 has room for accounts but its batch is full, a new account waits for bucket 0:
    it is not opened in bucket 1."""
    program = engine.program(items_max=4)
    engine.take_in(
        program, [*(report(i, "old") for i in range(4)), report("n1", "new"), report("n2", "newer")]
    )
    assert closed_pairs(engine.close(program)) == [(0, 1, 4)]
    assert closed_pairs(engine.close(program)) == [(0, 2, 2)]
    assert len(replay(engine, program).home) == 3


def test_delta_of_96_bits(engine: Engine) -> None:
    """What would take an account's delta over 96 bits waits for the next batch, with all that the
    account earned after it, in order; other accounts go on."""
    program = engine.program()
    large = UINT96_MAX - 10
    engine.take_in(
        program,
        [
            report("a1", "alice", large),
            report("b1", "bob", 1),
            report("a2", "alice", 11),
            report("a3", "alice", 5),
            report("b2", "bob", 2),
        ],
    )
    batches = engine.settle(program)
    assert [[row.event_id for row in items_of(engine, batch)] for batch in batches] == [
        ["a1", "b1", "b2"],
        ["a2", "a3"],
    ]
    state = replay(engine, program)
    assert state.bucket(0).pairs[0] == (int(address("alice"), 16), large + 16)
    exact = engine.program()
    engine.take_in(exact, [report("a1", "alice", large), report("a2", "alice", 10)])
    assert closed_pairs(engine.close(exact)) == [(0, 1, 2)]


def test_age(engine: Engine) -> None:
    """Without force, a bucket closes when it has a full batch or its oldest interaction is old
    enough, and not before."""
    program = engine.program(items_max=4, age_seconds=60)
    engine.take_in(program, [report("e1"), report("e2")])
    assert engine.close(program, force=False) == []
    age(engine, program, 59)
    assert engine.close(program, force=False) == []
    age(engine, program, 2)
    engine.take_in(program, [report("e3")])
    assert closed_pairs(engine.close(program, force=False)) == [(0, 1, 3)]
    engine.take_in(program, [report(f"full {i}") for i in range(4)])
    assert closed_pairs(engine.close(program, force=False)) == [(0, 2, 4)]


def test_old_interactions_wait_for_the_batch_before(engine: Engine) -> None:
    """While a bucket's batch is under way, its next one closes only when it is full; force closes
    at once."""
    program = engine.program(items_max=3, age_seconds=1)
    engine.take_in(program, [report("e1")])
    (first,) = engine.close(program)
    engine.take_in(program, [report("e2")])
    age(engine, program, 10)
    assert engine.close(program, force=False) == []
    engine.take_in(program, [report("e3"), report("e4")])
    assert closed_pairs(engine.close(program, force=False)) == [(0, 2, 3)]
    engine.take_in(program, [report("e5")])
    assert closed_pairs(engine.close(program, force=True)) == [(0, 3, 1)]
    engine.take_in(program, [report("e6")])
    age(engine, program, 10)
    with engine.database.transaction() as session:
        rest = repository.open_batches(session, program.id)
    for batch in rest:
        engine.finalize(program, batch)
    assert first.id == rest[0].id
    assert closed_pairs(engine.close(program, force=False)) == [(0, 4, 1)]
    replay(engine, program)


def test_higher_bucket_waits_for_the_lower(engine: Engine) -> None:
    """A full batch that opens accounts in bucket 1 waits for the one that fills bucket 0, even
    though that is not due yet."""
    program = engine.program(items_max=4, age_seconds=60)
    names = members(0, 1, 36)
    engine.take_in(program, [report(a, a) for a in names[:31]])
    engine.settle(program)
    engine.take_in(program, [report(f"{a} 1", a) for a in names[31:]])
    assert engine.close(program, force=False) == []
    age(engine, program, 61)
    assert closed_pairs(engine.close(program, force=False)) == [(0, 9, 1), (1, 1, 4)]
    replay(engine, program)


def test_higher_bucket_without_openings_does_not_wait(engine: Engine) -> None:
    """Rewards of accounts that are open go on in any bucket, whatever waits below."""
    program = engine.program(items_max=4, age_seconds=60)
    names = members(0, 1, 34)
    engine.take_in(program, [report(a, a) for a in names])
    engine.settle(program)
    engine.take_in(
        program, [report("waits", names[0]), *(report(f"{i}", names[32 + i % 2]) for i in range(4))]
    )
    assert closed_pairs(engine.close(program, force=False)) == [(1, 2, 4)]


def test_families_do_not_wait_for_each_other(engine: Engine) -> None:
    """What waits in one family's bucket does not hold up another family's openings."""
    program = engine.program(families=3, items_max=4, age_seconds=60)
    engine.take_in(
        program, [report("waits", members(0, 3, 1)[0]), *(report(a, a) for a in members(1, 3, 4))]
    )
    assert closed_pairs(engine.close(program, force=False)) == [(1, 1, 4)]
    replay(engine, program)


def test_halted_program(engine: Engine) -> None:
    """A halted program takes interactions in and closes nothing until an operator has decided."""
    program = engine.program()
    engine.take_in(program, [report("e1")])
    with engine.database.transaction() as session:
        programs.lock(session, program.id).halted = "for the test"
    assert engine.close(program) == []
    engine.take_in(program, [report("e2")])
    with engine.database.transaction() as session:
        programs.lock(session, program.id).halted = None
    assert closed_pairs(engine.close(program)) == [(0, 1, 2)]


def test_history(engine: Engine) -> None:
    """The bucket's accounts after any of its batches are what the trees of that moment held;
    another bucket's do not mix in."""
    program = engine.program(items_max=8)
    names = members(0, 1, 40)
    engine.take_in(program, [report(a, a, 3) for a in names])
    engine.settle(program)
    for number in range(3):
        engine.take_in(program, [report(f"{number} {a}", a, 10**number) for a in names[number::9]])
        engine.settle(program)
    state = ProgramState(DEV)
    with engine.database.transaction() as session:
        batches = list(
            session.scalars(select(Batch).where(Batch.program_id == program.id).order_by(Batch.id))
        )
    assert pairs(engine, program, 0, 0) == []
    for batch in batches:
        state.apply(batch.bucket, batch.sequence, batch.deltas)
        assert (
            pairs(engine, program, batch.bucket, batch.sequence) == state.bucket(batch.bucket).pairs
        )
    newest = state.bucket(0).sequence
    assert pairs(engine, program, 0, newest + 5) == state.bucket(0).pairs


def test_ledger_head_covers_what_is_batched(engine: Engine) -> None:
    """A batch names the head that seals the bookings of its own interactions."""
    program = engine.program()
    engine.take_in(program, [report("e1")])
    (batch,) = engine.close(program)
    with engine.database.transaction() as session:
        sealed = session.execute(
            text("""
                SELECT count(*) FROM interaction JOIN ledger_entry
                  ON interaction_id = interaction.id
                JOIN ledger_block_transaction USING (transaction_id) JOIN ledger_block
                  ON ledger_block.id = block_id
                WHERE batch_id = :id AND hash = :head
            """),
            {"id": batch.id, "head": batch.ledger_head},
        ).scalar()
    assert sealed == 1


def test_closers_at_once(engine: Engine) -> None:
    """Four closers, with intake going on beside them, never take an interaction twice nor leave one
    out."""
    program = engine.program(items_max=8)
    names = members(0, 1, 50, "race")
    engine.take_in(program, [report(f"before {a}", a, 1) for a in names])
    start, done = threading.Barrier(5), threading.Event()

    def close(_: int) -> int:
        start.wait()
        closed = 0
        while not done.is_set():
            with engine.database.transaction() as session:
                made = close_batches(session, programs.lock(session, program.id), force=True)
                time.sleep(0.01)  # the others wait at the lock meanwhile
            closed += sum(batch.items for batch in made)
        return closed

    with ThreadPoolExecutor(4) as pool:
        closers = [pool.submit(close, i) for i in range(4)]
        start.wait()
        for number in range(6):
            engine.take_in(program, [report(f"{number} {a}", a, 1) for a in names[number::5]])
        time.sleep(0.2)
        done.set()
        total = sum(closer.result() for closer in closers)
    while made := engine.close(program):
        total += sum(batch.items for batch in made)
    expected = 50 + sum(len(names[number::5]) for number in range(6))
    assert total == expected
    assert (
        sum(
            amount
            for bucket in replay(engine, program).buckets.values()
            for _, amount in bucket.pairs
        )
        == expected
    )


accounts = st.integers(0, 45)
rewards = st.lists(
    st.tuples(accounts, st.integers(1, 9) | st.just(UINT96_MAX)), min_size=1, max_size=40
)
rounds = st.lists(st.tuples(rewards, st.booleans()), min_size=1, max_size=3)


@pytest.mark.slow
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rounds, st.sampled_from([1, 3]), st.integers(2, 32))
def test_random_interactions_replay_to_their_sums(
    engine: Engine, script: list[tuple[list[tuple[int, int]], bool]], families: int, items_max: int
) -> None:
    """Whatever is reported and whenever it is closed, replaying all batches gives each account
    exactly what it was reported, at home."""
    program = engine.program(families=families, items_max=items_max)
    expected: Counter[int] = Counter()
    for number, (reported, force) in enumerate(script):
        made = [
            report(f"{number}-{i}", f"random {who}", amount)
            for i, (who, amount) in enumerate(reported)
        ]
        engine.take_in(program, made)
        for one in made:
            expected[int(one.account, 16)] += one.amount
        engine.close(program, force=force)
    while engine.close(program):
        pass
    state = replay(engine, program)
    assert {a: amount for bucket in state.buckets.values() for a, amount in bucket.pairs} == dict(
        expected
    )


@pytest.mark.parametrize("families", [1, 3])
def test_many_random_looking_accounts(engine: Engine, families: int) -> None:
    """150 accounts over several buckets and closings all stand at home, in every family."""
    program = engine.program(families=families)
    for start in range(0, 150, 50):
        engine.take_in(
            program, [report(f"{start} {i}", f"crowd {i}", i + 1) for i in range(start + 50)]
        )
        engine.settle(program)
    state = replay(engine, program)
    assert len(state.home) == 150
    for a, (bucket, _) in state.home.items():
        assert bucket % families == family(a, families)
