"""Each rule of conservation, broken once behind the triggers' back, is what speaks up."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from backend.chain.distributor import Totals
from backend.interaction.repository import mark_reversed
from backend.invariant import check_all
from backend.ledger import service as ledger
from backend.program.models import Program
from tests.support.engine import Engine, address, report

ALICE = address("alice")
COPIED = ", ".join(
    column.name
    for column in Program.__table__.columns
    if column.name not in ("id", "name", "distributor")
)


@pytest.fixture
def lived(own_engine: Engine) -> Program:
    """A program with every kind of row: final, closed, open and reversed interactions in three
    buckets of two sequences, held ones, a claim."""
    program = own_engine.program(funded=10_000, families=2)
    own_engine.take_in(
        program,
        [report(f"a{i}", f"w{i}", 10) for i in range(70)] + [report("alice 1", "alice", 100)],
    )
    own_engine.settle(program)
    own_engine.claim(program, ALICE, 40)
    own_engine.take_in(
        program,
        [report(f"b{i}", f"w{i}", 5) for i in range(0, 70, 7)] + [report("alice 2", "alice", 30)],
    )
    own_engine.close(program)
    own_engine.take_in(program, [report("open", "alice", 3), report("held", "bob", 10**6)])
    own_engine.take_in(program, [report("reversed", "alice", 7)])
    with own_engine.database.transaction() as session:
        id_ = session.scalars(text("SELECT max(id) FROM interaction")).one()
        mark_reversed(session, program.id, id_)
        ledger.book_reversal(session, program.id, "case", id_)
    assert findings(own_engine, program) == []
    return program


def findings(engine: Engine, program: Program, totals: Totals | None = None) -> list[str]:
    with engine.database.snapshot() as session:
        return check_all(session, program, totals)


BROKEN = {
    "a balance": (
        "ledger_balanced",
        "UPDATE ledger_account SET balance = balance - 1 WHERE kind = 'budget'",
    ),
    "an entry": ("ledger_balanced", "UPDATE ledger_entry SET amount = amount - 1 WHERE id = 5"),
    "an entry in another program's account": (
        "ledger_balanced",
        f"WITH other AS (INSERT INTO program (id, name, distributor, {COPIED}) "
        f"SELECT 99, 'other', 'x', {COPIED} FROM program RETURNING id) "
        "UPDATE ledger_account SET program_id = 99 WHERE kind = 'account' AND holder = '{alice}'",
    ),
    "a sealed reference": (
        "ledger_chained",
        "UPDATE ledger_transaction SET reference = 'x' WHERE id = 1",
    ),
    "a ledger head": (
        "ledger_chained",
        "UPDATE batch SET ledger_head = sha256('x') WHERE sequence = 2",
    ),
    "a queue entry": ("ledger_chained", "DELETE FROM ledger_unsealed"),
    "an accepted amount": (
        "interactions_booked",
        "UPDATE interaction SET amount = amount + 1 WHERE event_id = 'open'",
    ),
    "an accepted account": (
        "interactions_booked",
        "UPDATE interaction SET account = '{bob}' WHERE event_id = 'open'",
    ),
    "an acceptance without money": (
        "interactions_booked",
        "UPDATE interaction SET state = 'accepted', held_reason = NULL WHERE event_id = 'held'",
    ),
    "a hold after booking": (
        "interactions_booked",
        "UPDATE interaction SET state = 'held', held_reason = 'x' WHERE event_id = 'open'",
    ),
    "an interaction deleted": (
        "interactions_booked",
        "UPDATE ledger_entry SET interaction_id = NULL WHERE amount = -3",
    ),
    "a mark taken back": (
        "interactions_booked",
        "UPDATE interaction SET state = 'accepted' WHERE event_id = 'reversed'",
    ),
    "a mark without a reversal": (
        "interactions_booked",
        "UPDATE interaction SET state = 'reversed' WHERE event_id = 'open'",
    ),
    "a reversal of nothing": (
        "interactions_booked",
        "UPDATE ledger_entry SET reverses_id = NULL WHERE amount = 7",
    ),
    "a reversal of another amount": (
        "interactions_booked",
        "UPDATE ledger_entry SET amount = 6 WHERE amount = 7 AND reverses_id IS NOT NULL",
    ),
    "a batch removed": ("batches_follow", "DELETE FROM batch WHERE sequence = 1 AND bucket = 0"),
    "a root": (
        "batches_follow",
        "UPDATE batch SET new_root = new_root + 1 WHERE sequence = 1 AND bucket = 0",
    ),
    "final before its turn": (
        "batches_follow",
        "UPDATE batch SET state = CASE sequence WHEN 1 THEN 'posted' ELSE 'final' END WHERE "
        "bucket = 0",
    ),
    "a batch's total": (
        "batches_follow",
        "UPDATE batch SET total = total + 1 WHERE sequence = 2 AND bucket = 0",
    ),
    "an item moved out": (
        "batches_follow",
        "UPDATE interaction SET batch_id = NULL, item_index = NULL WHERE event_id = 'alice 2'",
    ),
    "an item index": (
        "batches_follow",
        "UPDATE interaction SET item_index = item_index + 100 WHERE event_id = 'alice 2'",
    ),
    "a slot's delta": (
        "batches_follow",
        "UPDATE batch_account SET delta = delta + 1 "
        "WHERE sequence = 2 AND slot = (SELECT max(slot) FROM batch_account WHERE sequence = 2)",
    ),
    "a slot's address": (
        "batches_follow",
        "UPDATE batch_account SET address = '{bob}' WHERE sequence = 2 AND address = '{alice}'",
    ),
    "an account of another family": (
        "accounts_at_home",
        "UPDATE account SET bucket = bucket + 1 WHERE bucket = (SELECT max(bucket) FROM account)",
    ),
    "a gap in the slots": (
        "accounts_at_home",
        "UPDATE account SET slot = slot + 1 "
        "WHERE slot = (SELECT max(slot) FROM account WHERE bucket = 0) AND bucket = 0",
    ),
    "an account removed": ("accounts_at_home", "DELETE FROM account WHERE bucket = 0 AND slot = 3"),
    "claimed beyond posted": (
        "claims_covered",
        "UPDATE account SET claimed = posted + 1 WHERE address = '{alice}'",
    ),
    "posted without a batch": (
        "claims_covered",
        "UPDATE account SET posted = posted + 1 WHERE address = '{alice}'",
    ),
    "a claim changed": ("claims_covered", "UPDATE claim SET amount = amount - 1"),
    "a claim removed": ("claims_covered", "DELETE FROM claim"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_named(own_engine: Engine, lived: Program, name: str) -> None:
    """Whatever is broken, the rule that it breaks says so."""
    rule, statement = BROKEN[name]
    with own_engine.database.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("ALTER TABLE interaction DROP CONSTRAINT ck_interaction_held_is_not_batched")
        )
        assert session.execute(text(statement.format(alice=ALICE, bob=address("bob")))).rowcount
    assert rule in {finding.partition(":")[0] for finding in findings(own_engine, lived)}, name


def test_chain_totals(own_engine: Engine, lived: Program) -> None:
    """What the chain says it has committed, paid and holds is compared, each by itself."""
    right = Totals(committed=70 * 10 + 100, claimed=40, reserve=10_000 - 40)
    assert findings(own_engine, lived, right) == []
    for name in ("committed", "claimed", "reserve"):
        (finding,) = findings(own_engine, lived, replace(right, **{name: getattr(right, name) + 1}))
        assert finding.startswith(f"chain_totals: {name} is")


def test_empty_program(engine: Engine) -> None:
    """A program without a single row keeps every rule, on chain as well."""
    assert findings(engine, engine.program(funded=0), Totals(0, 0, 0)) == []
    assert len(findings(engine, engine.program(funded=0), Totals(1, 1, 1))) == 3
