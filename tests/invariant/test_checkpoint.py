"""On a schedule the rules read what is new; what they have read before is for the check from the
beginning."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update

from backend import tasks
from backend.invariant import check_all, check_on_schedule, checkpoint
from backend.invariant.checkpoint import NOTHING, Checked
from backend.invariant.models import InvariantCheckpoint
from backend.kit.time import utc_now
from backend.program.models import Program
from tests.support.anvil import anvil
from tests.support.engine import Engine, address, report
from tests.support.onchain import OnChain, on_chain

ALICE = address("alice")


def findings(engine: Engine, program: Program, checked: Checked) -> list[str]:
    with engine.database.snapshot() as session:
        return check_all(session, program, checked=checked)


def tamper(engine: Engine, statement: str) -> None:
    """Change a row behind the triggers' back."""
    with engine.database.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("ALTER TABLE interaction DROP CONSTRAINT ck_interaction_held_is_not_batched")
        )
        assert session.execute(text(statement.format(alice=ALICE))).rowcount, statement


@pytest.fixture
def grown(own_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> tuple[Program, Checked]:
    """A program with a past that was checked, and as much again since; one interaction was held
    then and is accepted now."""
    monkeypatch.setattr(checkpoint, "SETTLED_SECONDS", 0)
    program = own_engine.program(funded=1000)
    own_engine.take_in(
        program,
        [report("old 1", ALICE, 100), report("old 2", "bob", 7), report("released", ALICE, 5000)],
    )
    own_engine.settle(program)
    assert findings(own_engine, program, NOTHING) == []
    with own_engine.database.snapshot() as session:
        checked = checkpoint.reached(session, program.id)
    assert checked == Checked(interaction_id=3, transaction_id=2, batch_id=1, block_height=1)
    assert own_engine.fund(program, 10_000) == 1
    own_engine.take_in(program, [report("new 1", ALICE, 10), report("new 2", "cat", 3)])
    own_engine.settle(program)
    own_engine.claim(program, ALICE, 40)
    own_engine.take_in(program, [report("open", ALICE, 3)])
    assert findings(own_engine, program, checked) == findings(own_engine, program, NOTHING) == []
    return program, checked


NEW = {
    "a new entry": (
        "ledger_balanced",
        "UPDATE ledger_entry SET amount = amount - 1 WHERE id = (SELECT max(id) FROM ledger_entry)",
    ),
    "a new reference": (
        "ledger_chained",
        "UPDATE ledger_transaction SET reference = 'x' WHERE id = 4",
    ),
    "a new block": (
        "ledger_chained",
        "UPDATE ledger_block SET hash = sha256('x') WHERE height = 2",
    ),
    "the block that the new ones stand on": (
        "ledger_chained",
        "UPDATE ledger_block SET hash = sha256('x') WHERE height = 1",
    ),
    "a new transaction out of the queue": ("ledger_chained", "DELETE FROM ledger_unsealed"),
    "a new interaction": (
        "interactions_booked",
        "UPDATE interaction SET amount = amount + 1 WHERE event_id = 'open'",
    ),
    "one released since": (
        "interactions_booked",
        "UPDATE interaction SET account = '0x' WHERE event_id = 'released'",
    ),
    "a new stray entry": (
        "interactions_booked",
        "UPDATE ledger_entry SET interaction_id = NULL WHERE id = (SELECT max(id) - 1 FROM "
        "ledger_entry)",
    ),
    "a new batch's total": (
        "batches_follow",
        "UPDATE batch SET total = total + 1 WHERE sequence = 2",
    ),
    "a new slot's past": (
        "batches_follow",
        "UPDATE batch_account SET cumulative = cumulative + 1 WHERE sequence = 2 AND slot = 0",
    ),
    "a new slot's address": (
        "batches_follow",
        "UPDATE batch_account SET address = '0x' WHERE sequence = 2 AND slot = 0",
    ),
    "the past that a new slot stands on": (
        "batches_follow",
        "UPDATE batch_account SET cumulative = cumulative + 1 WHERE sequence = 1",
    ),
    "an old balance": (
        "ledger_balanced",
        "UPDATE ledger_account SET balance = balance - 1 WHERE kind = 'budget'",
    ),
    "an old claim": ("claims_covered", "UPDATE account SET claimed = 0 WHERE address = '{alice}'"),
}


@pytest.mark.parametrize("name", NEW)
def test_what_is_new_is_read(own_engine: Engine, grown: tuple[Program, Checked], name: str) -> None:
    """Whatever is broken in what is new, or in what it stands on, is found without reading the
    past."""
    rule, statement = NEW[name]
    tamper(own_engine, statement)
    assert rule in {finding.partition(":")[0] for finding in findings(own_engine, *grown)}, name


OLD = {
    "an old reference": (
        "ledger_chained",
        "UPDATE ledger_transaction SET reference = 'x' WHERE id = 2",
    ),
    "an old interaction": (
        "interactions_booked",
        "UPDATE interaction SET account = '0x' WHERE event_id = 'old 2'",
    ),
    "an old batch's total": (
        "batches_follow",
        "UPDATE batch SET items = items + 1 WHERE sequence = 1",
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_what_is_old_is_read_from_the_beginning(
    own_engine: Engine, grown: tuple[Program, Checked], name: str
) -> None:
    """The past is not read again and again: what is broken in it is found by the check from the
    beginning."""
    rule, statement = OLD[name]
    tamper(own_engine, statement)
    assert findings(own_engine, *grown) == []
    assert rule in {
        finding.partition(":")[0] for finding in findings(own_engine, grown[0], NOTHING)
    }, name


def test_what_may_not_be_committed_is_read_again(own_engine: Engine) -> None:
    """Ids younger than any transaction can be are never taken for checked: one below may still be
    on its way."""
    program = own_engine.program()
    own_engine.take_in(program, [report("e1")])
    own_engine.settle(program)
    with own_engine.database.snapshot() as session:
        assert checkpoint.reached(session, program.id) == Checked(block_height=1)


@pytest.fixture
def program(own_engine: Engine, tmp_path: Path) -> Iterator[OnChain]:
    with anvil() as chain, on_chain(own_engine, chain, tmp_path) as made:
        yield made


def marked(program: OnChain) -> InvariantCheckpoint | None:
    with program.engine.database.transaction() as session:
        return session.get(InvariantCheckpoint, program.id)


def test_schedule(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run goes on where the last one ended, and once in a while at the beginning. One that
    finds something marks nothing."""
    monkeypatch.setattr(checkpoint, "SETTLED_SECONDS", 0)
    assert check_on_schedule(program.context, program.id) == []
    first = marked(program)
    program.reward([("ann", 10)])
    assert check_on_schedule(program.context, program.id) == []
    second = marked(program)
    assert (first.interaction_id, second.interaction_id, second.full_at) == (0, 1, first.full_at)

    tamper(program.engine, "UPDATE interaction SET occurred_at = occurred_at, account = '0x'")
    assert check_on_schedule(program.context, program.id) == []
    with program.engine.database.transaction() as session:
        long_ago = utc_now() - timedelta(seconds=program.context.settings.invariants_full_seconds)
        session.execute(update(InvariantCheckpoint).values(full_at=long_ago))
    assert [
        finding.partition(":")[0] for finding in check_on_schedule(program.context, program.id)
    ] == ["interactions_booked"]
    assert marked(program).full_at == long_ago


def test_runs_do_not_pile_up(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one run goes on, another one ends at once; after it the next one checks again, and
    halts a program that is broken."""
    monkeypatch.setattr(tasks, "_context", lambda: program.context)
    tamper(program.engine, "UPDATE ledger_account SET balance = balance - 1 WHERE kind = 'budget'")
    with program.context.database.advisory_lock("invariants") as mine:
        assert mine
        tasks.check_invariants()
    assert program.row.halted is None
    tasks.check_invariants()
    assert "an invariant is broken: ledger_balanced" in program.row.halted
