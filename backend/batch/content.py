"""The content of a batch: hashes, trees, roots and deltas of its interactions.

Everything here is pure: rows go in, protocol values come out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prover.circuit import Instance
from prover.eip712 import Domain, TypedInteraction, event_hash, partner_hash
from prover.merkle import InteractionsTree, Leaf
from prover.state import book_items, deltas_between
from prover.tree import Tree
from prover.wire import Deltas


@dataclass(frozen=True)
class Item:
    """One interaction of a batch. `evidence` is the hash of its delivery's evidence."""

    partner: str
    event_id: str
    account: str
    amount: int
    occurred_at: int
    evidence: bytes

    def interaction(self, domain: Domain) -> TypedInteraction:
        """The interaction as the protocol hashes it."""
        return TypedInteraction(
            domain.program,
            partner_hash(self.partner),
            event_hash(self.event_id),
            self.account,
            self.amount,
            self.occurred_at,
            self.evidence,
        )


@dataclass(frozen=True)
class Content:
    """A batch's next state and roots."""

    new: list[tuple[int, int]]
    deltas: Deltas
    old_root: int
    new_root: int
    items_root: int
    interactions_root: bytes


def as_pairs(rows: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
    """(address text, amount) to the integers of the trees."""
    return [(int(address, 16), amount) for address, amount in rows]


def bucket_tree(instance: Instance, pairs: Sequence[tuple[int, int]]) -> Tree:
    """The bucket tree of the slots in use."""
    return Tree(instance.levels, [element for pair in pairs for element in pair])


def interactions_tree(domain: Domain, items: Sequence[Item]) -> InteractionsTree:
    """The tree behind `interactionsRoot`."""
    return InteractionsTree([leaf(domain, j, item) for j, item in enumerate(items)])


def leaf(domain: Domain, index: int, item: Item) -> Leaf:
    """The leaf of item `index`; an item's amount is its interaction's, as no debts are applied."""
    return Leaf(index, item.interaction(domain).hash, item.account, item.amount)


def assemble(
    instance: Instance, domain: Domain, old: Sequence[tuple[int, int]], items: Sequence[Item]
) -> Content:
    """Book `items` on the slots in use. Raises StateError if they do not fit."""
    pairs = as_pairs([(item.account, item.amount) for item in items])
    new = book_items(instance, old, pairs)
    tree = bucket_tree(instance, old)
    old_root = tree.root
    deltas = deltas_between(old, new)
    touched = [slot for slot, _ in deltas.existing] + list(range(len(old), len(new)))
    tree.update((2 * slot + k, element) for slot in touched for k, element in enumerate(new[slot]))
    items_root = Tree(instance.item_levels, [element for pair in pairs for element in pair]).root
    return Content(
        new, deltas, old_root, tree.root, items_root, interactions_tree(domain, items).root
    )
