"""Reversals: the exact opposite of one reward, at most once, and only while no batch holds it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from backend.errors import Conflict, NotFound
from backend.interaction.models import Interaction
from backend.interaction.repository import mark_reversed
from backend.invariant import check_all
from backend.ledger import blocks, repository
from backend.ledger import service as ledger
from backend.ledger.models import LedgerTransactionKind
from backend.payout import service as payouts
from backend.program import repository as programs
from backend.program.models import Program
from tests.support.engine import Engine, address, report

ALICE, BOB = address("alice"), address("bob")


@pytest.fixture
def program(engine: Engine) -> Program:
    """Alice has two rewards and Bob one, none of them batched; 850 are free."""
    made = engine.program(funded=1000)
    engine.take_in(made, [report("e1", ALICE, 100), report("e2", BOB, 30), report("e3", ALICE, 20)])
    return made


def row(engine: Engine, program: Program, event: str) -> Interaction:
    with engine.database.transaction() as session:
        query = select(Interaction).where(
            Interaction.program_id == program.id, Interaction.event_id == event
        )
        return session.scalars(query).one()


def reverse(engine: Engine, program: Program, event: str, reference: str = "case 1") -> bool:
    """What a caller does: lock the budget, mark, book."""
    interaction_id = row(engine, program, event).id
    with engine.database.transaction() as session:
        ledger.available_budget(session, program.id, lock=True)
        return mark_reversed(session, program.id, interaction_id) and ledger.book_reversal(
            session, program.id, reference, interaction_id
        )


def money(engine: Engine, program: Program) -> tuple[int, int, int]:
    """(budget, owed to Alice, owed to Bob)."""
    return (engine.budget(program), engine.owed(program, ALICE), engine.owed(program, BOB))


def findings(engine: Engine, program: Program) -> list[str]:
    with engine.database.snapshot() as session:
        return check_all(session, program)


def test_exact_opposite(engine: Engine, program: Program) -> None:
    """The reward goes back to the budget, the account earns the rest, and every rule holds."""
    assert reverse(engine, program, "e1")
    assert money(engine, program) == (950, 20, 30)
    assert row(engine, program, "e1").state == "reversed"
    assert findings(engine, program) == []
    with engine.database.snapshot() as session:
        standing = payouts.standing(session, program, ALICE)
    assert (standing.earned, standing.pending) == (20, {"accepted": 20})


def test_a_reversed_interaction_is_not_batched(engine: Engine, program: Program) -> None:
    """The next batch holds what is left, and the chain pays no more than the ledger owes."""
    reverse(engine, program, "e1")
    [batch] = engine.settle(program)
    assert (batch.items, batch.total) == (2, 50)
    assert row(engine, program, "e1").batch_id is None
    assert findings(engine, program) == []


def test_twice(engine: Engine, program: Program) -> None:
    """A second reversal changes nothing: not under its reference, and not under another one."""
    assert reverse(engine, program, "e1")
    before = money(engine, program)
    assert not reverse(engine, program, "e1")
    assert not reverse(engine, program, "e1", "case 2")
    interaction_id = row(engine, program, "e1").id
    with engine.database.transaction() as session:
        assert not ledger.book_reversal(session, program.id, "case 1", interaction_id)
    engine.take_in(program, [report("more", ALICE, 500)])
    with (
        pytest.raises(IntegrityError, match="uq_ledger_entry_reverses_id"),
        engine.database.transaction() as session,
    ):
        ledger.book_reversal(session, program.id, "case 2", interaction_id)
    assert money(engine, program) == (before[0] - 500, before[1] + 500, before[2])
    assert findings(engine, program) == []


def test_a_reference_is_for_one_interaction(engine: Engine, program: Program) -> None:
    """A reference that reversed another interaction is refused, and the caller's mark goes with the
    transaction: a marked interaction without a reversal would be owed and never batched."""
    assert reverse(engine, program, "e1")
    with pytest.raises(Conflict, match="it reversed another interaction"):
        reverse(engine, program, "e2")
    assert row(engine, program, "e2").state == "accepted"
    assert reverse(engine, program, "e2", "case 2")
    assert findings(engine, program) == []


def test_several_at_once(engine: Engine, program: Program) -> None:
    """Of reversals of one reward that run at the same time, one books; the others say no."""
    start = threading.Barrier(4)

    def run(number: int) -> bool:
        start.wait(10)
        return reverse(engine, program, "e1", f"case {number}")

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(run, range(4)))
    assert sorted(outcomes) == [False, False, False, True]
    assert money(engine, program) == (950, 20, 30)
    assert findings(engine, program) == []


def test_batched_rewards_stay(engine: Engine, program: Program) -> None:
    """What a batch holds cannot be marked, and the database refuses a reversal of it."""
    engine.close(program)
    before = money(engine, program)
    assert not reverse(engine, program, "e1")
    interaction_id = row(engine, program, "e1").id
    with (
        pytest.raises(IntegrityError, match="reverses what it may not"),
        engine.database.transaction() as session,
    ):
        ledger.book_reversal(session, program.id, "case 1", interaction_id)
    assert money(engine, program) == before
    assert findings(engine, program) == []


def test_a_reversal_against_a_closing(engine: Engine, program: Program) -> None:
    """A batch closes and a reward is reversed at the same time: one of them has the interaction."""
    for number in range(5):
        engine.take_in(program, [report(f"race {number}", ALICE, 10)])
        start = threading.Barrier(2)

        def close(start: threading.Barrier = start) -> None:
            start.wait(10)
            engine.close(program)

        def take_back(number: int = number, start: threading.Barrier = start) -> bool:
            start.wait(10)
            interaction_id = row(engine, program, f"race {number}").id
            with engine.database.transaction() as session:
                programs.lock(session, program.id)
                ledger.available_budget(session, program.id, lock=True)
                return mark_reversed(session, program.id, interaction_id) and ledger.book_reversal(
                    session, program.id, f"race {number}", interaction_id
                )

        with ThreadPoolExecutor(2) as pool:
            closing, reversal = pool.submit(close), pool.submit(take_back)
            closing.result()
            reversed_ = reversal.result()
        held = row(engine, program, f"race {number}").batch_id is not None
        assert held != reversed_
        assert findings(engine, program) == []


def test_held_rewards_have_nothing_to_reverse(engine: Engine, program: Program) -> None:
    """An interaction that waits for funds has no entry."""
    engine.take_in(program, [report("large", BOB, 10**6)])
    assert not reverse(engine, program, "large")
    with pytest.raises(NotFound, match="no reward"), engine.database.transaction() as session:
        ledger.book_reversal(session, program.id, "x", row(engine, program, "large").id)
    other = engine.program(funded=10)
    with pytest.raises(NotFound, match="no reward"), engine.database.transaction() as session:
        ledger.book_reversal(session, other.id, "x", row(engine, program, "e1").id)


WRONG = {
    "part of it": (LedgerTransactionKind.REVERSAL, ALICE, 99, "e1"),
    "on another account": (LedgerTransactionKind.REVERSAL, BOB, 30, "e1"),
    "no entry named": (LedgerTransactionKind.REVERSAL, ALICE, 100, None),
    "another kind": (LedgerTransactionKind.CLAIM, ALICE, 100, "e1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_but_the_opposite_is_refused(engine: Engine, program: Program, name: str) -> None:
    """The database admits the exact opposite of the named entry and nothing else."""
    kind, holder, amount, event = WRONG[name]
    accounts = text(
        "SELECT id FROM ledger_account WHERE program_id = :id AND kind = :kind AND holder = :holder"
    )

    def book(session: Session) -> None:
        mark_reversed(session, program.id, row(engine, program, "e1").id)
        entry = event and repository.reward_entry(
            session, program.id, row(engine, program, event).id
        )
        account, budget = (
            session.scalars(accounts, {"id": program.id, "kind": kind, "holder": whose}).one()
            for kind, whose in (("account", holder), ("budget", ""))
        )
        id_ = repository.insert_transaction(session, program.id, kind, "by hand")
        assert id_ is not None
        legs = [
            repository.NewEntry(account, amount, reverses_id=entry.id if entry else None),
            repository.NewEntry(budget, -amount),
        ]
        repository.insert_entries(session, id_, legs)

    with (
        pytest.raises(IntegrityError, match="reverses what it may not"),
        engine.database.transaction() as session,
    ):
        book(session)
    assert findings(engine, program) == []


def test_a_reversed_interaction_never_changes(engine: Engine, program: Program) -> None:
    """The mark cannot be taken back: what is reversed can never be batched."""
    reverse(engine, program, "e1")
    for change in ("UPDATE interaction SET state = 'accepted'", "DELETE FROM interaction"):
        with pytest.raises(DBAPIError, match="refused"), engine.database.transaction() as session:
            session.execute(text(f"{change} WHERE id = :id"), {"id": row(engine, program, "e1").id})


def test_the_hash_chain_covers_it(own_engine: Engine) -> None:
    """The block's hash says which entry was reversed."""
    program = own_engine.program(funded=1000)
    own_engine.take_in(program, [report("e1", ALICE, 10), report("e2", ALICE, 10)])
    reverse(own_engine, program, "e1")
    with own_engine.database.transaction() as session:
        programs.lock(session, program.id)
        blocks.seal(session, program.id)
    assert findings(own_engine, program) == []
    with own_engine.database.transaction() as session:
        other = repository.reward_entry(session, program.id, row(own_engine, program, "e2").id)
        assert other is not None
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("UPDATE ledger_entry SET reverses_id = :id WHERE reverses_id IS NOT NULL"),
            {"id": other.id},
        )
    rules = {finding.partition(":")[0] for finding in findings(own_engine, program)}
    assert rules == {"ledger_chained", "interactions_booked"}
