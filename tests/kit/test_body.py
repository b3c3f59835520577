"""Bodies read within bounds: who is cut off, who waits, and who is left alone."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from backend.errors import BadRequest, GuerdonError, TooLarge, TooSlow, Unavailable
from backend.kit.body import Bodies, BodyBounds

STEP = 0.02


def request(
    parts: list[tuple[float, bytes]], ends: bool = True, headers: dict[str, str] | None = None
) -> Request:
    """A request whose body arrives as (seconds to wait, bytes); without `ends` it then stalls."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(3600)
        wait, part = left.pop(0)
        await asyncio.sleep(wait)
        if part == b"gone":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(left) or not ends}

    named = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "method": "POST", "headers": named}, receive)


async def outcome(bodies: Bodies, one: Request, hold_seconds: float = 0) -> Any:
    """The body, or the kind of what was raised."""
    try:
        async with bodies.read(one) as body:
            await asyncio.sleep(hold_seconds)
            return body
    except (GuerdonError, ClientDisconnect) as error:
        return type(error)


def run(*tasks: Coroutine[Any, Any, Any]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*tasks)

    return asyncio.run(all_of_them())


def test_a_body_that_keeps_its_pace() -> None:
    """A body may take long as long as it arrives at the least rate; a trickle is cut off, however
    steady, and so is one that never begins."""
    bodies = Bodies(BodyBounds(10**6, seconds=5 * STEP, bytes_per_second=int(200 / STEP)))
    assert run(
        outcome(bodies, request([(STEP, b"x" * 2000)] * 20)),
        outcome(bodies, request([(STEP, b"x")] * 20)),
        outcome(bodies, request([], ends=False)),
        outcome(bodies, request([(0, b"")])),
    ) == [b"x" * 40_000, TooSlow, TooSlow, b""]


def test_who_stalls_makes_room() -> None:
    """Where memory is short, the stalled lose theirs to whoever comes, oldest first; all of it is
    free in the end."""
    bodies = Bodies(BodyBounds(400, held_bytes_max=1000, seconds=3600, safe_seconds=STEP))
    stalled = [outcome(bodies, request([(0, b"x" * 300)], ends=False)) for _ in range(3)]
    honest = outcome(bodies, request([(3 * STEP, b"y" * 400)]))

    async def until_honest() -> tuple[Any, list[Any], int]:
        tasks = [asyncio.create_task(one) for one in stalled]
        answer = await honest
        await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        ended = [task.result() if task.done() else None for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return answer, ended, bodies._held

    assert asyncio.run(until_honest()) == (b"y" * 400, [Unavailable, None, None], 0)


def test_a_burst_waits_for_its_turn() -> None:
    """Bodies that arrive at once and fit one after the other are all read: none is dropped for
    another, and what is worked on counts until it is done."""
    bodies = Bodies(BodyBounds(400, held_bytes_max=1000, seconds=60, safe_seconds=60))
    burst = [outcome(bodies, request([(0, b"x" * 400)]), hold_seconds=STEP) for _ in range(8)]
    assert run(*burst) == [b"x" * 400] * 8
    assert bodies._held == 0


def test_work_that_takes_all_memory() -> None:
    """Where all memory is held by what is worked on, a newcomer is told to come again, and that is
    not its fault."""
    bodies = Bodies(BodyBounds(400, held_bytes_max=400, seconds=3 * STEP, safe_seconds=0))
    assert run(
        outcome(bodies, request([(0, b"x" * 400)]), hold_seconds=20 * STEP),
        outcome(bodies, request([(STEP, b"y")])),
    ) == [b"x" * 400, Unavailable]


@pytest.mark.parametrize(
    ("length", "kind"),
    [
        ("401", TooLarge),
        ("9" * 5000, TooLarge),
        ("-1", BadRequest),
        ("1.0", BadRequest),
        ("\u00b2", BadRequest),
        ("", BadRequest),
    ],
)
def test_the_stated_length_is_checked_first(length: str, kind: type[Exception]) -> None:
    """Before a byte is read: the body here never comes."""
    bodies = Bodies(BodyBounds(400, seconds=3600))
    one = request([], ends=False, headers={"content-length": length})
    assert run(outcome(bodies, one)) == [kind]


def test_a_caller_who_goes() -> None:
    """Whoever goes away in the middle leaves nothing held."""
    bodies = Bodies(BodyBounds(400))
    assert run(outcome(bodies, request([(0, b"x"), (0, b"gone")]))) == [ClientDisconnect]
    assert bodies._held == 0
