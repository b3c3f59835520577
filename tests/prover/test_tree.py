"""prover/tree.py"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prover.field import P
from prover.tree import Tree, capacity, root_from_siblings, zero_root
from tests.prover import reference
from tests.prover.test_vectors import ints, load, pairs

LEVELS = 3
elements = st.one_of(st.just(0), st.integers(0, P - 1))
writes = st.lists(st.tuples(st.integers(0, 4**LEVELS - 1), elements), max_size=12)
slots = st.sets(st.integers(0, capacity(LEVELS) - 1), min_size=1, max_size=capacity(LEVELS)).map(
    sorted
)
light = settings(deadline=None, max_examples=25)


def tree_of(changes: list[tuple[int, int]]) -> Tree:
    tree = Tree(LEVELS)
    tree.update(changes)
    return tree


def paths(tree: Tree, chosen: list[int]) -> list[tuple[int, int, int]]:
    return [(slot, *tree.pair(slot)) for slot in chosen]


@pytest.mark.parametrize("levels", [0, -1])
def test_a_tree_has_a_level(levels: int) -> None:
    """A tree without levels is refused by name."""
    with pytest.raises(ValueError, match="levels: expected at least 1"):
        Tree(levels)


def test_too_many_elements_are_refused() -> None:
    """More than 4^levels elements never wrap or drop."""
    with pytest.raises(ValueError, match="elements: expected at most 4, got 5"):
        Tree(1, [1, 2, 3, 4, 5])


@pytest.mark.parametrize(("index", "element"), [(-1, 1), (64, 1), (0, -1), (0, P)])
def test_a_refused_update_changes_nothing(index: int, element: int) -> None:
    """A bad index or element is refused, and what was given before it in the same update has not
    been written either."""
    tree = Tree(LEVELS, [1, 2, 3])
    before = tree.root
    with pytest.raises(ValueError, match="expected"):
        tree.update([(4, 5), (index, element)])
    assert tree.node(0, 4) == 0
    assert tree.root == before
    tree.update([(4, 5)])
    assert tree.root == reference.root([1, 2, 3, 0, 5], LEVELS)


@pytest.mark.parametrize("chosen", [[], [1, 1], [2, 1], [-1], [32], [0, 32]], ids=str)
def test_slots_out_of_order_or_range_are_refused(chosen: list[int]) -> None:
    """Both sides of a shared path want strictly ascending slots of the tree."""
    tree = Tree(LEVELS)
    with pytest.raises(ValueError, match="slots: expected strictly ascending slots below 32"):
        tree.multi_siblings(chosen)
    with pytest.raises(ValueError, match="slots: expected strictly ascending slots below 32"):
        root_from_siblings(LEVELS, [(slot, 0, 0) for slot in chosen], [])


@light
@given(writes, slots, st.data())
def test_a_wrong_number_of_siblings_is_refused(changes, chosen, data) -> None:
    """One sibling too few or too many is an error, not another root."""
    tree = tree_of(changes)
    siblings = tree.multi_siblings(chosen)
    with pytest.raises(ValueError, match="siblings: too many"):
        root_from_siblings(LEVELS, paths(tree, chosen), [*siblings, data.draw(elements)])
    if siblings:
        with pytest.raises(ValueError, match="siblings: too few"):
            root_from_siblings(LEVELS, paths(tree, chosen), siblings[:-1])


@light
@given(writes, slots, st.data())
def test_a_changed_pair_or_sibling_gives_another_root(changes, chosen, data) -> None:
    """Neither an account nor a sibling can be exchanged under a root."""
    tree = tree_of(changes)
    accounts, siblings = paths(tree, chosen), tree.multi_siblings(chosen)
    position = data.draw(st.integers(0, len(accounts) * 2 + len(siblings) - 1))
    shift = data.draw(st.integers(1, P - 1))
    if position < 2 * len(accounts):
        row = list(accounts[position // 2])
        row[1 + position % 2] = (row[1 + position % 2] + shift) % P
        accounts[position // 2] = tuple(row)
    else:
        at = position - 2 * len(accounts)
        siblings[at] = (siblings[at] + shift) % P
    assert root_from_siblings(LEVELS, accounts, siblings) != tree.root


@light
@given(writes, writes)
def test_updates_equal_a_rebuild(first, second) -> None:
    """Recomputing touched paths only gives every node that a tree built at once has, and the root
    folded from nothing."""
    tree = tree_of(first)
    tree.update(second)
    final = dict(first) | dict(second)
    flat = [final.get(i, 0) for i in range(4**LEVELS)]
    rebuilt = Tree(LEVELS, flat)
    assert tree.root == rebuilt.root == reference.root(flat, LEVELS)
    for level in range(LEVELS + 1):
        for index in range(4 ** (LEVELS - level)):
            assert tree.node(level, index) == rebuilt.node(level, index)


@light
@given(writes, slots)
def test_siblings_lead_to_the_root(changes, chosen) -> None:
    """Shared paths for any set of slots, and the single path of each by an independent walk."""
    tree = tree_of(changes)
    assert root_from_siblings(LEVELS, paths(tree, chosen), tree.multi_siblings(chosen)) == tree.root
    for slot in chosen[:3]:
        siblings = tree.siblings(slot)
        assert len(siblings) == 2 + 3 * (LEVELS - 1)
        assert reference.path_root(LEVELS, slot, tree.pair(slot), siblings) == tree.root


def test_all_slots_need_no_siblings() -> None:
    """Claiming a whole bucket takes nothing but the accounts."""
    tree = tree_of([(i, i + 1) for i in range(64)])
    assert tree.multi_siblings(range(32)) == []
    assert root_from_siblings(LEVELS, paths(tree, list(range(32))), []) == tree.root


def test_empty_trees_and_pairs() -> None:
    """A tree of zeros has the zero root at every level; pairs lie at 2s and 2s + 1."""
    tree = Tree(LEVELS)
    assert tree.root == zero_root(LEVELS) == reference.root([], LEVELS)
    tree.set_pair(31, 7, 9)
    assert (tree.node(0, 62), tree.node(0, 63), tree.pair(31)) == (7, 9, (7, 9))
    assert tree.pairs() == [(0, 0)] * 31 + [(7, 9)]
    assert (capacity(3), capacity(5)) == (32, 512)


@pytest.mark.parametrize(
    "case",
    load("tree.json"),
    ids=lambda case: f"{case['levels']} levels, {len(case['pairs'])} accounts",
)
def test_vectors(case) -> None:
    """The shared trees, paths and shared paths."""
    accounts = pairs(case["pairs"])
    tree = Tree(case["levels"], [element for pair in accounts for element in pair])
    assert tree.root == int(case["root"], 16)
    for path in case["paths"]:
        assert tree.siblings(path["slot"]) == ints(path["siblings"])
    for path in case["sharedPaths"]:
        assert tree.multi_siblings(path["slots"]) == ints(path["siblings"])
        rows = [(slot, *accounts[slot]) for slot in path["slots"]]
        assert root_from_siblings(case["levels"], rows, ints(path["siblings"])) == tree.root
