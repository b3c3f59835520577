"""The membership proof of a final batch's interaction: its tree is made once, and must give the
root that landed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from backend.api import lookup
from backend.api.schemas.interaction import InteractionOut
from backend.batch.content import interactions_tree
from backend.batch.models import Batch
from backend.interaction import repository as interactions
from prover.merkle import Leaf, verify
from tests.support.engine import Engine, fresh_engine, report


def looked_up(engine: Engine, program: object, position: int, batch: Batch) -> InteractionOut:
    """What the public read answers for the interaction at a position of a batch."""
    with engine.database.snapshot() as session:
        return lookup.interaction_out(
            session, program, "adnet", interactions.of_batch(session, batch.id)[position]
        )


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def holds(found: InteractionOut, root: bytes) -> bool:
    """Whether the proof leads from the leaf, made from the public fields, to the root."""
    leaf = Leaf(
        found.batch.item_index, unhex(found.interaction.hash), found.account, int(found.amount)
    )
    return verify(root, leaf, [unhex(sibling) for sibling in found.membership.proof])


def test_tree_is_made_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask for proofs out of a batch, at a time or one after another, its tree is made
    once; each proof leads to its root."""
    program = engine.program()
    engine.take_in(program, [report(i, f"w{i % 3}", 1 + i) for i in range(12)])
    (batch,) = engine.settle(program)
    made, together = [], threading.Barrier(6)

    def counted(*arguments: object) -> object:
        made.append(1)
        time.sleep(0.2)
        return interactions_tree(*arguments)

    monkeypatch.setattr(lookup, "interactions_tree", counted)

    def ask(position: int) -> InteractionOut:
        together.wait()
        return looked_up(engine, program, position, batch)

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(ask, range(6)))
    found += [looked_up(engine, program, position, batch) for position in range(6, 12)]
    assert all(holds(one, batch.interactions_root) for one in found)
    assert [one.batch.item_index for one in found] == list(range(12))
    assert len(made) == 1


def test_a_kept_tree_reads_no_batch(engine: Engine) -> None:
    """A second proof out of a batch reads the one interaction that it is for, not its batch's."""
    program = engine.program()
    engine.take_in(program, [report(i) for i in range(9)])
    (batch,) = engine.settle(program)
    with engine.database.snapshot() as session:
        row = interactions.of_batch(session, batch.id)[4]
        lookup.interaction_out(session, program, "adnet", row)
    statements: list[str] = []

    def seen(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    event.listen(engine.database.engine, "before_cursor_execute", seen)
    try:
        with engine.database.snapshot() as session:
            assert holds(
                lookup.interaction_out(session, program, "adnet", row), batch.interactions_root
            )
    finally:
        event.remove(engine.database.engine, "before_cursor_execute", seen)
    assert statements
    assert not [statement for statement in statements if "FROM interaction" in statement]


def test_trees_are_kept_by_their_root() -> None:
    """Trees are kept by what they hold: another database, with the same ids and other amounts, gets
    its own."""
    for amount in (11, 12):
        with fresh_engine() as other:
            program = other.program()
            other.take_in(program, [report("e1", amount=amount), report("e2", "bob")])
            (batch,) = other.settle(program)
            assert (program.id, batch.id) == (1, 1)
            assert all(
                holds(looked_up(other, program, position, batch), batch.interactions_root)
                for position in range(2)
            )


def test_a_root_that_does_not_follow_is_no_proof(engine: Engine) -> None:
    """If the stored interactions do not give the root that landed, there is no proof rather than a
    wrong one."""
    program = engine.program()
    engine.take_in(program, [report("e1"), report("e2")])
    (batch,) = engine.settle(program)
    with engine.database.transaction() as session:
        session.get_one(Batch, batch.id).interactions_root = b"\x01" * 32
    with pytest.raises(AssertionError, match="do not give its interactions_root"):
        looked_up(engine, program, 0, batch)
