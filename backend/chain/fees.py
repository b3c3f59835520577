"""What to bid for gas, in wei per gas, and never above a cap.

EIP-1559 where blocks have a base fee. A chain without one takes one gas price.
"""

from dataclasses import dataclass
from statistics import median_low

from backend.chain.node import FeeHistory, Node
from backend.errors import NotYet
from backend.kit.metrics import FEE_CAP_HITS

_HISTORY_BLOCKS = 10


@dataclass(frozen=True, slots=True)
class Fees:
    """A bid in wei per gas: at most `max_fee` in all, of it at most `max_priority_fee` to the
    block's proposer.

    `legacy`: for a chain without base fees, where `max_fee` is the gas price, and all of it the
    proposer's.
    """

    max_fee: int
    max_priority_fee: int
    legacy: bool = False

    def fields(self) -> dict[str, int]:
        """The bid as a transaction's fields, its type included where it has one."""
        if self.legacy:
            return {"gasPrice": self.max_fee}
        return {
            "type": 2,
            "maxFeePerGas": self.max_fee,
            "maxPriorityFeePerGas": self.max_priority_fee,
        }


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """Bids for one chain.

    `max_fee_cap` is the hard limit of the whole bid: no transaction is ever signed above it.
    `priority_fee_min` and `priority_fee_max` bound what is offered to the proposer at first;
    replacements may pass the second, since nodes ask for a raise of it. Without
    `priority_fee_max`, the cap alone bounds it.
    """

    max_fee_cap: int
    priority_fee_min: int = 0
    priority_fee_max: int | None = None

    def __post_init__(self) -> None:
        if self.max_fee_cap <= 0:
            raise ValueError("max_fee_cap: expected wei per gas above 0")
        if not 0 <= self.priority_fee_min <= self._most:
            raise ValueError(
                "priority_fee_min: expected 0 <= priority_fee_min <= priority_fee_max (or "
                "max_fee_cap)"
            )

    @property
    def _most(self) -> int:
        return self.max_fee_cap if self.priority_fee_max is None else self.priority_fee_max

    def quote(self, node: Node) -> Fees:
        """A bid that stays good through some five full blocks: twice the next base fee, and the
        usual priority fee of the last blocks. On a chain without base fees, the node's gas price.

        Raises:
            NotYet: the base fee, or the gas price, alone is above the cap.
            Unavailable: the node does not answer.
        """
        history = node.fee_history(_HISTORY_BLOCKS)
        if history is None:
            gas_price = max(node.gas_price(), self.priority_fee_min)
            self._require_within_cap("gas price", gas_price)
            return Fees(gas_price, gas_price, legacy=True)
        base_fee = history.next_base_fee
        self._require_within_cap("base fee", base_fee)
        priority_fee = min(max(_usual(history, node), self.priority_fee_min), self._most)
        max_fee = min(2 * base_fee + priority_fee, self.max_fee_cap)
        return Fees(max_fee, min(priority_fee, max_fee))

    def _require_within_cap(self, what: str, fee: int) -> None:
        if fee > self.max_fee_cap:
            FEE_CAP_HITS.inc()
            raise NotYet(
                f"{what} is {fee} wei per gas, above the cap of {self.max_fee_cap}: "
                "waiting for it to fall"
            )

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
        if fresh.legacy:
            return Fees(max_fee, max_fee, legacy=True)
        return Fees(max_fee, min(max(fresh.max_priority_fee, floor.max_priority_fee), max_fee))


def _usual(history: FeeHistory, node: Node) -> int:
    """The median of what the last blocks' transactions paid; the node's advice if they had none."""
    # A block without transactions reports 0, which says nothing about what they pay.
    paid = [fee for fee in history.priority_fees if fee > 0]
    return median_low(paid) if paid else node.priority_fee() or 0


def _raised(fee: int) -> int:
    """12.5 % more, rounded up, and at least 1 wei: geth and others ask for 10 % more, and for more
    than before."""
    return max(fee + 1, -(-fee * 9 // 8))
