"""The state of a program as its chain log alone gives it: replay of `deltas`, and the home of an account (PROTOCOL sections 3 and 4)."""

from dataclasses import dataclass, field

from eth_utils import keccak

from prover.circuit import Instance
from prover.tree import Tree
from prover.wire import Deltas


class StateError(ValueError):
    """A batch does not follow from the state; the message names the rule."""


@dataclass
class BucketState:
    """One bucket after `sequence` batches. `pairs` is (address, cumulative) of slots 0 .. opened-1, addresses as integers."""

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
        self.tree.update((2 * slot + k, element) for slot in touched for k, element in enumerate(self.pairs[slot]))
        self.sequence = sequence
        return deltas


@dataclass
class ProgramState:
    """All buckets of a program, and where each account lives."""

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
            StateError: the account is open already, of another family, or a lower bucket of its family has a free slot.
        """
        if address in self.home:
            raise StateError(f"account {address:#042x} is open already, in bucket {self.home[address][0]}")
        if bucket % self.families != family(address, self.families):
            raise StateError(f"account {address:#042x} is not of the family of bucket {bucket}")
        lower = next((b for b in range(bucket % self.families, bucket, self.families) if not self.bucket(b).full), None)
        if lower is not None:
            raise StateError(f"account {address:#042x} belongs in bucket {lower}, which has a free slot")
        if self.bucket(bucket).opened + opening >= self.instance.slots:
            raise StateError(f"bucket {bucket} has no free slot for account {address:#042x}")

    def apply(self, bucket: int, sequence: int, data: bytes) -> Deltas:
        """Advance one bucket. Raises StateError, DeltasError; an account's home is checked by `require_home`, not here: a log is a fact."""
        state = self.bucket(bucket)
        start = state.opened
        deltas = state.apply(sequence, data)
        for slot, (address, _) in enumerate(deltas.opened, start=start):
            self.home.setdefault(address, (bucket, slot))
        return deltas


def family(address: int, families: int) -> int:
    """uint(keccak256(address)) mod families."""
    return int.from_bytes(keccak(address.to_bytes(20, "big")), "big") % families
