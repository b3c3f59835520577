"""backend/devstack/signals.py: a stop reaches a process whatever it inherited, and cuts no start
short."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.devstack.signals import STOPPING, signals_held_back, stop_on_signals
from backend.devstack.stack import Stack


@contextmanager
def ignored(*numbers: int) -> Iterator[None]:
    """As a background job of a script has it: the signals are ignored."""
    previous = [(number, signal.signal(number, signal.SIG_IGN)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_each_signal_stops_even_if_it_was_ignored(number: int) -> None:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, whatever the process inherited; what
    was set before is set again."""
    with ignored(number):
        with pytest.raises(KeyboardInterrupt), stop_on_signals():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_IGN


def test_a_signal_waits_for_the_end_of_the_section() -> None:
    """A signal inside is delivered once at the end, also if the section fails or is nested."""
    done = []

    def section() -> None:
        with signals_held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            done.append("inner")
        done.append("outer")
        raise ValueError("the section fails too")

    with pytest.raises(KeyboardInterrupt), stop_on_signals(), signals_held_back():
        section()
    assert done == ["inner", "outer"]


def test_a_section_in_another_thread_changes_nothing() -> None:
    """Only the main thread gets signals; another may hold a section all the same."""
    before = [signal.getsignal(number) for number in STOPPING]
    seen = []

    def section() -> None:
        with signals_held_back():
            seen.extend(signal.getsignal(number) for number in STOPPING)

    thread = threading.Thread(target=section)
    thread.start()
    thread.join()
    assert seen == before


def test_a_service_hears_the_signals_that_its_starter_ignores(tmp_path: Path) -> None:
    """A process of the stack begins with the default for each signal: an ignored one would stay
    ignored in it and in every process below it."""
    code = (
        "import signal, time\n"
        "for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
        "    assert signal.getsignal(n) is not signal.SIG_IGN, n\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    stack = Stack(tmp_path)
    with ignored(*STOPPING):
        service = stack.start("service", [sys.executable, "-c", code])
    try:
        stack.wait("service", lambda: "ready" in service.log.read_text())
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(30) == -signal.SIGINT
    finally:
        stack.close()


def test_a_stop_between_start_and_registration_leaves_no_process(tmp_path: Path) -> None:
    """A signal that arrives while a process starts is heard once the stack knows the process: the
    stack can then stop it."""

    class Interrupting(subprocess.Popen[bytes]):
        def __init__(self, *arguments: object, **named: object) -> None:
            super().__init__(*arguments, **named)  # type: ignore[call-overload]  # as they came
            os.kill(os.getpid(), signal.SIGTERM)

    stack = Stack(tmp_path, spawn=Interrupting)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        stack.start("service", ["sleep", "600"])
    process = stack.services["service"].process
    stack.close()
    assert process.returncode is not None
