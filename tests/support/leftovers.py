"""A run that is cut short leaves nothing behind.

SIGTERM and SIGHUP end a run as Ctrl-C does: fixtures are torn down, and servers stop. A server that
the tests start dies with the test process even if that is killed.
"""

import signal
import subprocess
from pathlib import Path

import pytest


def stop_with_parent(pid_file: Path, folder: Path) -> subprocess.Popen[bytes]:
    """A reaper for a daemon: when this process ends, it stops the daemon that wrote `pid_file` and
    removes `folder`."""
    script = 'cat >/dev/null; [ ! -f "$1" ] || kill -QUIT "$(head -n 1 "$1")"; rm -rf "$2"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "reaper", str(pid_file), str(folder)],
        stdin=subprocess.PIPE,  # closed by the kernel when this process is gone
        start_new_session=True,  # Ctrl-C in a terminal is not for the reaper
    )


def _interrupt(number: int, frame: object) -> None:
    """One signal ends the run; another must not cut the tear-down short."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(f"signal {number}")


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM and SIGHUP are heard as Ctrl-C is, until the process ends."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
