"""tests/support/patience.py: waits that follow progress."""

import itertools

import pytest

from tests.support import patience
from tests.support.patience import Patience, Stalled, wait_until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by a second each time somebody sleeps, and the load beside it."""
    state = [0.0, 0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: state[0])
    monkeypatch.setattr(patience.time, "sleep", lambda _: state.__setitem__(0, state[0] + 1))
    monkeypatch.setattr(patience.os, "getloadavg", lambda: (state[1], 0, 0))
    monkeypatch.setattr(patience.os, "cpu_count", lambda: 2)
    return state


def test_what_does_not_move_is_given_up(clock: list[float]) -> None:
    """After the seconds that were given, with the last picture in the message."""
    with pytest.raises(Stalled, match=r"a batch: nothing moved for 10 s .*; closed"):
        wait_until("a batch", lambda: False, lambda: "closed", seconds=10)
    assert 10 <= clock[0] <= 12


def test_what_moves_is_waited_for(clock: list[float]) -> None:
    """However long it takes in all."""
    steps = itertools.count()
    wait_until("many steps", lambda: clock[0] > 1000, lambda: next(steps), seconds=2)
    assert clock[0] > 1000


def test_a_loaded_machine_is_given_its_time(clock: list[float]) -> None:
    """At load 6 on two cores a second counts for a third."""
    clock[1] = 6
    with pytest.raises(Stalled):
        wait_until("anything", lambda: False, seconds=10)
    assert 30 <= clock[0] <= 35


def test_progress_gives_the_whole_budget_back() -> None:
    """Not what was left of it."""
    waiting = Patience(5)
    waiting.left = 1
    assert not waiting.ended("new")
    assert waiting.left == 5
