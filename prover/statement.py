"""The statement that a batch proves: from state and items to signals (PROTOCOL section 5).

`plan_batch` computes the next state. `BatchStatement` holds both states and, with the challenge,
gives public signals and circuit inputs. A statement that does not hold can be built too: the
circuit refuses it, not this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prover.circuit import Instance
from prover.field import P, horner, inverse
from prover.state import StateError, book_items, deltas_between
from prover.tree import Tree
from prover.wire import Deltas

Pair = tuple[int, int]


class StatementError(ValueError):
    """The items cannot be a batch on this state. The message names the item and the rule."""


@dataclass(frozen=True)
class BatchStatement:
    """Old and new (address, cumulative) of each occupied slot, and the items' (address, amount).

    All values are integers; all other elements are zero.
    """

    instance: Instance
    old: tuple[Pair, ...]
    new: tuple[Pair, ...]
    items: tuple[Pair, ...]

    def root(self, pairs: Sequence[Pair], levels: int) -> int:
        return Tree(levels, [element for pair in pairs for element in pair]).root

    @property
    def old_root(self) -> int:
        return self.root(self.old, self.instance.levels)

    @property
    def new_root(self) -> int:
        return self.root(self.new, self.instance.levels)

    @property
    def items_root(self) -> int:
        return self.root(self.items, self.instance.item_levels)

    @property
    def deltas(self) -> Deltas:
        """The `deltas` that the contract must be given."""
        return deltas_between(self.old, self.new)

    def fingerprint(self, r: int) -> int:
        """The circuit's side of the fingerprint: from the vectors, not from `deltas`."""
        old, new = _padded(self.old, self.instance.slots), _padded(self.new, self.instance.slots)
        cumulative = [n[1] - o[1] for o, n in zip(old, new, strict=True)]
        address = [n[0] - o[0] for o, n in zip(old, new, strict=True)]
        return horner(cumulative + address, r)


@dataclass(frozen=True)
class Challenged:
    """A statement with its roots computed and its challenge fixed: the input of a prover."""

    statement: BatchStatement
    public_signals: tuple[int, int, int, int, int]
    """oldRoot, newRoot, itemsRoot, r, fingerprint."""

    def circuit_inputs(self) -> dict[str, list[int]]:
        """Every input signal of the circuit, by name, private witnesses included."""
        instance = self.statement.instance
        old_root, new_root, items_root, r, fingerprint = self.public_signals
        old, new = (
            _padded(self.statement.old, instance.slots),
            _padded(self.statement.new, instance.slots),
        )
        items = _padded(self.statement.items, instance.items)
        d = [(n[1] - o[1]) % P for o, n in zip(old, new, strict=True)]
        return {
            "oldRoot": [old_root],
            "newRoot": [new_root],
            "itemsRoot": [items_root],
            "r": [r],
            "fingerprint": [fingerprint],
            "oldAddress": [a for a, _ in old],
            "oldCumulative": [c for _, c in old],
            "newAddress": [a for a, _ in new],
            "newCumulative": [c for _, c in new],
            "itemAddress": [a for a, _ in items],
            "itemAmount": [v for _, v in items],
            "emptySlotWitness": [
                _quotient(delta, address) for delta, (address, _) in zip(d, new, strict=True)
            ],
            "itemQuotient": [_quotient(amount, r - address) for address, amount in items],
            "slotQuotient": [
                _quotient(delta, r - address) for delta, (address, _) in zip(d, new, strict=True)
            ],
        }


def challenged(statement: BatchStatement, r: int) -> Challenged:
    """Fix the challenge `r` (mod p) of a statement."""
    signals = (
        statement.old_root,
        statement.new_root,
        statement.items_root,
        r,
        statement.fingerprint(r),
    )
    return Challenged(statement, signals)


def plan_batch(instance: Instance, old: Sequence[Pair], items: Sequence[Pair]) -> BatchStatement:
    """Return the batch that books `items` on a bucket whose occupied slots are `old`.

    New addresses take the next slots in order of appearance.

    Raises:
        StatementError: no or too many items, an amount not in 1 .. 2^96-1, an address that is 0 or
            not below 2^160, a bucket that would overflow, or a slot whose sum would not fit a
            delta.
    """
    try:
        new = book_items(instance, old, items)
    except StateError as error:
        raise StatementError(str(error)) from error
    return BatchStatement(instance, tuple(old), tuple(new), tuple(items))


def _padded(pairs: Sequence[Pair], length: int) -> list[Pair]:
    return [*pairs, *[(0, 0)] * (length - len(pairs))]


def _quotient(numerator: int, denominator: int) -> int:
    # A zero denominator has no valid quotient. With 0 the constraint decides.
    return numerator % P * inverse(denominator) % P if denominator % P else 0
