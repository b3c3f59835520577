"""backend/settlement/company.py: which batches go along with a post, and how long one waits for
others."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert

from backend.batch.models import Batch, BatchState, Envelope
from backend.chain.models import OutgoingTransaction, SenderAccount, State
from backend.program.models import Program
from backend.settlement import company
from backend.settlement.models import BatchPost
from tests.support.engine import Engine, address, apart, report

MOST, WAIT = 4, 10


@pytest.fixture
def program(engine: Engine) -> Program:
    return engine.program(families=8)


@pytest.fixture
def batches(engine: Engine, program: Program) -> list[Batch]:
    """Six proven batches of a program, each in a bucket of its own."""
    engine.take_in(program, [report(name, name) for name in apart(8)[:6]])
    closed: list[Batch] = []
    while more := engine.close(program):
        closed += more
    for number, batch in enumerate(closed):
        put(engine, batch, state=BatchState.PROVEN, digest=bytes([number + 1]) * 32)
    return closed


def put(engine: Engine, batch: Batch, **values: Any) -> None:
    """Give the batch's row these values; a number of seconds is a time from now on."""
    with engine.database.transaction() as session:
        row = session.get_one(Batch, batch.id)
        for name, value in values.items():
            timed = isinstance(value, int) and name.endswith("_at")
            setattr(row, name, func.now() + timedelta(seconds=value) if timed else value)


def posted(engine: Engine, batch: Batch, digest: bytes) -> None:
    """A post of the batch under a digest was stored."""
    with engine.database.transaction() as session:
        sender = {"chain_id": 31337, "address": address(f"poster {batch.id}"), "next_nonce": 9}
        session.execute(insert(SenderAccount).values(**sender))
        row = OutgoingTransaction(
            chain_id=31337,
            sender=sender["address"],
            nonce=0,
            purpose=f"post {batch.id}",
            to_address=address("distributor"),
            data=b"",
            value=0,
            gas_limit=1,
            state=State.STORED,
        )
        session.add(row)
        session.flush()
        session.add(BatchPost(outgoing_id=row.id, batch_id=batch.id, digest=digest))


def along(engine: Engine, batch: Batch, most: int = 9) -> list[int]:
    """The buckets of those that go along."""
    with engine.database.transaction() as session:
        row = session.get_one(Batch, batch.id)
        found = company.candidates(session, row.program_id, row, most)
        return [one.bucket for one in found]


def awaited(engine: Engine, batch: Batch, most: int = MOST, seconds: float = WAIT) -> bool:
    with engine.database.transaction() as session:
        row = session.get_one(Batch, batch.id)
        return company.is_awaited(session, row.program_id, row, most, seconds)


def test_the_proven_ones_go_along(engine: Engine, batches: list[Batch]) -> None:
    """Of the same program, those closed first first, as many as are wanted."""
    assert along(engine, batches[2]) == [0, 1, 3, 4, 5]
    assert along(engine, batches[2], 2) == [0, 1]
    put(engine, batches[0], state=BatchState.ATTESTED)
    put(engine, batches[1], state=BatchState.POSTED)
    other = engine.program(families=8)
    engine.take_in(other, [report("e", "ann")])
    (stranger,) = engine.close(other)
    put(engine, stranger, state=BatchState.PROVEN)
    assert along(engine, batches[2]) == [3, 4, 5]
    assert along(engine, stranger) == []


def test_what_waits_after_a_failure_does_not(engine: Engine, batches: list[Batch]) -> None:
    """It is looked at when its time has come; one that was only handed out goes along."""
    put(engine, batches[0], retry_at=5)
    put(engine, batches[1], retry_at=1)
    put(engine, batches[3], retry_at=-5)
    assert along(engine, batches[2]) == [1, 3, 4, 5]


def test_what_was_posted_in_its_envelope_goes_alone(engine: Engine, batches: list[Batch]) -> None:
    """Neither along with others nor with others along. A post in an older envelope is no matter."""
    posted(engine, batches[0], bytes([1]) * 32)
    posted(engine, batches[1], b"\xff" * 32)
    assert along(engine, batches[2]) == [1, 3, 4, 5]
    assert along(engine, batches[0]) == []


def test_a_batch_waits_for_those_that_are_nearly_proven(
    engine: Engine, batches: list[Batch]
) -> None:
    """While a bucket's next one is being signed or proven, only so long, and only if there is room
    for it. One that cannot be signed, or comes after another, is not waited for."""
    for batch in batches:
        put(engine, batch, proven_at=0)
    waiting = batches[0]
    assert not awaited(engine, waiting)
    put(engine, batches[5], state=BatchState.ATTESTED)
    assert awaited(engine, waiting, most=6)
    assert not awaited(engine, waiting, most=5)
    assert not awaited(engine, waiting, most=1)
    assert not awaited(engine, waiting, most=6, seconds=0)
    put(engine, waiting, proven_at=-11)
    assert not awaited(engine, waiting, most=6)
    put(engine, waiting, proven_at=-9)
    assert awaited(engine, waiting, most=6)
    put(engine, batches[5], failures=1)
    assert not awaited(engine, waiting, most=6)
    put(engine, batches[5], failures=0)
    put(engine, batches[5], state=BatchState.CLOSED)
    assert awaited(engine, waiting, most=6)
    put(engine, batches[5], waits=company.WAITS_MAX + 1)
    assert not awaited(engine, waiting, most=6)
    put(engine, batches[5], waits=0, bucket=waiting.bucket, sequence=2)
    assert not awaited(engine, waiting, most=6)
    put(engine, batches[5], bucket=5, sequence=1)
    assert awaited(engine, waiting, most=6)
    posted(engine, waiting, bytes([1]) * 32)
    assert not awaited(engine, waiting, most=6)


def test_an_envelope_that_ends_soon_is_left_alone() -> None:
    """With the margin of a single post, and only in its own epoch."""
    now = company.Standing(1000, 3, 5)
    assert now.takes(Envelope(3, 1060, b""))
    assert not now.takes(Envelope(3, 1059, b""))
    assert not now.takes(Envelope(2, 2000, b""))
