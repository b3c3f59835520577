"""The suite's machinery: gears are what they say, and a run cut short leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:ape_test", "-p", "no:cacheprovider"]


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """pytest over one planted file of tests/, with the suite's plugins."""
    path = folder / "test_planted.py"
    path.write_text(text)
    command = [*PYTEST, "-p", "tests.support.gears", "--strict-markers", "-c", str(config(folder))]
    return subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True)


def config(folder: Path) -> Path:
    path = folder / "pytest.ini"
    path.write_text("[pytest]\nmarkers =\n  pure:\n  db:\n  chain:\n  stack:\n  soak:\n")
    return path


def test_a_test_with_two_gears_is_refused(tmp_path: Path) -> None:
    """Nothing runs until each test has one gear."""
    text = "import pytest\n@pytest.mark.db\n@pytest.mark.chain\ndef test_it(): pass\n"
    done = run(tmp_path, text)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "expected one gear" in done.stderr


@pytest.mark.parametrize(("gear", "code"), [("pure", 1), ("db", 1), ("chain", 0), ("stack", 0)])
def test_a_program_of_a_higher_gear_is_refused(tmp_path: Path, gear: str, code: int) -> None:
    """A test that starts Anvil passes in the gears of chain and stack alone."""
    anvil = tmp_path / "anvil"
    anvil.write_text("#!/bin/sh\n")
    anvil.chmod(0o755)
    text = "import pytest, subprocess\n" + f"@pytest.mark.{gear}\ndef test_it(): "
    done = run(tmp_path, text + f"subprocess.run([{str(anvil)!r}])\n")
    assert done.returncode == code, done.stdout
    assert ("it has gear chain" in done.stdout) is bool(code)


HANGING = """
import os, time
from tests.support.anvil import anvil
from tests.support.postgres import postgres

@__import__("pytest").mark.chain
def test_hangs():
    with anvil() as chain, postgres() as url:
        open({ready!r} + ".part", "w").write(f"{{chain.pid}} {{url.partition('host=')[2]}}")
        os.rename({ready!r} + ".part", {ready!r})
        time.sleep(600)
"""


@pytest.mark.chain
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_run_that_is_cut_short_leaves_nothing(tmp_path: Path, number: int) -> None:
    """SIGTERM, SIGHUP or SIGKILL in the middle of a test: Anvil, PostgreSQL and its files go."""
    ready, path = tmp_path / "ready", tmp_path / "test_planted.py"
    path.write_text(HANGING.format(ready=str(ready)))
    plugins = ["-p", "tests.support.leftovers", "-p", "tests.support.gears"]
    cut = subprocess.Popen([*PYTEST, *plugins, "-c", str(config(tmp_path)), str(path)], cwd=ROOT)
    wait(lambda: ready.exists() or cut.poll() is not None)
    pid, folder = ready.read_text().split()
    postmaster = int((Path(folder) / "data" / "postmaster.pid").read_text().split()[0])
    servers = [psutil.Process(int(pid)), psutil.Process(postmaster)]
    servers += [child for server in servers for child in server.children(recursive=True)]
    os.kill(cut.pid, number)
    cut.wait(WAIT_SECONDS)
    _, left = psutil.wait_procs(servers, timeout=WAIT_SECONDS)
    assert [process.cmdline() for process in left] == []
    wait(lambda: not Path(folder).exists())


def wait(ready: Callable[[], bool]) -> None:
    """Until it is so. Raises AssertionError."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)
