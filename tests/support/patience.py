"""Waiting by progress: a wait ends when nothing moves any more, not when a clock says so.

A machine with more to do than cores is slow, and that is no failure: time counts by the share of a
core that a process can have, and starts over whenever what is watched has changed.
"""

import os
import time
from collections.abc import Callable, Hashable

STALL_SECONDS = 60
"""How long nothing may move, on an idle machine."""
PAUSE_SECONDS = 0.05
LOOK_SECONDS = 1.0
"""How often progress is looked at: the picture may cost queries."""


class Stalled(AssertionError):
    """What was waited for did not come; the message says what was seen last."""


def share() -> float:
    """The part of a core that a process can expect now, at most 1."""
    return min(1.0, (os.cpu_count() or 1) / max(os.getloadavg()[0], 1.0))


def idle_seconds(started: float) -> float:
    """What an idle machine would have needed since `started`, a time of `time.monotonic()`."""
    return (time.monotonic() - started) * share()


class Patience:
    """A budget of idle time that comes back with every sign of progress."""

    def __init__(self, seconds: float = STALL_SECONDS) -> None:
        self.seconds = self.left = seconds
        self._seen: Hashable = None
        self._last = time.monotonic()

    def ended(self, seen: Hashable = None) -> bool:
        """Whether the budget is spent; `seen` is a picture of what should move."""
        now = time.monotonic()
        self.left -= (now - self._last) * share()
        self._last = now
        if seen != self._seen:
            self._seen, self.left = seen, self.seconds
        return self.left < 0


def wait_until(
    what: str,
    ready: Callable[[], object],
    progress: Callable[[], Hashable] = lambda: None,
    seconds: float = STALL_SECONDS,
) -> None:
    """Wait for `ready`; give up when `progress` shows the same for `seconds`. Raises Stalled."""
    patience, looked, seen = Patience(seconds), -LOOK_SECONDS, None
    while not ready():
        if time.monotonic() - looked >= LOOK_SECONDS:
            looked, seen = time.monotonic(), progress()
        if patience.ended(seen):
            raise Stalled(f"{what}: nothing moved for {seconds} s of an idle machine; {seen}")
        time.sleep(PAUSE_SECONDS)
