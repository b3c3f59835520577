"""The files of the local stack."""

import os
import stat
from pathlib import Path

from backend.devstack.stack import Stack


def test_logs_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Under the usual umask too: what a service says may be of use to a stranger. A log that others
    could read is closed to them."""
    before = os.umask(0o022)
    try:
        old = tmp_path / "logs" / "old.log"
        old.parent.mkdir(0o700)
        old.write_text("said\n")
        for folder in (tmp_path, tmp_path / "new"):
            stack = Stack(folder)
            for name in ("old", "new"):
                stack.start(name, ["true"]).process.wait()
            stack.close()
        modes = {
            str(one.relative_to(tmp_path)): stat.S_IMODE(one.stat().st_mode)
            for one in tmp_path.rglob("*")
        }
    finally:
        os.umask(before)
    assert modes == {
        "logs": 0o700,
        "logs/old.log": 0o640,
        "logs/new.log": 0o600,
        "new": 0o700,
        "new/logs": 0o700,
        "new/logs/old.log": 0o600,
        "new/logs/new.log": 0o600,
    }
    assert old.read_text() == "said\n"
