"""The HTTP server: uvicorn, with bounds on what a connection may take before anybody is known.

uvicorn alone waits forever for a request's head, for the rest of a body that nobody reads, and for
a client that does not read its answer.
"""

import asyncio
import json
import uuid
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from operator import itemgetter
from typing import Any

import h11
from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from backend.errors import BadRequest, GuerdonError, TooSlow, Unavailable
from backend.kit.http import REQUEST_ID, RequestIds, error_response


@dataclass(frozen=True)
class ConnectionBounds:
    """Bounds on the connections of one process. Times in seconds, sizes in bytes."""

    connections_max: int = 500
    """Beyond it, who has made us wait for longest is cut off; if we wait for none, a newcomer is
    answered 503."""
    safe_seconds: float = 1.0
    """For so long we wait for a client, whoever else wants its place."""
    head_seconds: float = 10.0
    """From the first byte of a request, or from the start of a connection, to the head's end."""
    head_bytes_max: int = 32 * 1024
    idle_seconds: int = 75
    """Between two requests. Longer than the proxy keeps its connections, so that the proxy ends
    them."""
    rest_seconds: float = 5.0
    """For the rest of a body after the answer: a client that still sends could miss it."""
    answer_seconds: float = 30.0
    """For a client to take a part of its answer."""
    read_bytes: int = 64 * 1024
    """How much of a body is read at once."""


def options(bounds: ConnectionBounds) -> dict[str, Any]:
    """Options of uvicorn for a server with these bounds."""
    return {
        "http": partial(BoundedProtocol, bounds=bounds),
        "ws": "none",
        "h11_max_incomplete_event_size": bounds.head_bytes_max,
        "timeout_keep_alive": bounds.idle_seconds,
        "timeout_graceful_shutdown": 30,
        "server_header": False,
        "access_log": False,
        "log_level": "warning",
    }


class BoundedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *arguments: Any, bounds: ConnectionBounds, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._bounds = bounds
        self._limit: asyncio.TimerHandle | None = None
        self._write_limit: asyncio.TimerHandle | None = None
        self._waits_since: float | None = None
        """Since when we wait for the client; None while it waits for us."""
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio reads a quarter of a megabyte at once, which nobody has asked for yet.
        transport.max_size = self._bounds.read_bytes  # type: ignore[attr-defined]
        self._waits_since = self.loop.time()
        if len(self.connections) > self._bounds.connections_max:
            self._make_room()
        self._start(self._bounds.head_seconds, self._head_too_slow)

    def _make_room(self) -> None:
        waited = [
            (other._waits_since, other)
            for other in self.connections
            if isinstance(other, BoundedProtocol) and other._waits_since is not None
        ]
        since, longest = min(waited, key=itemgetter(0))
        if self.loop.time() - since >= self._bounds.safe_seconds:
            longest._waits_since = None
            self.connections.discard(longest)
            longest.transport.abort()
        elif len(self.connections) > 2 * self._bounds.connections_max:
            self.transport.abort()
        else:
            self.app = RequestIds(_full)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        self._note_state()

    def _note_state(self) -> None:
        """After what has arrived: wait for a head, for a body, or for ourselves."""
        if self._refused or self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:
            if self._limit is None and self.timeout_keep_alive_task is None:
                self._waits_since = self._waits_since or self.loop.time()
                self._start(self._bounds.head_seconds, self._head_too_slow)
            return
        if self.conn.their_state is not h11.SEND_BODY:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = self.loop.time()
        if not self.cycle.response_complete:
            self._stop()  # the application has a deadline of its own for the body
            if self.cycle.body:
                self.flow.pause_reading()  # until the application asks for more

    def on_response_complete(self) -> None:
        self._stop()
        super().on_response_complete()
        self._waits_since = self.loop.time()
        if self.transport.is_closing():
            # What is left of the answer must reach the client in time.
            self.loop.call_later(self._bounds.answer_seconds, self.transport.abort)
        elif self.conn.their_state is h11.SEND_BODY:
            self._start(self._bounds.rest_seconds, self.transport.abort)
        elif not self.cycle.response_complete:
            self._note_state()  # the next request was here already

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_limit = self.loop.call_later(self._bounds.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_limit is not None:
            self._write_limit.cancel()
            self._write_limit = None

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        self._refuse(BadRequest("the request cannot be read as HTTP/1.1", "request"))

    def _head_too_slow(self) -> None:
        if self.conn.trailing_data[0] and not self.transport.is_closing():
            self._refuse(TooSlow("the head of the request did not arrive in time", "request"))
        else:
            self.transport.abort()

    def _refuse(self, error: GuerdonError) -> None:
        """Answer before there is a request that the application could answer, and close."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        own, body = uuid.uuid4().hex, error.to_json()
        body["error"]["request_id"] = own
        content = json.dumps(body).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(content)),
            "connection": "close",
            REQUEST_ID: own,
        } | ({"retry-after": "1"} if error.retryable else {})
        for event in (
            h11.Response(
                status_code=error.status,
                headers=list(headers.items()),
                reason=HTTPStatus(error.status).phrase,
            ),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        # Closed at once, a client that still sends could miss the answer.
        self._refused = True
        self.transport.write_eof()
        self._start(self._bounds.rest_seconds, self.transport.abort)

    def _start(self, seconds: float, then: Any) -> None:
        self._stop()
        self._limit = self.loop.call_later(seconds, then)

    def _stop(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    """An application for a connection too many."""
    error = Unavailable("too many connections at once: send again", code="busy")
    answer = error_response(Request(scope), error, headers={"connection": "close"})
    await answer(scope, receive, send)
