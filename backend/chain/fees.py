"""What to bid for gas (EIP-1559), in wei per gas, and never above a cap."""

from dataclasses import dataclass
from statistics import median_low

from backend.chain.node import Node
from backend.errors import NotYet
from backend.kit.metrics import FEE_CAP_HITS

_HISTORY_BLOCKS = 10


@dataclass(frozen=True, slots=True)
class Fees:
    """A bid in wei per gas: at most `max_fee` in all, of it at most `max_priority_fee` to the
    block's proposer."""

    max_fee: int
    max_priority_fee: int


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """Bids for one chain.

    `max_fee_cap` is the hard limit of the whole bid: no transaction is ever signed above it.
    `priority_fee_min` and `priority_fee_max` bound what is offered to the proposer at first;
    replacements may pass the second, since nodes ask for a raise of it.
    """

    max_fee_cap: int
    priority_fee_min: int = 10**8
    priority_fee_max: int = 3 * 10**9

    def __post_init__(self) -> None:
        if not 0 <= self.priority_fee_min <= self.priority_fee_max:
            raise ValueError("priority_fee_min: expected 0 <= priority_fee_min <= priority_fee_max")
        if self.max_fee_cap <= 0:
            raise ValueError("max_fee_cap: expected wei per gas above 0")

    def quote(self, node: Node) -> Fees:
        """A bid that stays good through some five full blocks: twice the next base fee, and the
        usual priority fee of the last blocks.

        Raises:
            NotYet: the base fee alone is above the cap.
            Unavailable: the node does not answer.
        """
        history = node.fee_history(_HISTORY_BLOCKS)
        base_fee = history.next_base_fee
        if base_fee > self.max_fee_cap:
            FEE_CAP_HITS.inc()
            raise NotYet(
                f"base fee is {base_fee} wei per gas, above the cap of {self.max_fee_cap}: "
                "waiting for it to fall"
            )
        # A block without transactions reports 0, which says nothing about what they pay.
        paid = [fee for fee in history.priority_fees if fee > 0]
        priority_fee = min(
            max(median_low(paid) if paid else 0, self.priority_fee_min), self.priority_fee_max
        )
        max_fee = min(2 * base_fee + priority_fee, self.max_fee_cap)
        return Fees(max_fee, min(priority_fee, max_fee))

    def replacement(self, node: Node, previous: Fees) -> Fees | None:
        """A bid that nodes take in place of `previous` (both fees up by 12.5 % or more), or None
        where the cap forbids it.

        Raises: as `quote`.
        """
        floor = Fees(_raised(previous.max_fee), _raised(previous.max_priority_fee))
        if floor.max_fee > self.max_fee_cap:
            FEE_CAP_HITS.inc()
            return None
        fresh = self.quote(node)
        max_fee = min(max(fresh.max_fee, floor.max_fee), self.max_fee_cap)
        return Fees(max_fee, min(max(fresh.max_priority_fee, floor.max_priority_fee), max_fee))


def _raised(fee: int) -> int:
    """12.5 % more, rounded up, and at least 1 wei: geth and others ask for 10 % more, and for more
    than before."""
    return max(fee + 1, -(-fee * 9 // 8))
