"""backend/kit/processes.py: what ends with its terminal, and what ends with its parent."""

import signal
import subprocess
import sys

import psutil

HANGS_UP = """
import signal, sys, time
from backend.kit.processes import end_on_hangup
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGHUP, lambda *_: print("restarts", flush=True))  # as Celery does
signal.signal(signal.SIGUSR1, lambda *_: print("alive", flush=True))
end_on_hangup()
print("ready", flush=True)
while True:
    time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
from backend.kit.processes import dies_with_parent
child = subprocess.Popen(["sleep", "600"], preexec_fn=dies_with_parent(), start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def started(code: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **options
    )


def test_a_hangup_ends_as_a_termination_does() -> None:
    """By the same handler, and not by another start."""
    with started(HANGS_UP) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 7
        assert process.stdout.read() == ""


def test_nohup_is_respected() -> None:
    """Where SIGHUP was ignored at the start, it stays so."""
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    with started(HANGS_UP, preexec_fn=ignore) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "alive\n"
        process.terminate()
        assert process.wait(30) == 7


def test_a_child_does_not_outlive_a_killed_parent() -> None:
    """SIGKILL cannot be handled: the kernel ends the child."""
    with started(PARENT) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child.wait(30)
