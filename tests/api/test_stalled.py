"""Callers who send slowly or not at all, against the real server over real sockets: memory and
connections stay within bounds, an honest report is answered, the slow are cut off."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Iterator

import psutil
import pytest

from backend.kit.body import BodyBounds
from backend.kit.server import ConnectionBounds
from backend.program.models import Program
from tests.support.engine import Api, Engine, item, now, serve

SECONDS = 1.5
BODIES = BodyBounds(
    2 * 2**20, held_bytes_max=8 * 2**20, seconds=SECONDS, bytes_per_second=2**22, safe_seconds=0.2
)
CONNECTIONS = ConnectionBounds(600, head_seconds=SECONDS, rest_seconds=1, safe_seconds=0.2)
PART = b" " * 2**18


@pytest.fixture(scope="module")
def patient(engine: Engine) -> Iterator[Api]:
    """A server that waits for a client for a second and a half."""
    with serve(engine, CONNECTIONS, BODIES) as made:
        yield made


@pytest.fixture(scope="module")
def program(engine: Engine) -> Program:
    return engine.program()


def head(program: str, partner: str = "adnet") -> bytes:
    """The head of a delivery of two megabytes by somebody who knows a partner's name."""
    return (
        f"POST /v1/programs/{program}/interactions HTTP/1.1\r\nhost: x\r\ncontent-length: 2097152"
        f"\r\nguerdon-partner: {partner}\r\nwebhook-id: 1\r\nwebhook-timestamp: {now()}\r\n"
        "webhook-signature: v1,AAAA\r\n\r\n"
    ).encode()


def honest_report(api: Api) -> int:
    """The status of a report by a partner who, as all should, comes again when told to."""
    program = api.engine.program()
    for _ in range(20):
        answer = api.post(program, [item("e")])
        if answer.status_code not in (408, 503):
            break
    return answer.status_code


async def _stall(api: Api, count: int, sent: bytes) -> list[bytes]:
    """What `count` connections are answered that send `sent`, and then nothing. Meanwhile an
    honest report is answered."""
    url = api.http.base_url

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(sent)
        opened.release()
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(2**16):
                answer += part
        writer.transport.abort()
        return answer

    opened = asyncio.Semaphore(0)
    stalled = [asyncio.create_task(one()) for _ in range(count)]
    for _ in range(count):
        await opened.acquire()
    assert await asyncio.to_thread(honest_report, api) == 200
    return await asyncio.wait_for(asyncio.gather(*stalled), 60)


def stall(api: Api, count: int, sent: bytes) -> set[bytes]:
    """The distinct statuses that the stalled connections got; empty for a closed one."""
    return {answer[9:12] for answer in asyncio.run(_stall(api, count, sent))}


def test_stalled_bodies(patient: Api, program: Program) -> None:
    """Three hundred callers each send an eighth of a large body and stall: the memory that they
    take is bounded below what they sent, an honest report is answered meanwhile, and all are
    cut off, with the word to come again."""
    gc.collect()
    before = psutil.Process().memory_info().rss
    answers = stall(patient, 300, head(program.name) + PART)
    grown = psutil.Process().memory_info().rss - before
    # One that still sends when its connection is closed may miss its answer.
    assert answers <= {b"408", b"503", b""}
    assert answers & {b"408", b"503"}
    assert grown < 300 * len(PART) * 9 // 10


def test_bodies_of_nobody_are_not_read(patient: Api, program: Program) -> None:
    """Who names no partner of the program is refused by the head of the request alone."""
    for sent, status in (
        (head(program.name, "nobody"), b"404"),
        (head("nowhere"), b"404"),
        (head(program.name).replace(b"v1,AAAA", b"none"), b"401"),
        (head(program.name).replace(b"2097152", b"2097153"), b"413"),
    ):
        assert stall(patient, 1, sent) == {status}


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (b"", {b""}),
        (b"GET /healthz HTTP/1.1\r\nhost: ", {b"408"}),
        (b"POST /v1/none HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1", {b"404"}),
        (b"no HTTP\r\n\r\n", {b"400"}),
    ],
    ids=["nothing", "half a head", "a body that nobody reads", "no HTTP"],
)
def test_slow_connections_are_closed(
    patient: Api, sent: bytes, answers: set[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Five hundred connections that send nothing more are closed, told why where they asked."""
    assert stall(patient, 500, sent) == answers
    assert [line for line in caplog.records if line.exc_info] == []


def test_a_newcomer_gets_the_place_of_who_stalls(engine: Engine) -> None:
    """Where all connections are taken, those that have stalled for longest make room."""
    bounds = ConnectionBounds(20, head_seconds=SECONDS, safe_seconds=0)
    with serve(engine, bounds, BODIES) as full:
        assert stall(full, 100, b"GET /healthz HTTP/1.1\r\n") == {b"", b"408"}


def test_a_connection_too_many(engine: Engine) -> None:
    """Where nobody has stalled yet, a newcomer is told when to come again."""
    bounds = ConnectionBounds(1, safe_seconds=60)
    with serve(engine, bounds, BODIES) as full:
        url = full.http.base_url
        with socket.create_connection((url.host, url.port)):
            answer = full.http.get("/healthz", headers={"x-request-id": "abc"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "busy"
    assert answer.json()["error"]["request_id"] == "abc"
