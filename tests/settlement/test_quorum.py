"""backend/settlement/quorum.py: whose signatures go along, without a chain."""

from itertools import combinations
from math import comb

import pytest

from backend.settlement.quorum import Faults, Quorum, all_tried, choose

NAMES = [f"0x{number:040x}" for number in range(1, 8)]


@pytest.mark.parametrize(
    ("faults", "quorum"),
    [
        ({}, (0, 1)),
        ({0: Faults(refused=1)}, (1, 2)),
        ({1: Faults(suspected=1)}, (0, 2)),
        ({0: Faults(refused=1), 2: Faults(suspected=9)}, (1, 2)),
        ({name: Faults(1) for name in range(3)}, (0, 1)),
    ],
)
def test_whoever_is_blamed_goes_last(faults: dict[int, Faults], quorum: tuple[int, int]) -> None:
    """The lowest addresses of those with the least blame go along; a refusal weighs more than a
    suspicion."""
    blamed = {NAMES[number]: found for number, found in faults.items()}
    assert choose(NAMES[:3], 2, blamed) == Quorum(NAMES[number] for number in quorum)


def test_no_quorum_without_enough() -> None:
    """Fewer than m are no quorum."""
    assert choose(NAMES[:2], 3, {}) is None


def test_every_quorum_comes_before_one_comes_again() -> None:
    """Each further try is a new quorum until none is left; then the one tried least is next."""
    tried: list[Quorum] = []
    for _ in range(comb(5, 3)):
        assert not all_tried(NAMES[:5], 3, tried)
        tried.append(choose(NAMES[:5], 3, {}, tried))
    assert len(set(tried)) == comb(5, 3)
    assert all_tried(NAMES[:5], 3, tried)
    assert choose(NAMES[:5], 3, {}, [*tried, *tried[1:]]) == tried[0]


def posts_until_one_lands(n: int, m: int, bad: frozenset[str], named: bool) -> int:
    """How many posts it takes if every quorum with an attestor of `bad` reverts. `named`: the
    lowest of them is known then; otherwise the whole quorum is suspected."""
    faults: dict[str, Faults] = {}
    tried: list[Quorum] = []
    while True:
        quorum = choose(NAMES[:n], m, faults, tried)
        assert quorum is not None
        assert quorum not in tried
        tried.append(quorum)
        if not quorum & bad:
            return len(tried)
        for name in [min(quorum & bad)] if named else quorum:
            before = faults.get(name, Faults())
            faults[name] = Faults(before.refused + named, before.suspected + (not named))


@pytest.mark.parametrize(("n", "m"), [(2, 1), (3, 2), (4, 3), (5, 3), (7, 4), (7, 5)])
def test_one_dishonest_attestor_costs_few_posts(n: int, m: int) -> None:
    """Whichever it is, at most m posts revert where nobody can say who it was, and one where the
    contract names it."""
    for name in NAMES[:n]:
        assert posts_until_one_lands(n, m, frozenset([name]), named=False) <= m + 1
        assert posts_until_one_lands(n, m, frozenset([name]), named=True) <= 2


@pytest.mark.parametrize(("n", "m"), [(5, 3), (7, 4), (7, 3)])
def test_any_honest_quorum_is_found(n: int, m: int) -> None:
    """With every set of dishonest attestors that leaves m honest ones: named, each costs one post;
    unnamed, no quorum is tried twice before the honest one is found."""
    for count in range(1, n - m + 1):
        for bad in combinations(NAMES[:n], count):
            assert posts_until_one_lands(n, m, frozenset(bad), named=True) <= count + 1
            assert posts_until_one_lands(n, m, frozenset(bad), named=False) <= comb(n, m)
