"""A server that does not answer, in the log: one line at first, then ever fewer, one at its end."""

import logging
import time
from threading import Lock

import structlog

log = structlog.get_logger()

PAUSE_SECONDS_MAX = 60.0


class Outage:
    """What one process logs of one server that it needs. `server` is the server's name."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._lock = Lock()
        self._began: float | None = None
        self._next = 0.0
        self._pause = 1.0
        self._failures = 0

    def failed(self, error: BaseException) -> None:
        """The server did not answer. Says so after 0, 1, 3, 7 .. seconds, then once a minute.

        Only the error's kind is logged: a driver's text can hold parameters and URLs.
        """
        with self._lock:
            now = time.monotonic()
            self._failures += 1
            if self._began is None:
                self._began, self._next, self._pause = now, now, 1.0
            if now < self._next:
                return
            self._next, self._pause = now + self._pause, min(2 * self._pause, PAUSE_SECONDS_MAX)
            failures = self._failures
        cause = getattr(error, "orig", None) or error
        kind = type(cause).__name__
        log.error(f"{self._server}_unavailable", kind=kind, failures=failures)

    def over(self) -> None:
        """The server answered."""
        if self._began is None:
            return
        with self._lock:
            began, self._began = self._began, None
            failures, self._failures = self._failures, 0
        if began is not None:
            seconds = round(time.monotonic() - began)
            log.warning(f"{self._server}_available", failures=failures, seconds=seconds)


class OneLine(logging.Filter):
    """Makes one line of what another program's logger says of a server that does not answer."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        super().__init__()
        self._kinds = kinds

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record through, those of the kinds without traceback."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, self._kinds):
            record.exc_info, record.exc_text = None, None
            record.msg = f"{record.getMessage().strip()} ({type(error).__name__})"
            record.args = None
        return True
