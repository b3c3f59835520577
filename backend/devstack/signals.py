"""Signals that stop a stack: SIGINT, SIGTERM and SIGHUP, whatever a process inherited for them.

A shell script starts its background jobs with SIGINT ignored, and nohup ignores SIGHUP. An ignored
signal stays ignored in every process started below, until that process sets a handler of its own.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Inside, each of the signals raises KeyboardInterrupt, as Ctrl-C does."""

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    previous = [(number, signal.signal(number, stop)) for number in STOPPING]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Inside, no signal cuts anything short; the first that arrived is delivered at the end.

    A process that is started inside begins with the default for each signal: an exec resets a
    handler, but keeps an ignored signal ignored. Only the main thread gets signals, so that another
    thread needs no protection.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    previous = [
        (number, signal.signal(number, lambda got, _: arrived.append(got))) for number in STOPPING
    ]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler or signal.SIG_DFL)
        if arrived:
            signal.raise_signal(arrived[0])
