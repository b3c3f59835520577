"""The single-flight cache: computes a value once, drops the oldest, keeps no failure."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.kit.cache import SingleFlightCache


def test_made_once_however_many_ask() -> None:
    """Eight threads that ask for one key at a time get one value, made once."""
    kept: SingleFlightCache[str, object] = SingleFlightCache(2)
    together, made = threading.Barrier(8), []

    def make() -> object:
        made.append(threading.get_ident())
        threading.Event().wait(0.2)
        return object()

    def ask(_: int) -> object:
        together.wait()
        return kept.get("key", make)

    with ThreadPoolExecutor(8) as pool:
        values = set(pool.map(ask, range(8)))
    assert (len(values), len(made)) == (1, 1)


def test_other_keys_do_not_wait() -> None:
    """While one key is made, another is made, and what is kept is given out."""
    kept: SingleFlightCache[str, str] = SingleFlightCache(2)
    kept.get("kept", lambda: "kept")
    started, finish = threading.Event(), threading.Event()

    def slow() -> str:
        started.set()
        assert finish.wait(10)
        return "slow"

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(kept.get, "slow", slow)
        assert started.wait(10)
        assert [kept.get(key, lambda: "made") for key in ("kept", "other")] == ["kept", "made"]
        finish.set()
        assert waiting.result() == "slow"


def test_least_recently_used_goes_first() -> None:
    """There is room for so many; what was not asked for longest is made anew."""
    kept: SingleFlightCache[int, int] = SingleFlightCache(2)
    made: list[int] = []

    def get(key: int) -> int:
        return kept.get(key, lambda: made.append(key) or key)

    assert [get(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert made == [1, 2, 3, 2]


def test_failures_are_not_kept() -> None:
    """What fails is raised to whoever made it; those who waited for it try themselves, one after
    another."""
    kept: SingleFlightCache[str, str] = SingleFlightCache(2)
    started, finish, tries = threading.Event(), threading.Event(), []

    def fails() -> str:
        started.set()
        assert finish.wait(10)
        raise ValueError("for the test")

    def works() -> str:
        tries.append(1)
        return "value"

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(kept.get, "key", fails)
        assert started.wait(10)
        others = [pool.submit(kept.get, "key", works) for _ in range(3)]
        finish.set()
        with pytest.raises(ValueError, match="for the test"):
            first.result()
        assert [other.result() for other in others] == ["value"] * 3
    assert len(tries) == 1
