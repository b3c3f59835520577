"""What waits in one bucket holds up no other, a closing is short however much waits, and a bucket's
past costs nothing."""

from collections import Counter

import pytest
from sqlalchemy import text

from backend.batch import plan, repository
from backend.batch.models import Batch, BatchState
from backend.batch.plan import BATCHES_PER_CLOSING, UNDER_WAY_MAX
from backend.batch.quarantine import quarantine
from backend.program.models import Program
from prover.state import family
from tests.batch.test_close import age, closed_pairs, items_of, members, pairs, replay
from tests.support.engine import Engine, address, report
from tests.support.reads import rows_read


def opened(
    engine: Engine, buckets: int, items_max: int, **changes: int
) -> tuple[Program, list[list[str]]]:
    """A program of batches of `items_max` with so many full buckets, and who lives in each."""
    program = engine.program(items_max=32, **changes)
    names = members(0, 1, 32 * buckets)
    engine.take_in(program, [report(f"opens {a}", a) for a in names])
    engine.settle(program)
    with engine.database.transaction() as session:
        session.merge(program).batch_items_max = items_max
    return program, [names[32 * bucket : 32 * (bucket + 1)] for bucket in range(buckets)]


def drain(engine: Engine, program: Program, force: bool = False) -> list[Batch]:
    """Close as the workers do, until nothing is due."""
    closed = []
    while batches := engine.close(program, force):
        assert len(batches) <= BATCHES_PER_CLOSING
        closed += batches
    return closed


@pytest.mark.slow
def test_full_batches_over_many_buckets(engine: Engine) -> None:
    """Rewards that alternate between 20 buckets are closed in full batches, the oldest of each
    bucket first, as they are in one bucket."""
    program, slots = opened(engine, 20, 4)
    engine.take_in(
        program,
        [
            report(f"{turn} {bucket}", slots[bucket][turn])
            for turn in range(9)
            for bucket in range(20)
        ],
    )
    batches = drain(engine, program)
    assert Counter(closed_pairs(batches)) == Counter(
        (bucket, sequence, 4) for bucket in range(20) for sequence in (2, 3)
    )
    for batch in batches:
        first = 4 * (batch.sequence - 2)
        assert [row.event_id for row in items_of(engine, batch)] == [
            f"{first + i} {batch.bucket}" for i in range(4)
        ]
    age(engine, program, 3601)
    assert drain(engine, program) == []  # something of each bucket is under way
    for batch in batches:
        engine.finalize(program, batch)
    assert sorted(closed_pairs(drain(engine, program))) == [(bucket, 4, 1) for bucket in range(20)]
    replay(engine, program)


def test_a_closing_is_bounded(engine: Engine) -> None:
    """However many buckets are due, a transaction closes a few, those first whose oldest reward has
    waited longest; the next go on."""
    program, slots = opened(engine, 9, 32)
    order = [5, 2, 8, 0, 7, 1, 3, 6, 4]
    engine.take_in(program, [report(f"one {bucket}", slots[bucket][0]) for bucket in order])
    rounds = []
    while batches := engine.close(program):
        rounds.append([batch.bucket for batch in batches])
    assert rounds == [[0, 2, 5, 8], [1, 3, 6, 7], [4]]


def test_openings_go_on_over_closings(engine: Engine) -> None:
    """Newcomers for more buckets than one closing makes are opened bucket after bucket, none before
    the one below it is full."""
    program = engine.program()
    names = members(0, 1, 32 * 9 + 5, "crowd")
    engine.take_in(program, [report(a, a) for a in names])
    batches = drain(engine, program)
    assert closed_pairs(batches) == [(bucket, 1, 32) for bucket in range(9)]
    assert closed_pairs(drain(engine, program, force=True)) == [(9, 1, 5)]
    assert [a for bucket in range(10) for a, _ in pairs(engine, program, bucket, 1)] == [
        int(a, 16) for a in names
    ]
    replay(engine, program)


def test_what_is_opened_below_comes_first(engine: Engine) -> None:
    """A bucket that opens accounts is not closed before the lower one that it rests on, whoever has
    waited longer."""
    drafts = {
        bucket: plan.Draft(bucket, rows=[Row(first)], opened=opens)
        for bucket, first, opens in OPENINGS
    }
    assert list(plan.first_in_turn(drafts, 1)) == [7, 8, 9, 0]
    del drafts[7], drafts[8]
    assert list(plan.first_in_turn(drafts, 1)) == [9, 0, 1, 2]


class Row:
    """As much of an interaction as the turn depends on."""

    def __init__(self, id_: int) -> None:
        self.id = id_


OPENINGS = [
    (0, 50, ["a"]),
    (1, 30, ["b"]),
    (2, 20, ["c"]),
    (3, 70, []),
    (7, 1, []),
    (8, 2, []),
    (9, 3, []),
]


@pytest.mark.slow
def test_a_busy_bucket_holds_up_no_other(engine: Engine) -> None:
    """A bucket with a backlog closes a few batches ahead and goes on when one lands; what came
    later for another bucket does not wait."""
    program, slots = opened(engine, 2, 2)
    engine.take_in(program, [report(f"hot {i}", slots[0][0]) for i in range(70)])
    engine.take_in(program, [report(f"late {i}", slots[1][0]) for i in range(2)])
    batches = drain(engine, program)
    assert Counter(batch.bucket for batch in batches) == {0: UNDER_WAY_MAX, 1: 1}
    assert drain(engine, program) == []
    engine.finalize(program, batches[0])
    assert closed_pairs(drain(engine, program)) == [(0, 2 + UNDER_WAY_MAX, 2)]
    assert len(drain(engine, program, force=True)) == 35 - UNDER_WAY_MAX - 1
    replay(engine, program)


@pytest.mark.slow
def test_unassigned_accounts_of_a_busy_family_hold_up_no_other(engine: Engine) -> None:
    """While a quarantine group is under way where a family opens accounts, the family's unassigned
    accounts wait, however many; those of other families do not."""
    program = engine.program(families=3, items_max=2)
    own, other = members(0, 3, 102, "own"), members(1, 3, 2, "other")
    engine.take_in(program, [report(a, a) for a in own[:2]])
    (batch,) = engine.close(program)
    with engine.database.transaction() as session:
        quarantine(session, program.id, batch.id, "for the test", 0)
    (group,) = engine.close(program, force=False)
    assert group.quarantine_group is not None
    engine.take_in(program, [report(a, a) for a in (*own[2:], *other)])
    assert closed_pairs(drain(engine, program)) == [(1, 1, 2)]
    engine.finalize(program, group)
    assert drain(engine, program)[0].quarantine_group not in (None, group.quarantine_group)
    replay_after_groups(engine, program)


def replay_after_groups(engine: Engine, program: Program) -> None:
    """Land everything, one quarantine group after another."""
    while True:
        drain(engine, program, force=True)
        with engine.database.transaction() as session:
            queued = repository.open_batches(session, program.id)
        if not queued:
            break
        for batch in queued:
            engine.finalize(program, batch)
    with engine.database.transaction() as session:
        assert sum(repository.opened(session, program.id).values()) == 104


def test_one_newcomer_does_not_hide_the_others(engine: Engine) -> None:
    """A newcomer with rewards for many batches leaves room for those behind it to be seen and
    counted."""
    program = engine.program(items_max=4)
    engine.take_in(
        program, [report(f"greedy {i}", "greedy") for i in range(100)] + [report("late", "late")]
    )
    batches = drain(engine, program, force=True)
    assert sorted(batch.items for batch in batches) == [1] + [4] * 25
    assert len(replay(engine, program).home) == 2


@pytest.mark.parametrize("families", [1, 3])
def test_a_free_slot_is_found_once(families: int) -> None:
    """The first bucket of a family with a free slot is looked for once, not for each newcomer from
    the bottom."""
    looked: Counter[int] = Counter()

    class Watched(Counter):
        def __getitem__(self, bucket: int) -> int:
            looked[bucket] += 1
            return super().__getitem__(bucket)

    slots = plan.Slots(families, 32, {})
    slots._opened = Watched(dict.fromkeys(range(900), 32))
    names = [address(f"room {i}") for i in range(100)]
    for name in names:
        bucket = slots.lowest_free(slots.family(name))
        assert (slots.family(name), bucket) == (
            family(int(name, 16), families),
            900 + slots.family(name),
        )
    assert max(looked[bucket] for bucket in range(900)) == 1


def test_history_costs_one_look_a_slot(own_engine: Engine) -> None:
    """What a bucket's accounts hold is read from their newest rows, however many batches there
    were, and at an old sequence as well."""
    program = own_engine.program()
    own_engine.take_in(program, [report(i, f"w{i}", 1 + i) for i in range(8)])
    own_engine.settle(program)
    with own_engine.database.transaction() as session:
        session.execute(text(_MORE_BATCHES), {"program": program.id, "state": BatchState.FINAL})
        session.execute(text(_MORE_ACCOUNTS), {"program": program.id})
        session.execute(text("ANALYZE batch, batch_account"))
    for sequence in (1, 700, 1001, 5000):
        with own_engine.database.transaction() as session:
            before = rows_read(session, "batch_account")
            found = repository.pairs_after(session, program.id, 0, sequence)
            read = rows_read(session, "batch_account") - before
        reached = min(sequence, 1001) - 1
        assert found == [(address(f"w{i}"), 1 + i + reached) for i in range(8)]
        assert 8 <= read <= 3 * 8, sequence


_COLUMNS = (
    "items, accounts_touched, total, old_root, new_root, items_root, interactions_root, "
    "ledger_head, deltas, prove_attempts, failures, waits"
)
_MORE_BATCHES = f"""
    INSERT INTO batch (id, program_id, bucket, sequence, state, {_COLUMNS})
    SELECT nextval(pg_get_serial_sequence('batch', 'id')), program_id, bucket, sequence + later,
      :state, {_COLUMNS}
    FROM batch, generate_series(1, 1000) AS later WHERE program_id = :program
"""
_MORE_ACCOUNTS = """
    INSERT INTO batch_account (batch_id, slot, program_id, bucket, sequence, address, delta,
      cumulative)
    SELECT batch.id, slot, batch.program_id, batch.bucket, batch.sequence, address, 1,
      cumulative + batch.sequence - 1
    FROM batch, batch_account WHERE batch.program_id = :program AND batch.sequence > 1
      AND batch_account.sequence = 1
"""
