"""The workers' tasks over a real database, with the pipeline's steps and the chain played: programs
and buckets take turns, and a batch that waits is left alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from structlog.testing import capture_logs

from backend import pipeline, queue, tasks
from backend.batch import repository
from backend.batch.models import Batch, BatchState
from backend.kit.db import in_seconds
from backend.pipeline import Outcome, Waits
from backend.program import halts
from backend.program.models import Program
from tests.support.engine import Engine, fresh_engine, report
from tests.test_pipeline import context_of

MANY = 157
"""Batches of the program that keeps the workers busy: what 5,000 new addresses make."""


@dataclass
class Workers:
    """Everything that the workers were sent and did. `looked`: batches, in order."""

    engine: Engine
    context: Any
    sent: list[int] = field(default_factory=list)
    looked: list[int] = field(default_factory=list)

    def tick(self) -> list[int]:
        """A tick, then a look at each batch that it has handed out; returns those."""
        self.sent.clear()
        tasks.tick()
        handed = list(self.sent)
        for batch_id in handed:
            tasks.advance(batch_id)
        return handed


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    """Workers whose batches all wait for something that does not come."""
    with fresh_engine() as engine:
        context = context_of(engine)
        context.chain_id = 31337
        context.settings = context.settings.model_copy(update={"looks_per_second": 1000})
        made = Workers(engine, context)

        def step(_: object, __: Program, batch: Batch) -> Outcome:
            made.looked.append(batch.id)
            return Waits("its transaction is mined: it waits for finality")

        monkeypatch.setattr(tasks, "_context", lambda: context)
        monkeypatch.setattr(tasks, "_look_around", lambda *_: None)
        monkeypatch.setattr(queue, "is_turn", lambda *_: True)
        monkeypatch.setattr(queue, "room", lambda _: queue.QUEUED_MAX)
        monkeypatch.setattr(
            tasks.advance, "apply_async", lambda arguments: made.sent.append(*arguments)
        )
        for state in (BatchState.CLOSED, BatchState.POSTED):
            monkeypatch.setitem(pipeline._STEPS, state, step)
        yield made


def batches(engine: Engine, count: int, **changes: object) -> tuple[Program, list[int]]:
    """A program with `count` batches under way, each in a bucket of its own; their ids."""
    program = engine.program()
    engine.take_in(program, [report("a")])
    (first,) = engine.close(program)
    with engine.database.transaction() as session:
        row = session.get_one(Batch, first.id)
        values = {
            column.key: getattr(row, column.key)
            for column in Batch.__table__.columns
            if column.key not in ("id", "created_at")
        }
        more = [values | {"bucket": bucket} for bucket in range(1, count)]
        if more:
            session.execute(insert(Batch), more)
        if changes:
            session.execute(update(Batch).where(Batch.program_id == program.id).values(**changes))
        query = select(Batch.id).where(Batch.program_id == program.id).order_by(Batch.id)
        return program, list(session.scalars(query))


def test_one_program_does_not_starve_another(workers: Workers) -> None:
    """157 batches of one program are under way when another program's single batch is ready: it is
    looked at in the very next round, and each of the 157 before any of them comes again."""
    _, many = batches(workers.engine, MANY)
    workers.tick()
    _, (single,) = batches(workers.engine, 1)
    assert single in workers.tick()
    while set(workers.looked) != {*many, single}:
        assert workers.tick(), "a batch was not looked at, and nothing is due"
    # Whoever waits is due again after a third of a second: those must not come first.
    assert all(workers.looked[:MANY].count(one) <= 2 for one in many)
    rounds = -(-(MANY + 1) // queue.QUEUED_MAX) + 1
    assert len(workers.looked) <= rounds * queue.QUEUED_MAX


def test_buckets_take_turns(workers: Workers) -> None:
    """A bucket with nine batches under way, which can be proven ahead, is one bucket among others:
    a younger batch of another bucket comes second."""
    _, (head,) = batches(workers.engine, 1)
    with workers.engine.database.transaction() as session:
        row = session.get_one(Batch, head)
        values = {
            column.key: getattr(row, column.key)
            for column in Batch.__table__.columns
            if column.key not in ("id", "created_at")
        }
        more = [values | {"sequence": number} for number in range(2, 10)]
        session.execute(insert(Batch), [*more, values | {"bucket": 1}])
        found = repository.movable(session)
        assert [(one.bucket, one.sequence) for one in found][:3] == [(0, 1), (1, 1), (0, 2)]
        assert len(found) == 10


def test_looks_a_second_are_bounded(workers: Workers) -> None:
    """However many batches are due and however many ticks come, no more are handed out in one
    second than the setting allows, and none while enough messages wait."""
    batches(workers.engine, MANY)
    workers.context.settings = workers.context.settings.model_copy(update={"looks_per_second": 5})
    with workers.engine.database.transaction() as session:
        ids = [batch.program_id for batch in repository.movable(session)]
        # One transaction: the database's time stands still in it.
        handed = [len(repository.hand_out(session, ids, 5, 32)) for _ in range(3)]
    assert handed == [5, 0, 0]


def test_no_more_is_sent_while_enough_waits(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that are too slow find a short queue in fair order, not every second's messages."""
    batches(workers.engine, 5)
    monkeypatch.setattr(queue, "room", lambda _: 2)
    assert len(workers.tick()) == 4  # two before the look around, two after it
    monkeypatch.setattr(queue, "room", lambda _: 0)
    assert workers.tick() == []


def test_a_late_or_doubled_message_does_nothing(workers: Workers) -> None:
    """A batch that was looked at is left alone until it is due: whoever gets its message twice, or
    an hour late, finds nothing to do."""
    _, (single,) = batches(workers.engine, 1, state=BatchState.POSTED, waits=9)
    workers.tick()
    tasks.advance(single)
    tasks.advance(single)
    assert workers.looked == [single]
    assert workers.tick() == []


def test_proofs_take_turns(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program's single proof comes second, however many messages are before its own; a
    proof that another process makes is passed over."""
    _, many = batches(workers.engine, 20, digest=b"d" * 32)
    made: list[int] = []
    monkeypatch.setattr(pipeline, "prove", lambda _, batch_id: made.append(batch_id) or True)
    monkeypatch.setattr(tasks.advance, "delay", lambda _: None)
    tasks.prove(many[0])
    _, (single,) = batches(workers.engine, 1, digest=b"d" * 32)
    for batch_id in many[1:3]:
        tasks.prove(batch_id)
    assert made == [many[0], single, many[1]]
    monkeypatch.setattr(pipeline, "prove", lambda _, batch_id: made.append(batch_id) or False)
    made.clear()
    tasks.prove(many[3])
    assert made == many[2 : 2 + tasks.TURNS_MAX]


def test_what_comes_to_be_wakes_a_batch(workers: Workers) -> None:
    """The batch behind one that becomes final is due at once, and all are once the program is
    funded: nobody has to ask every second."""
    engine = workers.engine
    program = engine.program(items_max=1)
    engine.take_in(program, [report("a", "x")])
    (head,) = engine.close(program)
    engine.take_in(program, [report("b", "x")])
    (behind,) = engine.close(program)

    def due() -> list[int]:
        with engine.database.transaction() as session:
            return [batch.id for batch in repository.movable(session, [program.id])]

    def sleep() -> None:
        with engine.database.transaction() as session:
            session.execute(
                update(Batch)
                .where(Batch.program_id == program.id, Batch.state == BatchState.CLOSED)
                .values(retry_at=in_seconds(3600))
            )

    sleep()
    assert due() == []
    engine.finalize(program, head)
    assert due() == [behind.id]
    sleep()
    with engine.database.transaction() as session:
        repository.wake(session, program.id)
    assert due() == [behind.id]


def test_no_message_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a message has expired is decided by two machines' clocks: a worker ten seconds ahead
    would drop every one of them, and say nothing."""
    headers: list[dict[str, Any]] = []

    def send(_: object, name: str, message: Any, **__: object) -> None:
        headers.append(message.headers)

    monkeypatch.setattr(queue.celery.amqp, "send_task_message", send)
    monkeypatch.setattr(queue, "room", lambda _: 1)
    queue.soon()
    tasks.advance.apply_async((1,))
    tasks.advance.delay(1)
    tasks._hand_over(1)
    assert [(one["expires"], one["eta"]) for one in headers] == [(None, None)] * 4
    for entry in queue.celery.conf.beat_schedule.values():
        assert not entry.get("options")


def test_a_halt_is_told_again(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A halted program is in the log at the halt, and then once in ten minutes over all ticks and
    processes, at error, with the command that ends it."""
    program, _ = batches(workers.engine, 1)
    with capture_logs() as lines:
        with workers.engine.database.transaction() as session:
            halts.halt(session.get_one(Program, program.id), "block 7 was final and has changed")
        workers.tick()
        workers.tick()
    (said,) = [line for line in lines if line["event"].startswith("program_")]
    assert (said["event"], said["log_level"], said["program"]) == (
        "program_halted",
        "error",
        program.name,
    )
    assert f"guerdon program resume {program.name}" in said["what_to_do"]
    monkeypatch.setattr(halts, "TOLD_EVERY_SECONDS", 0)
    with capture_logs() as lines:
        workers.tick()
    (said,) = [line for line in lines if line["event"] == "program_still_halted"]
    assert said["reason"] == "block 7 was final and has changed"
