"""The ledger as PostgreSQL keeps it: append-only, balanced, never overdrawn, each cause booked
once."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from backend.interaction.repository import mark_reversed
from backend.invariant import check_all
from backend.ledger import repository
from backend.ledger import service as ledger
from backend.ledger.models import LedgerAccountKind, LedgerTransactionKind
from backend.ledger.service import Reward
from backend.migrations import upgrade
from backend.program.models import Program
from tests.ledger.model import PlainLedger
from tests.support.engine import Engine, address, report

ALICE, BOB = address("alice"), address("bob")


def holds(engine: Engine, program: Program) -> None:
    with engine.database.snapshot() as session:
        assert check_all(session, program) == []


def counts(engine: Engine, program: Program) -> tuple[int, int]:
    """(transactions, entries) of a program."""
    query = text("""
        SELECT count(DISTINCT movement.id), count(entry.id) FROM ledger_transaction AS movement
        LEFT JOIN ledger_entry AS entry ON entry.transaction_id = movement.id WHERE program_id = :id
    """)
    with engine.database.transaction() as session:
        return tuple(session.execute(query, {"id": program.id}).one())


@pytest.fixture
def booked(engine: Engine) -> Program:
    """A program with every kind of row that is written once."""
    program = engine.program(funded=1000)
    engine.take_in(program, [report("e1", ALICE, 100), report("e2", BOB, 50)])
    engine.settle(program)
    engine.claim(program, ALICE, 40)
    return program


APPEND_ONLY = (
    "ledger_transaction",
    "ledger_entry",
    "ledger_block",
    "ledger_block_transaction",
    "delivery",
    "claim",
    "batch_account",
)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {0} SET {1} = {1}",
        "DELETE FROM {0}",
        "DELETE FROM {0} WHERE false",
        "TRUNCATE {0} CASCADE",
    ],
)
def test_written_once(engine: Engine, booked: Program, table: str, change: str) -> None:
    """No UPDATE, DELETE or TRUNCATE of what is written once gets past the database, whoever asks
    for it."""
    column = {"ledger_block_transaction": "position", "batch_account": "delta"}.get(table, "id")
    with (
        pytest.raises(DBAPIError, match="is append-only"),
        engine.database.transaction() as session,
    ):
        session.execute(text(change.format(table, column)))
    holds(engine, booked)


def insert_entries(
    engine: Engine, program: Program, legs: list[tuple[int, int]], reference: str = "by hand"
) -> None:
    with engine.database.transaction() as session:
        id_ = repository.insert_transaction(
            session, program.id, LedgerTransactionKind.FUND, reference
        )
        repository.insert_entries(
            session, id_, [repository.NewEntry(account, amount) for account, amount in legs]
        )


@pytest.mark.parametrize(
    "amounts", [(1,), (0,), (1, -2), (5, 5), (2**255, 1 - 2**255), (3, -1, -1)]
)
def test_unbalanced_transaction(engine: Engine, booked: Program, amounts: tuple[int, ...]) -> None:
    """Legs that do not sum to zero, or a single one, are refused by the database, and the
    transaction leaves nothing."""
    before = counts(engine, booked)
    with engine.database.transaction() as session:
        account = session.scalar(
            text("SELECT id FROM ledger_account WHERE program_id = :id LIMIT 1"), {"id": booked.id}
        )
    with pytest.raises(IntegrityError, match="does not sum to zero"):
        insert_entries(engine, booked, [(account, amount) for amount in amounts])
    assert counts(engine, booked) == before


def test_overdrafts(engine: Engine, booked: Program) -> None:
    """Neither an account nor the reserve can be taken below zero, nor the budget by a reward; what
    fails leaves nothing behind."""
    before = counts(engine, booked)

    def refused(kind: type[Exception], book: object, *arguments: object) -> None:
        with pytest.raises(kind), engine.database.transaction() as session:
            book(session, booked.id, "too much", *arguments)

    refused(IntegrityError, ledger.book_withdrawal, 961)
    refused(IntegrityError, ledger.book_claim, ALICE, 61)
    refused(IntegrityError, ledger.book_claim, BOB, 51)
    refused(LookupError, ledger.book_claim, address("nobody"), 1)
    refused(IntegrityError, ledger.book_rewards, [Reward(10**9, ALICE, 851)])
    assert counts(engine, booked) == before
    holds(engine, booked)
    with engine.database.transaction() as session:
        assert ledger.book_withdrawal(session, booked.id, "all of it", 850)
        assert ledger.book_claim(session, booked.id, "rest a", ALICE, 60)
        assert ledger.book_claim(session, booked.id, "rest b", BOB, 50)
        assert (
            ledger.reserve(session, booked.id) == ledger.available_budget(session, booked.id) == 0
        )


def test_deficit(engine: Engine) -> None:
    """A withdrawal of what is promised is booked as what it is. Until funding has filled the
    deficit nothing is accepted, nor released."""
    program = engine.program(funded=1000)
    engine.take_in(program, [report("e1", ALICE, 800)])
    with engine.database.transaction() as session:
        assert ledger.book_withdrawal(session, program.id, "w", 1000)
    assert (engine.budget(program), engine.owed(program, ALICE)) == (-800, 800)
    (answer,) = engine.take_in(program, [report("e2", BOB, 1)])
    assert (answer.outcome, answer.reason) == ("held", "budget_exhausted")
    with engine.database.transaction() as session:
        row = session.execute(
            text("SELECT max(id) FROM interaction WHERE program_id = :id"), {"id": program.id}
        ).scalar()
    with (
        pytest.raises(IntegrityError, match="more than the budget holds"),
        engine.database.transaction() as session,
    ):
        ledger.book_rewards(session, program.id, "by hand", [Reward(row, BOB, 1)])
    holds(engine, program)
    assert [engine.fund(program, amount) for amount in (799, 1, 1)] == [0, 0, 1]
    assert (engine.budget(program), engine.owed(program, BOB)) == (0, 1)
    holds(engine, program)


def test_a_reward_beyond_the_budget_is_found(engine: Engine) -> None:
    """A reward that was booked behind the trigger's back while nothing covered it is found, also
    after funding."""
    program = engine.program(funded=10)
    engine.take_in(program, [report("e1", ALICE, 11)])
    with engine.database.transaction() as session:
        row = session.execute(
            text("SELECT id FROM interaction WHERE program_id = :id"), {"id": program.id}
        ).scalar()
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("UPDATE interaction SET state = 'accepted', held_reason = NULL WHERE id = :id"),
            {"id": row},
        )
        ledger.book_rewards(session, program.id, "uncovered", [Reward(row, ALICE, 11)])
    engine.fund(program, 100)
    with engine.database.snapshot() as session:
        (finding,) = check_all(session, program)
    assert finding.startswith("rewards_covered: ")


@pytest.mark.parametrize("kind", ["fund", "claim", "withdraw"])
def test_each_cause_once(engine: Engine, booked: Program, kind: str) -> None:
    """Booked again under its reference, a cause changes nothing and says so; another reference,
    kind or program is another cause."""

    def book(program: Program, reference: str) -> bool:
        with engine.database.transaction() as session:
            if kind == "claim":
                return ledger.book_claim(session, program.id, reference, BOB, 5)
            return {"fund": ledger.book_funding, "withdraw": ledger.book_withdrawal}[kind](
                session, program.id, reference, 5
            )

    before = counts(engine, booked)
    assert [book(booked, reference) for reference in ("7:1", "7:1", "7:2", "7:1")] == [
        True,
        False,
        True,
        False,
    ]
    assert counts(engine, booked) == (before[0] + 2, before[1] + 4)
    with engine.database.transaction() as session:
        assert ledger.book_funding(session, booked.id, "7:1 of another kind", 1)
    other = engine.program(funded=100)
    engine.take_in(other, [report("e", BOB, 50)])
    assert book(other, "7:1")


def test_rewards_once(engine: Engine) -> None:
    """The same rewards cannot be booked twice: not under their reference, and not under another,
    for an interaction has one entry."""
    program = engine.program(funded=1000)
    engine.take_in(program, [report("e1", ALICE, 100)])
    with engine.database.transaction() as session:
        row = session.execute(
            text("SELECT id FROM interaction WHERE program_id = :id"), {"id": program.id}
        ).scalar()
    with (
        pytest.raises(AssertionError, match="booked already"),
        engine.database.transaction() as session,
    ):
        ledger.book_rewards(
            session, program.id, f"interactions from {row}", [Reward(row, ALICE, 100)]
        )
    with pytest.raises(IntegrityError), engine.database.transaction() as session:
        ledger.book_rewards(session, program.id, "under another name", [Reward(row, ALICE, 100)])
    assert engine.owed(program, ALICE) == 100
    holds(engine, program)


def test_amounts_of_any_size(engine: Engine) -> None:
    """Amounts beyond 64 and 128 bits are exact, as far as a uint256 goes."""
    program = engine.program(funded=2**256 - 1)
    assert engine.budget(program) == 2**256 - 1
    with engine.database.transaction() as session:
        assert ledger.book_withdrawal(session, program.id, "w", 2**255)
    assert engine.budget(program) == 2**255 - 1


def test_amount_refuses_floats(engine: Engine) -> None:
    """A float never becomes money, even one that is a whole number."""
    program = engine.program(funded=10)
    with (
        pytest.raises(Exception, match="expected an int"),
        engine.database.transaction() as session,
    ):
        repository.shrink_balance(session, program.id, LedgerAccountKind.BUDGET, "", 1.0)


def test_balance_disagreeing_with_entries_is_found(engine: Engine) -> None:
    """A balance that somebody changed by hand is found against its entries."""
    program = engine.program(funded=10)
    change = (
        "UPDATE ledger_account SET balance = balance - 1 WHERE program_id = :id AND kind = 'budget'"
    )
    with engine.database.transaction() as session:
        session.execute(text(change), {"id": program.id})
    with engine.database.snapshot() as session:
        assert [finding.split(":")[0] for finding in check_all(session, program)] == [
            "ledger_balanced"
        ]


amounts = st.integers(1, 40)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("fund"), st.just(""), amounts),
        st.tuples(st.just("reward"), st.sampled_from("abc"), amounts),
        st.tuples(st.just("claim"), st.sampled_from("abc"), amounts),
        st.tuples(st.just("withdraw"), st.just(""), amounts),
        st.tuples(st.just("reverse"), st.just(""), st.integers(0, 9)),
    ),
    min_size=1,
    max_size=25,
)


def reverse_one(engine: Engine, program: Program, model: PlainLedger, number: int) -> None:
    """Reverse the accepted interaction at this place, if there is one, here and in the model."""
    with engine.database.transaction() as session:
        found = session.execute(
            text(
                "SELECT id, account, amount FROM interaction WHERE program_id = :id "
                "AND state = 'accepted' ORDER BY id OFFSET :number LIMIT 1"
            ),
            {"id": program.id, "number": number},
        ).one_or_none()
    if found is None:
        return
    booked = False
    with contextlib.suppress(IntegrityError), engine.database.transaction() as session:
        ledger.available_budget(session, program.id, lock=True)
        assert mark_reversed(session, program.id, found.id)
        booked = ledger.book_reversal(session, program.id, f"reversal of {found.id}", found.id)
    assert booked == model.reverse(found.account, int(found.amount))


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps)
def test_random_bookings_against_a_plain_model(
    engine: Engine, script: list[tuple[str, str, int]]
) -> None:
    """Any sequence of fundings, rewards, claims, withdrawals and reversals leaves what a plain
    dictionary says; what is refused changes nothing."""
    program, model = engine.program(funded=0), PlainLedger()
    for number, (kind, name, amount) in enumerate(script):
        who = address(name)
        if kind == "fund":
            engine.fund(program, amount)
            model.fund(amount)
        elif kind == "reward":
            (answer,) = engine.take_in(program, [report(number, who, amount)])
            assert (answer.outcome == "accepted") == model.reward(who, amount)
        elif kind == "reverse":
            reverse_one(engine, program, model, amount)
        else:
            booked = False
            with (
                contextlib.suppress(IntegrityError, LookupError),
                engine.database.transaction() as session,
            ):
                if kind == "claim":
                    booked = ledger.book_claim(session, program.id, f"{number}", who, amount)
                else:
                    booked = ledger.book_withdrawal(session, program.id, f"{number}", amount)
            assert booked == (
                model.claim(who, amount) if kind == "claim" else model.withdraw(amount)
            )
    with engine.database.snapshot() as session:
        assert ledger.reserve(session, program.id) == model.reserve
        assert ledger.available_budget(session, program.id) == model.budget
        assert {name: ledger.owed(session, program.id, address(name)) for name in "abc"} == {
            name: model.owed[address(name)] for name in "abc"
        }
        assert model.reserve == model.budget + sum(model.owed.values())
        findings = [
            finding
            for finding in check_all(session, program)
            if not finding.startswith("claims_covered")
        ]
        assert findings == []


def test_migrations_are_repeatable(own_engine: Engine) -> None:
    """Migrating a database that is up to date changes nothing, also with rows in it."""
    program = own_engine.program(funded=10)
    upgrade(own_engine.database)
    assert own_engine.budget(program) == 10
