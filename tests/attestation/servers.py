"""Attestors that do what a test says: real HTTP servers, each on a port of its own."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]
"""Status and body: bytes as they are, None for none, anything else as JSON."""


@dataclass
class Server:
    """`url`, and what was asked: (path, authorization, JSON) each."""

    url: str
    seen: list[tuple[str, str | None, Any]] = field(default_factory=list)


@contextmanager
def serving(
    respond: Callable[[str, Any, Callable[[bytes], None]], Answer | None],
) -> Iterator[Server]:
    """A server that gives the answer of `respond(path, payload, write)`; None if that has written
    bytes to the connection itself."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
            made.seen.append((self.path, self.headers.get("authorization"), payload))
            try:
                answer = respond(self.path, payload, self._write)
                if answer is not None:
                    self._answer(*answer)
            except OSError:
                self.close_connection = True  # the coordinator has hung up

        def _write(self, data: bytes) -> None:
            self.close_connection = True
            self.wfile.write(data)
            self.wfile.flush()

        def _answer(self, status: int, body: Any) -> None:
            data = (
                b""
                if body is None
                else body
                if isinstance(body, bytes)
                else json.dumps(body).encode()
            )
            self.send_response(status)
            if body is not None:
                self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Server(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answering(status: int, body: Any) -> Any:
    """A server that gives one answer to every request."""
    return serving(lambda path, payload, write: (status, body))


def hang(path: str, payload: Any, write: Callable[[bytes], None]) -> None:
    """No answer for longer than any test waits."""
    time.sleep(60)


def drip_head(path: str, payload: Any, write: Callable[[bytes], None]) -> None:
    """An answer's headers, a byte at a time, without end."""
    write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    _drip(write)


def drip_body(path: str, payload: Any, write: Callable[[bytes], None]) -> None:
    """An answer's body, a byte at a time, without end."""
    write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    _drip(write)


def _drip(write: Callable[[bytes], None]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        write(b" ")
        time.sleep(0.05)
