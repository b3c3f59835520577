"""The hash chain: a later hash shows whether anything before it was changed, removed or added."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from backend.invariant import check_all
from backend.ledger import blocks, repository
from backend.ledger import service as ledger
from backend.program import repository as programs
from backend.program.models import Program
from tests.support.engine import Engine, address, report


def seal(engine: Engine, program: Program) -> bytes:
    with engine.database.transaction() as session:
        programs.lock(session, program.id)
        return blocks.seal(session, program.id)


def tamper(engine: Engine, *statements: str) -> None:
    """Change rows as a superuser who has switched the triggers off."""
    with engine.database.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            assert session.execute(text(statement)).rowcount, statement


def findings(engine: Engine, program: Program) -> list[str]:
    with engine.database.snapshot() as session:
        return check_all(session, program)


@pytest.fixture
def sealed(own_engine: Engine) -> Program:
    """A program with four blocks, each with several transactions of several kinds, the last one
    named by a batch."""
    program = own_engine.program(funded=1000)
    for number in range(3):
        own_engine.fund(program, 10 + number)
        own_engine.take_in(program, [report(f"{number}-{i}", address(i), 1 + i) for i in range(3)])
        seal(own_engine, program)
    own_engine.take_in(program, [report("last", address(0), 9)])
    own_engine.settle(program)
    assert findings(own_engine, program) == []
    return program


def test_nothing_booked(engine: Engine) -> None:
    """Before the first booking the head is 32 zero bytes, and sealing makes no block."""
    program = engine.program(funded=0)
    assert [seal(engine, program), seal(engine, program)] == [b"\0" * 32] * 2
    with engine.database.snapshot() as session:
        assert blocks.verify(session, program.id) == 0


def test_blocks_follow(engine: Engine) -> None:
    """Each sealing with news makes one block on top of the last; one without makes none and returns
    the head."""
    program = engine.program(funded=5)
    heads = [seal(engine, program)]
    engine.fund(program, 5)
    heads += [seal(engine, program), seal(engine, program)]
    assert (heads[0] != heads[1], heads[1] == heads[2]) == (True, True)
    with engine.database.snapshot() as session:
        sealed = repository.blocks(session, program.id)
        assert blocks.verify(session, program.id) == 2
    assert [(block.height, block.previous_hash, block.hash) for block in sealed] == [
        (1, b"\0" * 32, heads[0]),
        (2, heads[0], heads[1]),
    ]


def test_hash_is_what_the_documentation_says(engine: Engine) -> None:
    """A block's hash from its definition alone: sha256 over length-prefixed previous hash, height,
    count, and each transaction."""
    program = engine.program(funded=0)
    with engine.database.transaction() as session:
        ledger.book_funding(session, program.id, "12:3", 77)
        (id_,) = repository.unsealed(session, program.id)

    def part(value: bytes | str) -> bytes:
        data = value if isinstance(value, bytes) else value.encode()
        return len(data).to_bytes(4, "big") + data

    parts = [
        b"\0" * 32,
        "1",
        "1",
        str(id_),
        "fund",
        "12:3",
        "2",
        "reserve",
        "",
        "77",
        "0",
        "budget",
        "",
        "-77",
        "0",
    ]
    assert seal(engine, program) == hashlib.sha256(b"".join(map(part, parts))).digest()


def book_dust(engine: Engine, program: Program, count: int) -> None:
    """As many fundings of one base unit, as a stranger may send them."""
    statements = (
        "INSERT INTO ledger_transaction (program_id, kind, reference) SELECT :id, 'fund', "
        "'dust ' || i FROM generate_series(1, :count) AS i",
        "INSERT INTO ledger_unsealed (transaction_id, program_id) SELECT id, :id FROM "
        "ledger_transaction "
        "WHERE program_id = :id AND reference LIKE 'dust %'",
        "INSERT INTO ledger_entry (transaction_id, account_id, amount) "
        "SELECT movement.id, account.id, CASE account.kind WHEN 'reserve' THEN 1 ELSE -1 END "
        "FROM ledger_transaction AS movement JOIN ledger_account AS account USING (program_id) "
        "WHERE program_id = :id AND reference LIKE 'dust %'",
        "UPDATE ledger_account SET balance = balance + CASE kind WHEN 'reserve' THEN :count "
        "ELSE -:count END WHERE program_id = :id",
    )
    with engine.database.transaction() as session:
        for statement in statements:
            session.execute(
                text(statement),
                {"id": program.id, "count": count} if ":count" in statement else {"id": program.id},
            )


@pytest.mark.slow
def test_more_than_a_statement_has_parameters(own_engine: Engine) -> None:
    """65,536 transactions wait, more than PostgreSQL takes parameters: sealing, in blocks of
    bounded size, and checking go on all the same."""
    program = own_engine.program(funded=1)
    book_dust(own_engine, program, 65_536)
    own_engine.take_in(program, [report("e1", amount=1)])
    assert len(own_engine.settle(program)) == 1
    with own_engine.database.snapshot() as session:
        assert blocks.verify(session, program.id) == 66
        sizes = [
            len(repository.block_transaction_ids(session, block.id))
            for block in repository.blocks(session, program.id)
        ]
    assert sizes == [1000] * 65 + [65_538 - 65_000]
    assert findings(own_engine, program) == []


def test_blocks_are_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block holds a limited number of transactions, and ends before its legs are too many; a
    transaction that is larger has one of its own."""
    monkeypatch.setattr(blocks, "BLOCK_TRANSACTIONS_MAX", 3)
    monkeypatch.setattr(blocks, "BLOCK_LEGS_MAX", 6)
    program = engine.program(funded=100)
    for number in range(3):
        engine.fund(program, 1 + number)
    engine.take_in(program, [report(f"e{i}", amount=1) for i in range(9)])
    engine.take_in(program, [report(f"f{i}", amount=1) for i in range(3)])
    engine.fund(program, 9)
    seal(engine, program)
    with engine.database.snapshot() as session:
        sealed = repository.blocks(session, program.id)
        assert [len(repository.block_transaction_ids(session, block.id)) for block in sealed] == [
            3,
            1,
            1,
            2,
        ]
        assert blocks.verify(session, program.id) == 4
        assert [blocks.verify(session, program.id, after) for after in range(5)] == [4] * 5
        with pytest.raises(AssertionError, match=r"block 5 .* is gone"):
            blocks.verify(session, program.id, 5)
    assert findings(engine, program) == []


def test_the_tail_is_bounded_without_batches(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full blocks are sealed one by one also if no batch is ever closed; what does not fill a block
    waits for the batch."""
    monkeypatch.setattr(blocks, "BLOCK_TRANSACTIONS_MAX", 3)
    program = engine.program(funded=1)
    for _ in range(7):
        engine.fund(program, 1)
    sealed = []
    while not sealed or sealed[-1]:
        with engine.database.transaction() as session:
            programs.lock(session, program.id)
            sealed.append(blocks.seal_full(session, program.id))
    assert sealed == [True, True, False]
    with engine.database.snapshot() as session:
        assert (
            len(repository.unsealed(session, program.id)),
            blocks.verify(session, program.id),
        ) == (2, 2)
    assert findings(engine, program) == []


TAMPERING = {
    "an entry's amount": ("UPDATE ledger_entry SET amount = amount * 2 WHERE transaction_id = 3",),
    "two legs swapped": (
        "UPDATE ledger_entry SET account_id = 9 - account_id WHERE transaction_id = 3 AND "
        "account_id IN (4, 5)",
    ),
    "an entry's account": (
        "UPDATE ledger_entry SET account_id = (SELECT max(id) FROM ledger_account) WHERE "
        "transaction_id = 3 AND amount = -1",
    ),
    "an entry's interaction": (
        "UPDATE ledger_entry SET interaction_id = NULL "
        "WHERE id = (SELECT min(id) FROM ledger_entry WHERE interaction_id IS NOT NULL)",
    ),
    "an entry removed": ("DELETE FROM ledger_entry WHERE id = 3",),
    "entries added": (
        "INSERT INTO ledger_entry (transaction_id, account_id, amount) "
        "SELECT transaction_id, account_id, sign(amount) FROM ledger_entry WHERE "
        "transaction_id = 2",
    ),
    "a transaction's reference": ("UPDATE ledger_transaction SET reference = 'x' WHERE id = 2",),
    "a transaction's kind": ("UPDATE ledger_transaction SET kind = 'withdraw' WHERE id = 2",),
    "a transaction removed": (
        "DELETE FROM ledger_entry WHERE transaction_id = 3",
        "DELETE FROM ledger_block_transaction WHERE transaction_id = 3",
        "DELETE FROM ledger_transaction WHERE id = 3",
    ),
    "a transaction removed, its place in the block left": (
        "DELETE FROM ledger_entry WHERE transaction_id = 3",
        "DELETE FROM ledger_transaction WHERE id = 3",
    ),
    "a transaction taken out of its block": (
        "DELETE FROM ledger_block_transaction WHERE transaction_id = 3",
    ),
    "a transaction taken back to the queue": (
        "DELETE FROM ledger_block_transaction WHERE transaction_id = 3",
        "INSERT INTO ledger_unsealed (transaction_id, program_id) VALUES (3, 1)",
    ),
    "the order in a block": (
        "UPDATE ledger_block_transaction SET position = 10 WHERE block_id = 2 AND position = 0",
    ),
    "a block's hash": ("UPDATE ledger_block SET hash = sha256('x') WHERE height = 2",),
    "a block's previous hash": (
        "UPDATE ledger_block SET previous_hash = sha256('x') WHERE height = 2",
    ),
    "a block removed": (
        "DELETE FROM ledger_entry WHERE transaction_id IN (SELECT transaction_id FROM "
        "ledger_block_transaction WHERE block_id = 2)",
        "DELETE FROM ledger_transaction WHERE id IN (SELECT transaction_id FROM "
        "ledger_block_transaction WHERE block_id = 2)",
        "DELETE FROM ledger_block_transaction WHERE block_id = 2",
        "DELETE FROM ledger_block WHERE id = 2",
    ),
    "a holder renamed": (
        f"UPDATE ledger_account SET holder = '{address('thief')}' WHERE holder = '{address(0)}'",
    ),
    "a transaction smuggled in": (
        "INSERT INTO ledger_transaction (program_id, kind, reference) VALUES (1, 'fund', "
        "'smuggled')",
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_found(own_engine: Engine, sealed: Program, name: str) -> None:
    """Whatever is changed behind the triggers' back, the chain or the queue no longer adds up."""
    tamper(own_engine, *TAMPERING[name])
    assert any(finding.startswith("ledger_chained") for finding in findings(own_engine, sealed)), (
        name
    )


def test_blocks_cut_off_at_the_end_are_found(own_engine: Engine, sealed: Program) -> None:
    """Even the newest block cannot go with all that was in it: attestors signed its hash into a
    batch."""
    inside = (
        "(SELECT transaction_id FROM ledger_block_transaction WHERE block_id = (SELECT max(id) "
        "FROM ledger_block))"
    )
    tamper(
        own_engine,
        f"DELETE FROM ledger_entry WHERE transaction_id IN {inside}",
        f"DELETE FROM ledger_transaction WHERE id IN {inside}",
        "DELETE FROM ledger_block_transaction WHERE block_id = (SELECT max(id) FROM ledger_block)",
        "DELETE FROM ledger_block WHERE id = (SELECT max(id) FROM ledger_block)",
    )
    with own_engine.database.snapshot() as session:
        assert blocks.verify(session, sealed.id) == 3
    assert "ledger_chained: batch 1 of bucket 0 names a ledger head that no block has" in findings(
        own_engine, sealed
    )


def test_recomputed_chain_is_found(own_engine: Engine, sealed: Program) -> None:
    """A chain that was rewritten and hashed again from there on agrees with itself, not with the
    head that was signed."""
    tamper(own_engine, "UPDATE ledger_transaction SET reference = 'rewritten' WHERE id = 2")
    with own_engine.database.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        previous = blocks.GENESIS
        for block in repository.blocks(session, sealed.id):
            ids = repository.block_transaction_ids(session, block.id)
            block.previous_hash = previous
            previous = block.hash = blocks.block_hash(
                previous, block.height, repository.movements(session, ids)
            )
    with own_engine.database.snapshot() as session:
        assert blocks.verify(session, sealed.id) == 4
    assert any("ledger head" in finding for finding in findings(own_engine, sealed))


def test_programs_have_chains_of_their_own(engine: Engine) -> None:
    """Sealing one program takes nothing of another's queue."""
    first, second = engine.program(funded=3), engine.program(funded=4)
    seal(engine, first)
    with engine.database.snapshot() as session:
        assert (
            len(repository.unsealed(session, first.id)),
            len(repository.unsealed(session, second.id)),
        ) == (0, 1)
    assert findings(engine, first) == findings(engine, second) == []


def test_sealing_beside_writers(engine: Engine) -> None:
    """While writers book and sealers seal, every transaction ends up in exactly one block, and the
    chain holds at every moment."""
    program = engine.program(funded=10**9)
    done = threading.Event()

    def write(writer: int) -> None:
        for number in range(12):
            engine.take_in(
                program, [report(f"{writer}-{number}-{i}", address(i), 1) for i in range(3)]
            )
            engine.fund(program, 1)

    def keep_sealing(_: int) -> int:
        rounds = 0
        while not done.is_set():
            seal(engine, program)
            rounds += 1
            assert findings(engine, program) == []
        return rounds

    with ThreadPoolExecutor(5) as pool:
        sealers = [pool.submit(keep_sealing, i) for i in range(2)]
        for writer in [pool.submit(write, i) for i in range(3)]:
            writer.result()
        done.set()
        assert all(sealer.result() for sealer in sealers)
    seal(engine, program)
    with engine.database.snapshot() as session:
        assert repository.unsealed(session, program.id) == []
        height = blocks.verify(session, program.id)
        sealed = sum(
            len(repository.block_transaction_ids(session, block.id))
            for block in repository.blocks(session, program.id)
        )
    assert (sealed, height > 1) == (1 + 3 * 12 * 2, True)
