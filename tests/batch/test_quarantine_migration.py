"""The migration of quarantine groups: states and groups survive the way down and up again."""

from alembic import command
from sqlalchemy import text

from backend.batch.models import Batch
from backend.batch.quarantine import release_unprovable
from backend.interaction.models import Interaction
from backend.migrations import config, upgrade
from backend.program.models import Program
from tests.batch.test_quarantine import discard, land
from tests.support.engine import Engine, address, report


def rows(engine: Engine, columns: str, table: str) -> list[tuple[object, ...]]:
    """The columns of every row, oldest first."""
    with engine.database.transaction() as session:
        query = text(f"SELECT {columns} FROM {table} ORDER BY id")
        return [tuple(row) for row in session.execute(query)]


def prepare(engine: Engine) -> Program:
    """A program with a quarantined, a superseded and a final batch, a batch of a quarantine group,
    and a released interaction."""
    program = engine.program(items_max=2)
    engine.take_in(program, [report("bad", "bad", 7), report("good", "good", 7)])
    land(engine, program, {address("bad")})
    engine.take_in(program, [report(i, f"w{i}") for i in range(4)])
    first, later = [batch for _ in range(2) for batch in engine.close(program)]
    discard(engine, program, first)
    assert later.id == first.id + 1
    with engine.database.transaction() as session:
        assert release_unprovable(session, program.id) == 1
    return program


def test_groups_go_down_and_up(own_engine: Engine) -> None:
    """Going down makes one number of a group and going up makes the group again. A released
    interaction, which used to hold minus its id, gets the group of the batch that it was alone
    in."""
    prepare(own_engine)
    group = "state, quarantine_batch_id, quarantine_half"
    before = [rows(own_engine, group, table) for table in (Batch.__tablename__, "interaction")]
    assert {row[0] for row in before[0]} == {"final", "quarantined", "superseded"}
    with own_engine.database.engine.connect() as connection:
        configuration = config()
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "0007")
        connection.commit()
    old = rows(own_engine, "state, isolation", "batch")
    assert old == [
        (
            {"quarantined": "set_aside", "superseded": "withdrawn"}.get(str(state), state),
            None if batch is None else 2 * int(str(batch)) + int(str(half)),
        )
        for state, batch, half in before[0]
    ]
    with own_engine.database.transaction() as session:
        changed = session.execute(
            text("UPDATE interaction SET isolation = -id WHERE event_id = 'bad'")
        )
        assert changed.rowcount == 1  # type: ignore[attr-defined]  # a CursorResult, as of any UPDATE
    upgrade(own_engine.database)
    after = [rows(own_engine, group, table) for table in (Batch.__tablename__, "interaction")]
    assert after == before
    with own_engine.database.transaction() as session:
        bad = session.query(Interaction).filter_by(event_id="bad").one()
        assert session.get_one(Batch, bad.quarantine_batch_id).items == 1
