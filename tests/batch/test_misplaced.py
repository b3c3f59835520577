"""Batches that were closed under a former number of families: they open accounts where nobody signs
for it any more, and are made anew."""

import pytest
from sqlalchemy import select

from backend.account.models import Account
from backend.batch import repository
from backend.batch.models import Batch, BatchState
from backend.batch.quarantine import is_misplaced, replace_misplaced
from backend.errors import NotYet
from backend.interaction.models import Interaction
from backend.invariant import check_all
from backend.program.models import Program
from prover.state import family
from tests.batch.test_close import members
from tests.support.engine import Engine, report

BOOKED = 1_000_000


def set_families(engine: Engine, program: Program, families: int) -> None:
    with engine.database.transaction() as session:
        row = session.get_one(Program, program.id)
        row.families = program.families = families


def supersede(engine: Engine, program: Program, batch: Batch) -> list[tuple[int, int]]:
    with engine.database.transaction() as session:
        gone = replace_misplaced(session, program.id, batch.id, BOOKED)
        return [(row.bucket, row.sequence) for row in gone]


def assert_whole(engine: Engine, program: Program) -> None:
    with engine.database.snapshot() as session:
        assert check_all(session, program) == []


def homes(engine: Engine, program: Program) -> dict[str, int]:
    with engine.database.transaction() as session:
        query = select(Account.address, Account.bucket).where(Account.program_id == program.id)
        return dict(session.execute(query).all())


@pytest.fixture
def raised(engine: Engine) -> tuple[Program, list[Batch], list[str]]:
    """A program whose families were raised from one to two. Of its batches the first is final, the
    second opens an account of each new family, the third pays who was open before."""
    program = engine.program(families=1)
    old, left, right = members(0, 2, 1, "old")[0], members(0, 2, 1)[0], members(1, 2, 1)[0]
    batches = []
    for number, accounts in enumerate([[old], [left, right], [old]]):
        rewards = [report(f"e{number} {account}", account, 100) for account in accounts]
        engine.take_in(program, rewards)
        batches += engine.close(program)
    engine.finalize(program, batches[0])
    set_families(engine, program, 2)
    return program, batches, [old, left, right]


def test_a_batch_in_its_place_is_left_alone(
    engine: Engine, raised: tuple[Program, list[Batch], list[str]]
) -> None:
    """What opens nobody, and what opens accounts where they belong under either number."""
    program, (first, second, third), _ = raised
    assert [is_misplaced(batch, 2) for batch in (first, second, third)] == [False, True, False]
    assert supersede(engine, program, third) == []
    set_families(engine, program, 1)
    assert supersede(engine, program, second) == []


def test_it_is_batched_again(
    engine: Engine, raised: tuple[Program, list[Batch], list[str]]
) -> None:
    """With what was built on it: every reward lands in one batch more, each new account in a bucket
    of its own family, and the open account stays."""
    program, (_, second, third), (old, left, right) = raised
    assert supersede(engine, program, second) == [(0, 2), (0, 3)]
    assert supersede(engine, program, second) == []
    assert_whole(engine, program)
    assert homes(engine, program) == {old: 0}
    again = engine.close(program)
    assert [(batch.bucket, batch.total) for batch in again] == [(0, 200), (1, 100)]
    assert homes(engine, program) == {old: 0, left: 0, right: 1}
    assert_whole(engine, program)
    with engine.database.transaction() as session:
        rows = [session.get_one(Batch, batch.id) for batch in (second, third)]
        assert {row.state for row in rows} == {BatchState.SUPERSEDED}
        assert all("2 families" in (row.reason or "") for row in rows)
        query = select(Interaction.batch_id).where(Interaction.program_id == program.id)
        assert None not in set(session.scalars(query))


def test_what_can_still_land_waits(
    engine: Engine, raised: tuple[Program, list[Batch], list[str]]
) -> None:
    """A batch that was signed and proven is left until its signatures are dead: by their expiry, or
    by an epoch that began after them. A signature of that epoch itself is not dead."""
    program, (_, second, _), _ = raised
    with engine.database.transaction() as session:
        row = session.get_one(Batch, second.id)
        row.landable_until, row.attestor_epoch = BOOKED, 2
    with pytest.raises(NotYet, match="can still land"):
        supersede(engine, program, second)
    for epoch in (1, 2):
        with engine.database.transaction() as session:
            repository.bury(session, program.id, epoch)
        with pytest.raises(NotYet, match="can still land"):
            supersede(engine, program, second)
    with engine.database.transaction() as session:
        repository.bury(session, program.id, 3)
    assert supersede(engine, program, second) == [(0, 2), (0, 3)]


def test_accounts_of_the_first_number_stay_at_home(engine: Engine) -> None:
    """After a raise the invariant still holds for who was opened before, and still finds who is of
    no family that the bucket ever had."""
    program = engine.program(families=2)
    accounts = [members(own, 2, 3)[i] for own in (0, 1) for i in range(3)]
    engine.take_in(program, [report(f"e {name}", name, 5) for name in accounts])
    engine.close(program)
    set_families(engine, program, 16)
    assert any(
        family(int(name, 16), 16) != bucket for name, bucket in homes(engine, program).items()
    )
    assert_whole(engine, program)
    with engine.database.transaction() as session:
        row = session.get_one(Program, program.id)
        row.families_first = 4
        session.flush()
        assert any("is not of the family" in found for found in check_all(session, row))
        session.rollback()
