"""What a page of batches and an account's standing cost to read: what they show, not what was ever
there."""

from sqlalchemy import text

from backend.batch import repository
from backend.batch.close import close_batches
from backend.batch.models import Batch
from backend.payout import service as payout
from backend.program import repository as programs
from tests.support.engine import Engine, address, report
from tests.support.reads import rows_read

_BATCHES = """
    INSERT INTO batch (id, program_id, bucket, sequence, state, items, accounts_touched, total,
      old_root, new_root, items_root,
        interactions_root, ledger_head, deltas, prove_attempts, failures, waits)
    SELECT nextval(pg_get_serial_sequence('batch', 'id')), program_id, bucket, sequence + later,
        state, items, accounts_touched, total, old_root, new_root, items_root, interactions_root,
        ledger_head, deltas, prove_attempts, failures, waits
    FROM batch, generate_series(1, 5000) AS later WHERE program_id = :program
"""
_INTERACTIONS = """
    INSERT INTO interaction (id, program_id, partner_id, delivery_id, position, event_id, account,
      amount, occurred_at, state, batch_id,
        item_index)
    SELECT nextval(pg_get_serial_sequence('interaction', 'id')), program_id, partner_id,
      delivery_id, position, event_id || ' ' || more,
        account, amount, occurred_at, state, batch_id, item_index + 10 * more
    FROM interaction, generate_series(1, 5000) AS more
    WHERE program_id = :program AND (batch_id IS NOT NULL OR event_id = 'waits')
"""
_OPEN = """
    INSERT INTO interaction (id, program_id, partner_id, delivery_id, position, event_id, account,
      amount, occurred_at, state)
    SELECT nextval(pg_get_serial_sequence('interaction', 'id')), program_id, partner_id,
      delivery_id, position, event_id || ' ' || more,
        account, amount, occurred_at, state
    FROM interaction, generate_series(1, 2000) AS more WHERE program_id = :program
      AND batch_id IS NULL
"""


def test_a_page_reads_its_own_batches(own_engine: Engine) -> None:
    """A page of a program's batches is read from an index: thousands of newer ones of another
    program are not passed through."""
    quiet, busy = own_engine.program(items_max=1), own_engine.program()
    own_engine.take_in(quiet, [report(i) for i in range(6)])
    own = own_engine.settle(quiet)
    own_engine.take_in(busy, [report("e1")])
    own_engine.settle(busy)
    with own_engine.database.transaction() as session:
        session.execute(text(_BATCHES), {"program": busy.id})
        session.execute(text("ANALYZE batch"))
    for before, expected in ((None, own[:2:-1]), (own[3].id, own[2::-1])):
        with own_engine.database.transaction() as session:
            start = rows_read(session, "batch")
            found: list[Batch] = repository.listed(session, quiet.id, 3, before)
            assert rows_read(session, "batch") - start <= 12
        assert [row.id for row in found] == [row.id for row in expected]
    with own_engine.database.transaction() as session:
        # A list is narrowed before it is cut to its limit.
        newest = repository.listed(session, quiet.id, 1, states=["final"], bucket=own[0].bucket)
        assert [row.id for row in newest] == [own[-1].id]
        assert repository.listed(session, quiet.id, 9, states=["closed"]) == []
        assert repository.listed(session, quiet.id, 9, bucket=own[0].bucket + 1) == []


def test_standing_reads_what_is_open(own_engine: Engine) -> None:
    """An account's standing reads its open interactions, not the thousands that it was paid for
    before, nor those that others wait for."""
    program = own_engine.program(funded=5000)
    own_engine.take_in(program, [report("first", "alice", 1000), report("other", "bob", 1000)])
    own_engine.settle(program)
    own_engine.take_in(program, [report("waits", "bob", 1)])
    with own_engine.database.transaction() as session:
        session.execute(text(_INTERACTIONS), {"program": program.id})
        session.execute(text("ANALYZE interaction"))
    own_engine.take_in(program, [report("open", "alice", 7), report("held", "alice", 4000)])
    with own_engine.database.transaction() as session:
        start = rows_read(session, "interaction")
        standing = payout.standing(session, program, address("alice"))
        assert rows_read(session, "interaction") - start <= 12
    assert (standing.earned, standing.claimable) == (1007, 1000)
    assert (standing.pending, standing.held) == ({"accepted": 7}, {"budget_exhausted": 4000})


def test_a_closing_looks_each_interaction_up_once(own_engine: Engine) -> None:
    """While the statistics know nothing of a new program's accounts, the closing still does not
    compare all that is open with all accounts."""
    program = own_engine.program()
    own_engine.take_in(program, [report(i, f"w{i}") for i in range(320)])
    own_engine.settle(program)
    own_engine.take_in(program, [report("waits", "w7", 1), report("new", "newcomer", 1)])
    with own_engine.database.transaction() as session:
        session.execute(text(_OPEN), {"program": program.id})
    with own_engine.database.transaction() as session:
        start = rows_read(session, "account")
        batches = close_batches(session, programs.lock(session, program.id))
        assert rows_read(session, "account") - start < 5 * 4002
    assert [(batch.bucket, batch.items) for batch in batches] == [(0, 32), (10, 32)]
