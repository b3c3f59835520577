"""What ties a process to its terminal and to the process that started it."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_HANGUP_IGNORED = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
"""As under nohup: looked up before a library sets a handler of its own."""


def dies_with_parent(number: int = signal.SIGTERM) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends the new process this signal when its parent ends.

    The parent is the thread that starts the process, so that only the main thread's processes are
    tied. Elsewhere than on Linux nothing is.
    """
    if os.uname().sysname != "Linux" or threading.current_thread() is not threading.main_thread():
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, number)


def end_on_hangup() -> None:
    """From now on SIGHUP ends this process as SIGTERM does: in order, and not by a restart.

    A terminal that is closed sends it. Under nohup it stays ignored. Only the main thread can hear
    signals; in another one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    handler = (
        signal.SIG_IGN if _HANGUP_IGNORED else (lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    )
    signal.signal(signal.SIGHUP, handler)
