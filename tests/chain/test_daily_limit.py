"""The daily limit in Python: the bound, exact, and the answers that the contract gives."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.chain.daily_limit import DAY, NO_LIMIT, LeakyBucket
from tests.vectors.generate import FOLDER

VECTORS = json.loads((FOLDER / "daily_limit.json").read_text())
PER_DAY = st.one_of(st.integers(1, 50), st.integers(1, 2**96 - 1))
WAITS = st.one_of(st.integers(0, 3), st.integers(0, 2 * DAY))


@st.composite
def days(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """A limit, and the (time, total) of what was committed under it, each as much as was wished or
    as was left."""
    per_day = draw(PER_DAY)
    bucket, time = LeakyBucket(per_day, 0, 1_000), 1_000
    posted = []
    for wait, greedy in draw(st.lists(st.tuples(WAITS, st.booleans()), max_size=30)):
        time += wait
        total = bucket.left(time) if greedy else draw(st.integers(1, per_day))
        if total and bucket.takes(total, time):
            bucket = bucket.post(total, time)
            posted.append((time, total))
    return per_day, posted


@given(days())
def test_the_bound(day: tuple[int, list[tuple[int, int]]]) -> None:
    """From any post to any later one, both included, at most limit * (1 + t / DAY) is committed:
    at one instant one limit."""
    per_day, posted = day
    for first, (start, _) in enumerate(posted):
        total = 0
        for time, amount in posted[first:]:
            total += amount
            assert total * DAY <= per_day * (DAY + time - start)


@given(days(), WAITS, st.data())
def test_when_it_fits(day: Any, wait: int, data: st.DataObject) -> None:
    """`fits_at` is the first second that takes the total; none takes more than the limit."""
    per_day, posted = day
    bucket = LeakyBucket(per_day, 0, 1_000)
    for time, total in posted:
        bucket = bucket.post(total, time)
    now = bucket.updated_at + wait
    total = data.draw(st.integers(1, per_day))
    at = bucket.fits_at(total, now)
    assert at is not None
    assert at >= now
    assert bucket.takes(total, at)
    assert at == now or not bucket.takes(total, at - 1)
    assert bucket.fits_at(per_day + 1, now) is None


@given(days(), PER_DAY, WAITS)
def test_a_change_frees_nothing(day: Any, other: int, wait: int) -> None:
    """What is used at a change stays used, whichever way the limit goes."""
    per_day, posted = day
    bucket = LeakyBucket(per_day, 0, 1_000)
    for time, total in posted:
        bucket = bucket.post(total, time)
    time = bucket.updated_at + wait
    changed = bucket.change(other, time)
    assert changed.used_at(time) == bucket.used_at(time)
    assert changed.left(time) == max(0, other * DAY - bucket.used_at(time)) // DAY


def test_without_a_limit() -> None:
    """Nothing is used, whatever is committed; a limit begins unused."""
    bucket = LeakyBucket().post(10**30, 5)
    assert (bucket.left(5), bucket.fits_at(10**40, 5)) == (NO_LIMIT, 5)
    assert LeakyBucket(10, 10 * DAY, 5).change(0, 6).change(10, 7) == LeakyBucket(10, 0, 7)


def test_an_earlier_time_refills_nothing() -> None:
    """A clock that goes back gives no credit, and takes none."""
    bucket = LeakyBucket(10, 10 * DAY, DAY)
    assert bucket.left(0) == bucket.left(DAY) == 0
    assert bucket.post(1, 0).updated_at == DAY


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    """The same posts fit, and the same is left, as the contract's model says."""
    scenario = VECTORS[name]
    bucket = LeakyBucket(int(scenario["perDay"]), 0, scenario["start"])
    announced = 0
    for step in scenario["steps"]:
        at, fine = step["at"], step["expect"] == "ok"
        if step["do"] == "post":
            total = int(step["amount"])
            assert bucket.takes(total, at) == fine, step
            bucket = bucket.post(total, at) if fine else bucket
        elif step["do"] == "announce" and fine:
            announced = int(step["perDay"])
        elif step["do"] in ("execute", "lower") and fine:
            bucket = bucket.change(int(step.get("perDay", announced)), at)
        assert bucket.left(at) == int(step["left"]), step
