"""The state of a program, rebuilt from its chain log alone.

It replays `deltas` and computes the home bucket of an account (PROTOCOL sections 3 and 4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from eth_utils import keccak

from prover.circuit import Instance
from prover.tree import Tree
from prover.wire import ADDRESS_MAX, UINT96_MAX, Deltas


class StateError(ValueError):
    """A batch does not follow from the state. The message names the rule."""


@dataclass
class BucketState:
    """One bucket after `sequence` batches.

    `pairs` holds (address, cumulative) of slots 0 to opened - 1, with addresses as integers.
    """

    instance: Instance
    sequence: int = 0
    pairs: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tree = Tree(self.instance.levels, [element for pair in self.pairs for element in pair])

    @property
    def opened(self) -> int:
        return len(self.pairs)

    @property
    def full(self) -> bool:
        return self.opened == self.instance.slots

    @property
    def root(self) -> int:
        return self.tree.root

    def apply(self, sequence: int, data: bytes) -> Deltas:
        """Advance by one batch's `deltas` and return them parsed.

        Raises:
            StateError: `sequence` is not the next one.
            DeltasError: `data` breaks the format; nothing has changed.
        """
        if sequence != self.sequence + 1:
            raise StateError(f"sequence: expected {self.sequence + 1}, got {sequence}")
        deltas = Deltas.decode(data, self.opened, self.instance.slots)
        for slot, delta in deltas.existing:
            address, cumulative = self.pairs[slot]
            self.pairs[slot] = (address, cumulative + delta)
        start = self.opened
        self.pairs.extend(deltas.opened)
        touched = [slot for slot, _ in deltas.existing] + list(range(start, self.opened))
        self.tree.update(
            (2 * slot + k, element)
            for slot in touched
            for k, element in enumerate(self.pairs[slot])
        )
        self.sequence = sequence
        return deltas


@dataclass
class ProgramState:
    """All buckets of a program, and the bucket and slot of each account."""

    instance: Instance
    families: int = 1
    buckets: dict[int, BucketState] = field(default_factory=dict)
    home: dict[int, tuple[int, int]] = field(default_factory=dict)
    """address -> (bucket, slot)"""

    def bucket(self, index: int) -> BucketState:
        """The bucket's state, empty before its first batch."""
        return self.buckets.setdefault(index, BucketState(self.instance))

    def require_home(self, bucket: int, address: int, opening: int) -> None:
        """Check that the `opening`-th account that a batch opens belongs there.

        Raises:
            StateError: the account is open already, of another family, or a lower bucket of its
            family has a free slot.
        """
        if address in self.home:
            raise StateError(
                f"account {address:#042x} is open already, in bucket {self.home[address][0]}"
            )
        if bucket % self.families != family(address, self.families):
            raise StateError(f"account {address:#042x} is not of the family of bucket {bucket}")
        lower = next(
            (
                b
                for b in range(bucket % self.families, bucket, self.families)
                if not self.bucket(b).full
            ),
            None,
        )
        if lower is not None:
            raise StateError(
                f"account {address:#042x} belongs in bucket {lower}, which has a free slot"
            )
        if self.bucket(bucket).opened + opening >= self.instance.slots:
            raise StateError(f"bucket {bucket} has no free slot for account {address:#042x}")

    def apply(self, bucket: int, sequence: int, data: bytes) -> Deltas:
        """Advance one bucket.

        The home bucket of an account is checked by `require_home`, not here, because a log cannot
        be refused. Raises StateError, DeltasError.
        """
        state = self.bucket(bucket)
        start = state.opened
        deltas = state.apply(sequence, data)
        for slot, (address, _) in enumerate(deltas.opened, start=start):
            self.home.setdefault(address, (bucket, slot))
        return deltas


def book_items(
    instance: Instance, pairs: Sequence[tuple[int, int]], items: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the occupied slots after booking (address, amount) items.

    New addresses take the next slots in order of first appearance.

    Raises:
        StateError: no or too many items, an amount not in 1 .. 2^96-1, an address that is 0 or not
            below 2^160, a bucket that would overflow, or a slot whose sum would not fit a delta.
    """
    if not 1 <= len(items) <= instance.items:
        raise StateError(f"items: expected 1 .. {instance.items}, got {len(items)}")
    new = list(pairs)
    slot_of = {address: slot for slot, (address, _) in enumerate(pairs)}
    for j, (address, amount) in enumerate(items):
        if not 0 < address <= ADDRESS_MAX:
            raise StateError(
                f"item {j}: expected an address above 0 and below 2^160, got {address}"
            )
        if not 0 < amount <= UINT96_MAX:
            raise StateError(f"item {j}: expected an amount of 1 .. 2^96-1, got {amount}")
        slot = slot_of.setdefault(address, len(new))
        if slot == len(new):
            if slot == instance.slots:
                raise StateError(f"item {j}: the bucket's {instance.slots} slots are in use")
            new.append((address, 0))
        new[slot] = (address, new[slot][1] + amount)
        if new[slot][1] - (pairs[slot][1] if slot < len(pairs) else 0) > UINT96_MAX:
            raise StateError(f"item {j}: the account's delta does not fit 96 bits")
    return new


def deltas_between(old: Sequence[tuple[int, int]], new: Sequence[tuple[int, int]]) -> Deltas:
    """Return the `deltas` that lead from one bucket's occupied slots to another's."""
    existing = [
        (slot, n - o) for slot, ((_, o), (_, n)) in enumerate(zip(old, new, strict=False)) if n != o
    ]
    return Deltas(tuple(existing), tuple(new[len(old) :]))


def family(address: int, families: int) -> int:
    """uint(keccak256(address)) mod families."""
    return int.from_bytes(keccak(address.to_bytes(20, "big")), "big") % families
