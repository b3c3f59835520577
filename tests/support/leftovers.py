"""A run that is cut short leaves nothing behind.

SIGTERM and SIGHUP end a run as Ctrl-C does: fixtures are torn down, and servers stop. A server that
the tests start dies with the test process even if that is killed.
"""

import signal

import pytest


def _interrupt(number: int, frame: object) -> None:
    """One signal ends the run; another must not cut the tear-down short."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(f"signal {number}")


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM and SIGHUP are heard as Ctrl-C is, until the process ends."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
