"""Failpoints: nothing without the variable, one kill with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = (
    "from backend.kit.failpoint import failpoint\nfor name in 'a b a b a'.split():\n "
    "failpoint(name)\n print(name, end='', flush=True)"
)


def _run(setting: str | None, folder: Path | None) -> tuple[int, str, str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GUERDON_FAILPOINT")
    }
    if setting is not None:
        environment["GUERDON_FAILPOINT"] = setting
    if folder is not None:
        environment["GUERDON_FAILPOINT_DIR"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("setting", [None, "", "c", "a:4", "A"])
def test_nothing_happens_elsewhere(setting: str | None) -> None:
    """Unset, empty, another name or a hit that is never reached: the process runs to its end,
    folder or not."""
    assert _run(setting, None)[:2] == (0, "ababa")


@pytest.mark.parametrize(
    ("setting", "printed"),
    [("a", ""), ("b", "a"), ("a:2", "ab"), ("b:2", "aba"), ("c,a:3", "abab")],
)
def test_the_process_is_killed_once(tmp_path: Path, setting: str, printed: str) -> None:
    """SIGKILL at the named hit; the next run of the same command goes through."""
    assert _run(setting, tmp_path)[:2] == (-signal.SIGKILL, printed)
    assert _run(setting, tmp_path)[:2] == (0, "ababa")


def test_several_places_kill_once_each(tmp_path: Path) -> None:
    """Two places in one setting take two restarts."""
    assert [_run("a:2,b", tmp_path)[0] for _ in range(3)] == [-signal.SIGKILL, -signal.SIGKILL, 0]


def test_the_whole_group_dies(tmp_path: Path) -> None:
    """A process that would live on, in the group of one that meets the place, is gone with it."""
    script = f'{sys.executable} -c "{SCRIPT}" & sleep 60; echo survived'
    environment = os.environ | {
        "GUERDON_FAILPOINT": "b",
        "GUERDON_FAILPOINT_DIR": str(tmp_path),
        "GUERDON_FAILPOINT_WHOLE": "1",
    }
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "a")


def test_a_missing_folder_is_named() -> None:
    """Without the folder a process would be killed at every start: that is refused at the place."""
    code, printed, error = _run("b", None)
    assert (code, printed) == (1, "a")
    assert "GUERDON_FAILPOINT_DIR: expected a folder" in error
