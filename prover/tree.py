"""Merkle trees of 4^L field elements folded by H4, left to right (PROTOCOL sections 2, 3 and 7)."""

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache

from prover.field import require_element
from prover.poseidon2 import h4


@lru_cache(maxsize=64)
def zero_root(levels: int) -> int:
    """Root of the tree of 4^levels zeros; level 0 is the element 0 itself."""
    if levels == 0:
        return 0
    child = zero_root(levels - 1)
    return h4(child, child, child, child)


def capacity(levels: int) -> int:
    """Number of (address, value) pairs in a tree of 4^levels elements: the protocol's N."""
    elements: int = 4**levels
    return elements // 2


class Tree:
    """A mutable tree of 4^levels elements, all 0 at first.

    A change hashes only the nodes above it again. `root` is always up to date. Elements are field
    elements; `set_pair(s, address, value)` writes elements 2s and 2s+1.
    """

    def __init__(self, levels: int, elements: Sequence[int] = ()) -> None:
        """Raises ValueError for too many elements or one that is not a field element."""
        if levels < 1:
            raise ValueError(f"levels: expected at least 1, got {levels}")
        if len(elements) > 4**levels:
            raise ValueError(f"elements: expected at most {4**levels}, got {len(elements)}")
        self.levels = levels
        # Sparse: a node that is not stored is the root of an all-zero subtree.
        self._nodes: list[dict[int, int]] = [{} for _ in range(levels + 1)]
        self.update(enumerate(elements))

    def update(self, changes: Iterable[tuple[int, int]]) -> None:
        """Write (index, element) pairs, then hash each touched node once.

        Raises ValueError before anything is written.
        """
        changes = list(changes)
        for index, element in changes:
            if not 0 <= index < 4**self.levels:
                raise ValueError(f"index: expected 0 .. {4**self.levels - 1}, got {index}")
            require_element(element, f"element {index}")
        touched = set()
        for index, element in changes:
            if element != self.node(0, index):
                self._nodes[0][index] = element
                touched.add(index // 4)
        for level in range(1, self.levels + 1):
            for index in touched:
                self._nodes[level][index] = h4(
                    *(self.node(level - 1, 4 * index + k) for k in range(4))
                )
            touched = {index // 4 for index in touched}

    def set_pair(self, slot: int, address: int, value: int) -> None:
        """Write elements 2*slot and 2*slot + 1."""
        self.update([(2 * slot, address), (2 * slot + 1, value)])

    def pair(self, slot: int) -> tuple[int, int]:
        """Elements 2*slot and 2*slot + 1."""
        return self.node(0, 2 * slot), self.node(0, 2 * slot + 1)

    def pairs(self) -> list[tuple[int, int]]:
        """All 4^levels / 2 pairs."""
        return [self.pair(slot) for slot in range(capacity(self.levels))]

    def node(self, level: int, index: int) -> int:
        """Node `index` of `level`, 0 the elements, `levels` the root."""
        return self._nodes[level].get(index, zero_root(level))

    @property
    def root(self) -> int:
        return self.node(self.levels, 0)

    def siblings(self, slot: int) -> list[int]:
        """The 2 + 3 (levels - 1) siblings of `claim`.

        They are the other pair under the lowest node, then three nodes for each further level.
        """
        return self.multi_siblings([slot])

    def multi_siblings(self, slots: Sequence[int]) -> list[int]:
        """The siblings of `claimMany`: every node that is not computed, lowest level first.

        Nodes of a level go from left to right. Raises ValueError unless `slots` are strictly
        ascending and in range.
        """
        require_slots(slots, self.levels)
        known = {2 * slot + k for slot in slots for k in range(2)}
        siblings = []
        for level in range(self.levels):
            parents = sorted({index // 4 for index in known})
            siblings += [
                self.node(level, i)
                for parent in parents
                for i in range(4 * parent, 4 * parent + 4)
                if i not in known
            ]
            known = set(parents)
        return siblings


def require_slots(slots: Sequence[int], levels: int) -> None:
    """Raise ValueError unless `slots` are non-empty, strictly ascending and within the tree."""
    if (
        not slots
        or any(a >= b for a, b in itertools.pairwise(slots))
        or slots[0] < 0
        or slots[-1] >= capacity(levels)
    ):
        raise ValueError(
            f"slots: expected strictly ascending slots below {capacity(levels)}, at least one"
        )


def root_from_siblings(
    levels: int, pairs: Sequence[tuple[int, int, int]], siblings: Sequence[int]
) -> int:
    """The root that (slot, address, value) triples and `multi_siblings` give, as on chain.

    Raises ValueError for a wrong number of siblings or slots out of order.
    """
    require_slots([slot for slot, _, _ in pairs], levels)
    known = {2 * slot + k: value for slot, *pair in pairs for k, value in enumerate(pair)}
    rest = iter(siblings)
    for _ in range(levels):
        parents = sorted({index // 4 for index in known})
        try:
            known = {
                p: h4(*(known[i] if i in known else next(rest) for i in range(4 * p, 4 * p + 4)))
                for p in parents
            }
        except RuntimeError as error:  # StopIteration inside the generator
            raise ValueError("siblings: too few") from error
    if next(rest, None) is not None:
        raise ValueError("siblings: too many")
    return known[0]
