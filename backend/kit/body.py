"""Request bodies, read within bounds on bytes, time and memory.

A caller who sends slowly, or not at all, must not take what other callers need.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from backend.errors import BadRequest, TooLarge, TooSlow, Unavailable, UnsupportedMedia

HELD_BYTES_MAX = 64 * 2**20
_LOOK_SECONDS = 0.02
_JSON = re.compile(r"application/([a-z0-9.-]+\+)?json", re.IGNORECASE)


@dataclass(frozen=True)
class BodyBounds:
    """Bounds on bodies. Sizes in bytes, times in seconds."""

    bytes_max: int
    """Of one body."""
    held_bytes_max: int = HELD_BYTES_MAX
    """Of all bodies that are being read or worked on."""
    seconds: float = 10.0
    bytes_per_second: int = 16 * 1024
    """A body with n bytes so far has `seconds` + n / `bytes_per_second` from its start on."""
    safe_seconds: float = 1.0
    """For so long a body that is being read keeps its memory, whoever else needs some."""


@dataclass(eq=False)
class _Reader:
    """One body that is being read, or worked on."""

    started: float
    limit: asyncio.Timeout
    received: bytearray = field(default_factory=bytearray)
    waits: bool = False
    """For memory that others hold."""
    dropped: bool = False

    def end_at(self, when: float) -> None:
        """Move the limit, unless it has passed."""
        if not self.limit.expired():
            self.limit.reschedule(when)


class Bodies:
    """Reads the bodies of one application. Each body counts until the request is answered.

    If all memory is in use, whoever has been sending for longest is refused: callers who stall
    cannot keep others out.
    """

    def __init__(self, bounds: BodyBounds) -> None:
        self.bounds = bounds
        self._held = 0
        self._reading: dict[_Reader, None] = {}

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The raw body, for the block.

        Raises:
            BadRequest, UnsupportedMedia, TooLarge: from the headers alone, where they say it.
            TooSlow: the body does not arrive in time.
            Unavailable: other bodies need the memory.
            ClientDisconnect: the caller has gone.
        """
        require_json(request.headers)
        require_length(request.headers, self.bounds.bytes_max)
        started = asyncio.get_running_loop().time()
        reader = _Reader(started, asyncio.timeout_at(started + self.bounds.seconds))
        self._reading[reader] = None
        try:
            try:
                await self._fill(request, reader)
            finally:
                self._reading.pop(reader, None)
            yield bytes(reader.received)
        finally:
            self._release(reader)

    async def _fill(self, request: Request, reader: _Reader) -> None:
        bounds, more = self.bounds, True
        try:
            async with reader.limit:
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk: bytes = message.get("body", b"")
                    if len(reader.received) + len(chunk) > bounds.bytes_max:
                        raise _too_large(bounds.bytes_max)
                    await self._take(reader, chunk)
                    arrived = len(reader.received) / bounds.bytes_per_second
                    reader.end_at(reader.started + bounds.seconds + arrived)
                    more = message.get("more_body", False)
        except TimeoutError:
            if reader.dropped or reader.waits:
                raise _full() from None
            raise TooSlow(
                f"the body did not arrive in time: expected it to begin at once, and at least "
                f"{bounds.bytes_per_second} bytes a second",
                "body",
            ) from None

    async def _take(self, reader: _Reader, chunk: bytes) -> None:
        """Hold the chunk, as soon as there is room."""
        now = asyncio.get_running_loop().time
        while not reader.dropped and self._held + len(chunk) > self.bounds.held_bytes_max:
            oldest = next((r for r in self._reading if r.received and r is not reader), None)
            if oldest is not None and now() - oldest.started >= self.bounds.safe_seconds:
                self._drop(oldest, now())
            else:
                reader.waits = True
                await asyncio.sleep(_LOOK_SECONDS)
        if reader.dropped:
            raise _full()
        reader.waits = False
        reader.received += chunk
        self._held += len(chunk)

    def _drop(self, reader: _Reader, now: float) -> None:
        self._release(reader)
        self._reading.pop(reader)
        reader.dropped = True
        reader.end_at(now)

    def _release(self, reader: _Reader) -> None:
        self._held -= len(reader.received)
        reader.received = bytearray()


def require_length(headers: Headers, bytes_max: int) -> None:
    """Check Content-Length, where it is given. Raises BadRequest, TooLarge."""
    stated = headers.get("content-length", "0")
    if not (stated.isascii() and stated.isdigit()):
        raise BadRequest("expected a number of bytes", "content-length")
    # Python refuses to read a number of thousands of digits.
    if len(stated.lstrip("0")) > 20 or int(stated) > bytes_max:
        raise _too_large(bytes_max)


def require_json(headers: Headers) -> None:
    """Check that the headers, where they say it, promise JSON in UTF-8 that is not compressed.

    Raises UnsupportedMedia.
    """
    for encoding in headers.getlist("content-encoding"):
        if encoding.strip().lower() not in ("", "identity"):
            raise UnsupportedMedia(
                f"the body is encoded as {encoding[:64]!r}: expected it as it is (identity). A "
                "signature is over the bytes of the JSON, so send it without compression",
                "content-encoding",
            )
    for stated in headers.getlist("content-type"):
        kind, _, parameters = stated.partition(";")
        charset = re.search(r'charset\s*=\s*"?([^";\s]*)', parameters, re.IGNORECASE)
        if not _JSON.fullmatch(kind.strip()):
            raise UnsupportedMedia(
                f"expected application/json, got {stated[:64]!r}", "content-type"
            )
        if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMedia(f"expected UTF-8, got {charset[1][:64]!r}", "content-type")


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"expected at most {bytes_max} bytes", "body")


def _full() -> Unavailable:
    return Unavailable("too many bodies arrive at once: send again", "body", "busy")
