"""Named places where a test kills the process, to show what a crash leaves behind.

    GUERDON_FAILPOINT=tx.stored          SIGKILL the first time failpoint("tx.stored") is reached
    GUERDON_FAILPOINT=tx.stored:3        at the third time in that process
    GUERDON_FAILPOINT=tx.stored,tx.sent  at each of them
    GUERDON_FAILPOINT_DIR=/some/folder   required: a marker file there makes each kill happen once,
                                         whatever is restarted
    GUERDON_FAILPOINT_WHOLE=1            kill the whole process group, not this process alone

Failpoints serve kill tests only. Without the variable a failpoint is one dictionary look-up. Put
one before and one after each commit, and each effect outside the database. The name is
`<domain>.<what was just done>`: for example `batch.proven` in the transaction that stores the
proof, and `batch.proven.committed` after the block of that transaction.
"""

import os
import signal
from collections import Counter
from pathlib import Path

_hits: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Kill this process here, once, if GUERDON_FAILPOINT names this place.

    Raises ValueError for a malformed setting.
    """
    wanted = os.environ.get("GUERDON_FAILPOINT")
    if not wanted:
        return
    _hits[name] += 1
    for entry in wanted.split(","):
        place, _, hit = entry.strip().partition(":")
        if place == name and _hits[name] == int(hit or 1):
            _kill_once(entry.strip())


def _kill_once(entry: str) -> None:
    folder = os.environ.get("GUERDON_FAILPOINT_DIR")
    if not folder:
        raise ValueError("GUERDON_FAILPOINT_DIR: expected a folder, for GUERDON_FAILPOINT is set")
    try:
        # Exclusive: of several processes that reach the place, one dies.
        Path(folder, f"{entry.replace(':', '-')}.killed").touch(exist_ok=False)
    except FileExistsError:
        return
    if os.environ.get("GUERDON_FAILPOINT_WHOLE"):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
