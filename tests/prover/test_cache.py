"""prover/cache.py"""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from prover.cache import CacheError, cache_root, cached_folder


def build_slowly(folder: Path) -> None:
    """Fill a folder in two steps with time between them, and keep count of the builds."""
    with (folder.parent / "builds").open("a") as log:
        log.write("x")
    (folder / "first").write_text("1")
    time.sleep(0.2)
    (folder / "second").write_text("2")


def build_and_die(folder: Path) -> None:
    """Die half way, as a killed process does: no exception, no clean-up."""
    (folder / "first").write_text("1")
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(path: Path, build) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=cached_folder, args=(path, build))
    process.start()
    return process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "entry"


def test_a_build_that_fails_leaves_nothing(path: Path) -> None:
    """The error comes through, no folder appears under the name, and the next build succeeds."""

    def fail(folder: Path) -> None:
        (folder / "first").write_text("1")
        raise RuntimeError("no space left")

    with pytest.raises(RuntimeError, match="no space left"):
        cached_folder(path, fail)
    assert [entry.name for entry in path.parent.iterdir()] == ["entry.lock"]
    assert sorted(entry.name for entry in cached_folder(path, build_slowly).iterdir()) == [
        "first",
        "second",
    ]


def test_a_build_that_is_killed_does_not_count(path: Path) -> None:
    """After SIGKILL in the middle there is no folder, no lock is held, and the next build
    succeeds."""
    process = in_a_process(path, build_and_die)
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
    assert not path.exists()
    assert sorted(entry.name for entry in cached_folder(path, build_slowly).iterdir()) == [
        "first",
        "second",
    ]


def test_what_a_killed_build_left_behind_is_removed(path: Path) -> None:
    """Keys are large: the next build of the same entry clears away its dead predecessor."""
    in_a_process(path, build_and_die).join(10)
    cached_folder(path, build_slowly)
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "builds",
        "entry",
        "entry.lock",
    ]


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_concurrent_callers_share_one_complete_build(path: Path, kind: str) -> None:
    """Whoever comes while a build runs waits for it: one build, and nobody sees half of it."""
    if kind == "processes":
        workers = [in_a_process(path, build_slowly) for _ in range(3)]
    else:
        workers = [
            threading.Thread(target=cached_folder, args=(path, build_slowly)) for _ in range(3)
        ]
        for worker in workers:
            worker.start()
    while any(worker.is_alive() for worker in workers):
        if path.exists():
            assert sorted(entry.name for entry in path.iterdir()) == ["first", "second"]
        time.sleep(0.01)
    assert (path.parent / "builds").read_text() == "x"


def test_a_complete_folder_is_not_built_again(path: Path) -> None:
    """The second call does not build."""
    assert cached_folder(path, build_slowly) == path
    assert cached_folder(path, build_slowly) == path
    assert (path.parent / "builds").read_text() == "x"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """GUERDON_CACHE before XDG_CACHE_HOME before ~/.cache; empty counts as unset."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("GUERDON_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_root() == Path("/home/somebody/.cache/guerdon")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_root() == Path("/xdg/guerdon")
    monkeypatch.setenv("GUERDON_CACHE", "/mine")
    assert cache_root() == Path("/mine")


def test_no_place_for_a_cache_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a home, and a folder that cannot be made: what to set."""
    for name in ("GUERDON_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as nobody:
        nobody.setattr("pwd.getpwuid", {}.__getitem__)  # knows nobody
        with pytest.raises(CacheError, match="no home folder: set GUERDON_CACHE"):
            cache_root()
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="Not a directory: set GUERDON_CACHE"):
        cached_folder(tmp_path / "file" / "keys" / "x", lambda _: None)
