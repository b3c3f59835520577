"""SIGKILL of the API, of attestors, of Redis, and of everything at once: nothing reported is lost
or counted twice."""

import sqlite3
import threading
import time
from collections import Counter

import httpx
import pytest
from sqlalchemy import select

from backend.attestation.models import Attestation
from backend.attestor.store import RESERVED
from backend.batch.models import BatchState
from tests.integration.exact import assert_audited, assert_exact
from tests.integration.world import ATTESTORS, World


@pytest.mark.parametrize(
    ("step", "found"), [("intake.before_commit", "accepted"), ("intake.after_commit", "duplicate")]
)
def test_api_killed_at_intake(world: World, step: str, found: str) -> None:
    """The API dies before or after a report is committed, and the partner gets no answer. Sent
    again it is booked, once."""
    interactions = world.reports((0, 1, 0))
    world.start("api", failpoint=step)
    with pytest.raises(httpx.TransportError):
        world.partner.send(interactions)
    world.service("api").process.wait(10)
    world.start("api")
    assert world.send(interactions) == {found: 3}
    world.settle()
    assert_exact(world)


def test_api_killed_under_load(world: World) -> None:
    """The API dies again and again while reports come in: each is booked once, for its partner
    sends until there is an answer."""
    outcomes: Counter[str] = Counter()
    sent = 0

    def kill_and_start() -> None:
        for _ in range(3):
            time.sleep(0.1)
            world.start("api")

    killer = threading.Thread(target=kill_and_start)
    killer.start()
    while killer.is_alive():
        outcomes += world.report((0, 1))
        sent += 2
    killer.join()
    assert sent > 0
    assert outcomes["accepted"] + outcomes["duplicate"] == sent
    world.settle()
    assert_exact(world)


@pytest.mark.parametrize(
    "step", ["attestor.signed.committed", pytest.param("attestor.signed", marks=pytest.mark.soak)]
)
def test_attestor_killed(world: World, step: str) -> None:
    """One of three attestors dies around the moment at which its signature is stored: the other two
    are enough."""
    markers = world.start("attestor-0", failpoint=step)
    world.report((0, 1))
    world.wait_killed(markers, step)
    world.settle()
    assert_exact(world)
    world.start("attestor-0")
    _assert_signed_once(world)


def test_two_attestors_killed(world: World) -> None:
    """Two of three die, one before its signature is stored and one after: the batch waits, and goes
    on when they are back. The one that had stored a signature gives the same one again."""
    deaths = {"attestor-0": "attestor.signed", "attestor-1": "attestor.signed.committed"}
    markers = {name: world.start(name, failpoint=step) for name, step in deaths.items()}
    world.report((0, 1))
    for name, step in deaths.items():
        world.wait_killed(markers[name], step)
    world.wait("the batch waits", lambda: "1 of 2 attestations" in (world.newest().note or ""))
    waiting = world.newest()
    assert waiting.state == BatchState.CLOSED
    # Reserved, but no signature left the process: it may sign this digest, and no other.
    reserved = _signed(world, "attestor-0", waiting.bucket, waiting.sequence)
    assert reserved == [(waiting.digest, RESERVED)]
    [(digest, _)] = before = _signed(world, "attestor-1", waiting.bucket, waiting.sequence)
    assert digest == waiting.digest
    world.start("attestor-0", "attestor-1")
    world.settle()
    assert _signed(world, "attestor-1", waiting.bucket, waiting.sequence) == before
    assert_exact(world)
    _assert_signed_once(world)


def test_attestor_that_missed_a_batch_is_brought_up_to_date(world: World) -> None:
    """An attestor that was dead while a batch landed is sent its leaves, and signs the next one in
    another's place."""
    world.kill("attestor-2")
    world.report((0, 1))
    world.settle()
    world.start("attestor-2")
    world.kill("attestor-0")
    world.report((0, 1))
    world.settle()
    newest = world.newest()
    assert len(_signed(world, "attestor-2", newest.bucket, newest.sequence)) == 1
    world.start("attestor-0")
    assert_exact(world)


def test_redis_killed(world: World) -> None:
    """Redis dies with every message in it and comes back empty: the rows own the work, and the
    worker takes it up again."""
    world.kill("redis")
    assert world.report((0, 1)) == {"accepted": 2}
    world.start("redis")
    world.settle()
    assert_exact(world)


@pytest.mark.parametrize(
    "state", [pytest.param(BatchState.CLOSED, marks=pytest.mark.soak), BatchState.POSTED]
)
def test_everything_killed_at_once(world: World, state: BatchState) -> None:
    """Worker, API, Redis and all attestors die together with a batch under way; together they
    finish it."""
    places = {BatchState.CLOSED: "attest.signed", BatchState.POSTED: "tx.broadcast"}
    markers = world.start("worker", failpoint=places[state])
    world.report((0, 1, 2))
    world.wait_killed(markers, places[state])
    everything = ("worker", "api", "redis", *ATTESTORS)
    world.kill(*everything)
    assert world.newest().state == state
    world.start("redis", *ATTESTORS, "api", "worker")
    world.report((1, 2))
    world.settle()
    assert_exact(world)
    _assert_signed_once(world)


def test_audit_after_it_all(world: World) -> None:
    """The chain alone agrees with every total."""
    assert_audited(world)


def _signed(world: World, name: str, bucket: int, sequence: int) -> list[tuple[bytes, bytes]]:
    """(digest, signature) that an attestor's store holds for a place."""
    database = sqlite3.connect(
        f"file:{world.local.stack.folder / name / 'attestor.sqlite'}?mode=ro", uri=True
    )
    try:
        query = "SELECT digest, signature FROM signed WHERE bucket = ? AND sequence = ?"
        return database.execute(query, (bucket, sequence)).fetchall()
    finally:
        database.close()


def _assert_signed_once(world: World) -> None:
    """No attestor has signed two digests for one place, and what was collected is what they
    hold."""
    with world.local.context.database.transaction() as session:
        collected = {
            (row.batch_id, row.digest, row.signature)
            for row in session.scalars(select(Attestation))
        }
    held = set()
    for batch in world.batches():
        for name in ATTESTORS:
            signed = _signed(world, name, batch.bucket, batch.sequence)
            assert len(signed) <= 1
            held |= {(batch.id, *row) for row in signed}
    assert collected <= held
