"""backend/devstack/postgres.py: the embedded server in strange folders, for strangers, and in
strange environments."""

import multiprocessing
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from backend.devstack import postgres
from backend.devstack.postgres import PostgresError, start
from backend.devstack.stack import Stack

NOBODY = 65_534
STRANGERS = [None, NOBODY] if os.geteuid() == 0 else [None]
"""Users of the machine: this one, and a second where a test may become one."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's folders, which another user may not enter."""
    with tempfile.TemporaryDirectory(prefix="guerdon-test-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o777)
        yield Path(made)


def _serve(user: int | None, data: Path, temporary: Path, answers: Connection) -> None:
    """A process of `user` that starts a server, tells what it answers, and waits to be told."""
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    tempfile.tempdir = str(temporary)
    url, stop = start(data)
    with psycopg.connect(url) as connection:
        answers.send((url, connection.execute("SELECT 1").fetchone()))
    answers.recv()
    stop()
    answers.send("stopped")


@pytest.mark.parametrize("user", STRANGERS)
def test_each_user_in_any_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, user: int | None
) -> None:
    """What the first user of the machine left in the temporary folder is in nobody's way; a path
    may hold what it likes; variables for other servers and a locale that is not there change
    nothing. The end leaves no folder of ours."""
    temporary = folder / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    # As the first user's lock: nobody can open it, root neither.
    (temporary / ".lockfile").mkdir(mode=0o700)
    data = folder / f"it's a café ({'deep' * 20})" / "$x"
    data.mkdir(parents=True)
    data.chmod(0o777)
    for name, value in {
        "PGPORT": "6000",
        "PGHOSTADDR": "192.0.2.1",
        "PGDATA": "/nowhere",
        "PGOPTIONS": "-c nothing=1",
        "LC_ALL": "xx_YY.UTF-8",
        "XDG_RUNTIME_DIR": "/nowhere/at/all",
    }.items():
        monkeypatch.setenv(name, value)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(user, data / "postgres", temporary, theirs))
    process.start()
    theirs.close()
    url, answer = ours.recv()
    assert answer == (1,)
    sockets = Path(conninfo_to_dict(url)["host"])
    assert sockets.parent == temporary
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    ours.send("stop")
    assert ours.recv() == "stopped"
    process.join(30)
    assert [path.name for path in temporary.iterdir()] == [".lockfile"]


def _serve_until_killed(folder: Path, answers: Connection) -> None:
    start(folder)
    answers.send(int((folder / "postmaster.pid").read_text().split()[0]))
    answers.recv()


def test_a_killed_process_leaves_no_server(folder: Path) -> None:
    """SIGKILL of the process that started it stops the server."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_until_killed, args=(folder / "postgres", theirs))
    process.start()
    server = psutil.Process(ours.recv())
    os.kill(process.pid, signal.SIGKILL)
    server.wait(30)


def test_a_server_that_does_not_start_is_told(folder: Path) -> None:
    """With its log; no traceback."""
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("18")
    (folder / "postgres" / "log").write_text("the log's last line\n")
    with pytest.raises(PostgresError, match="did not start"):
        start(folder / "postgres")


def test_no_place_for_a_socket_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path has 107 bytes at most."""
    monkeypatch.setattr(postgres, "_FOLDER_LENGTH_MAX", 3)
    with pytest.raises(PostgresError, match="TMPDIR"):
        start()


def test_a_stack_takes_no_server_of_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exported DATABASE_URL is neither used nor given to a service."""
    for name in ("DATABASE_URL", "GUERDON_RPC_URL"):
        monkeypatch.setenv(name, "postgresql://stranger@192.0.2.1/production")
    stack = Stack(folder)
    try:
        assert "guerdon-pg-" in stack.start_postgres()
        service = stack.start("service", ["env"])
        service.process.wait(30)
        assert "stranger" not in service.log.read_text()
    finally:
        stack.close()
