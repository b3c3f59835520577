"""One program's Distributor as seen through a node: its facts, its log, its calldata. Reading only;
no database.

Every method that asks the node raises Unavailable if it does not answer. Amounts are integers in
base units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypedDict

from eth_abi.exceptions import DecodingError
from eth_utils.address import to_canonical_address

from backend.chain import calldata, erc20
from backend.chain.abi import ContractAbi
from backend.chain.artifacts import artifact
from backend.chain.events import (
    AttestorsChanged,
    BatchPosted,
    BatchSkipped,
    BatchSkipReason,
    Claimed,
    DailyLimitChanged,
    Event,
    FamiliesChanged,
    Funded,
    PayoutSkipped,
    Unreadable,
    Withdrawn,
)
from backend.chain.logs import Progress, fetch_logs
from backend.chain.node import BlockId, CallReverted, Log, Node
from backend.errors import GuerdonError, NotFound, Unavailable
from backend.kit.address import checked_address

_TOKEN = ContractAbi(
    [
        {
            "type": "event",
            "name": "Transfer",
            "inputs": [
                {"name": "from", "type": "address", "indexed": True},
                {"name": "to", "type": "address", "indexed": True},
                {"name": "value", "type": "uint256", "indexed": False},
            ],
        }
    ]
)


class NotADistributor(GuerdonError):
    """The contract at this address does not answer as a Distributor does."""

    code = "not_a_distributor"


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What a program is: fixed for ever but for owner and guardian (address 0 for none)."""

    chain_id: int
    token: str
    verifier: str
    hasher: str
    levels: int
    slots: int
    families: int
    owner: str
    guardian: str
    version: str
    """The edition: the version of its EIP-712 domain (EIP-5267)."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Base units: earned by all accounts ever, paid to them ever, and held now."""

    committed: int
    claimed: int
    reserve: int


class DailyLimit(NamedTuple):
    """What may be committed in a day, 0 for no limit, what is left of it at the block (NO_LIMIT
    without one), and the limit that the owner set last."""

    per_day: int
    left: int
    owner_set: int


class Distributor:
    """The Distributor at `address`. `block` is a number, a hash or a tag everywhere."""

    post_batch = staticmethod(calldata.post_batch)
    post_batches = staticmethod(calldata.post_batches)
    claim = staticmethod(calldata.claim)
    claim_many = staticmethod(calldata.claim_many)
    claim_to = staticmethod(calldata.claim_to)
    decode_post_batch = staticmethod(calldata.decode_post_batch)

    def __init__(self, node: Node, address: str) -> None:
        """Raises Invalid if `address` is none, ArtifactError without compiled contracts."""
        self.node = node
        self.address = checked_address(address, "distributor")
        self._abi = ContractAbi(artifact("Distributor").abi)

    def info(self, block: BlockId = "latest") -> ProgramInfo:
        """Raises NotADistributor for another contract or none."""
        return ProgramInfo(
            chain_id=self.node.chain_id(),
            token=self._address("token", block),
            verifier=self._address("verifier", block),
            hasher=self._address("hasher", block),
            levels=self._number("levels", block),
            slots=self._number("slots", block),
            families=self._number("families", block),
            owner=self._address("owner", block),
            guardian=self._address("guardian", block),
            version=str(self._call("eip712Domain", block)[2]),
        )

    @cached_property
    def token(self) -> str:
        """The reward token's address, which never changes."""
        return self._address("token", "latest")

    def bucket(self, bucket: int, block: BlockId = "latest") -> tuple[int, int]:
        """(sequence of the last batch, slots in use)."""
        sequence, opened = self._call("buckets", block, bucket)
        return int(sequence), int(opened)

    def root(self, bucket: int, sequence: int, block: BlockId = "latest") -> int:
        """The bucket's root after a batch. Raises NotFound if that batch is not
        posted, and NotADistributor."""
        data = self._abi.call_data("root", (bucket, sequence))
        try:
            [root] = self._abi.results("root", self.node.call(self.address, data, block))
        except CallReverted as error:
            raise NotFound(
                f"bucket {bucket}: sequence {sequence} is not posted", field="sequence"
            ) from error
        except (DecodingError, ValueError, OverflowError) as error:
            raise _not_a_distributor(self.address, "root", error) from error
        return int(root)

    def claimed(self, bucket: int, slot: int, block: BlockId = "latest") -> int:
        """What the slot's account has been paid."""
        return self._number("claimed", block, bucket, slot)

    def families(self, block: BlockId = "latest") -> int:
        """How many account families there are."""
        return self._number("families", block)

    def attestors(self, block: BlockId = "latest") -> tuple[tuple[str, ...], int, int]:
        """(addresses ascending, how many must sign, epoch)."""
        [addresses] = self._call("attestors", block)
        return (
            tuple(addresses),
            self._number("threshold", block),
            self._number("attestorEpoch", block),
        )

    def totals(self, block: BlockId = "latest") -> Totals:
        """The program's sums at `block`."""
        committed = self._number("committed", block)
        claimed = self._number("claimedTotal", block)
        return Totals(committed, claimed, self.reserve(block))

    def daily_limit(self, block: BlockId = "latest") -> DailyLimit:
        """The daily limit, and what is left of it by the clock of `block`."""
        per_day, left, owner_set = self._call("dailyLimit", block)
        return DailyLimit(int(per_day), int(left), int(owner_set))

    def reserve(self, block: BlockId = "latest") -> int:
        """The Distributor's balance of the reward token."""
        try:
            return erc20.balance_of(self.node, self.token, self.address, block)
        except (CallReverted, DecodingError) as error:
            raise _not_a_distributor(self.token, "balanceOf", error) from error

    def events(
        self, first_block: int, last_block: int, progress: Progress | None = None
    ) -> list[Event]:
        """Everything that the program's log says in first_block .. last_block, in chain order.

        Other logs are left out. Raises Unavailable if the node does not serve the range.
        """
        own_topic = to_canonical_address(self.address).rjust(32, b"\0")
        filters: list[tuple[str, list[bytes | None]]] = [
            (self.address, []),
            (self.token, [erc20.TRANSFER, None, own_topic]),
        ]
        whole = 2 * (last_block - first_block + 1)
        logs: list[Log] = []
        for done, (address, topics) in enumerate(filters):
            report = progress and _part(progress, done, whole)
            logs += fetch_logs(self.node, address, topics, first_block, last_block, report)
        events = [event for event in (self._event(log) for log in logs) if event]
        # A token that is its own Distributor's address would show a log twice; the place names it.
        return list(
            {(event.block_number, event.log_index): event for event in _ordered(events)}.values()
        )

    def topic(self, event: str) -> bytes:
        """The first topic of one of the Distributor's events."""
        by_name = {name: topic for topic, name in self._abi.events_by_topic.items()}
        return by_name[event]

    def events_of(self, tx_hash: bytes) -> list[Event]:
        """What the Distributor wrote in one mined transaction, by its receipt.

        Raises Unavailable, also if no block holds the transaction.
        """
        receipt = self.node.receipt(tx_hash)
        if receipt is None:
            raise Unavailable(f"receipt: no block holds transaction 0x{tx_hash.hex()}")
        events = (self._event(log) for log in receipt.logs if log.address == self.address)
        return _ordered([event for event in events if event])

    def _event(self, log: Log) -> Event | None:
        place: _Place = {
            "block_number": log.block_number,
            "block_hash": log.block_hash,
            "tx_hash": log.tx_hash,
            "log_index": log.log_index,
        }
        own = log.address == self.address
        name = (
            self._abi.events_by_topic.get(log.topics[0] if log.topics else b"")
            if own
            else "Transfer"
        )
        if name not in _READERS:
            return None
        try:
            return _READERS[name]((self._abi if own else _TOKEN).event_values(name, log), place)
        except (DecodingError, ValueError, OverflowError, TypeError) as error:
            return Unreadable(name=name, reason=f"{type(error).__name__}: {error}", **place)

    def _number(self, function: str, block: BlockId, *arguments: int) -> int:
        [value] = self._call(function, block, *arguments)
        return int(value)

    def _address(self, function: str, block: BlockId) -> str:
        [value] = self._call(function, block)
        return str(value)

    def _call(self, function: str, block: BlockId, *arguments: int) -> tuple[Any, ...]:
        data = self._abi.call_data(function, arguments)
        try:
            return self._abi.results(function, self.node.call(self.address, data, block))
        except (CallReverted, DecodingError, ValueError, OverflowError) as error:
            raise _not_a_distributor(self.address, function, error) from error


class _Place(TypedDict):
    block_number: int
    block_hash: bytes
    tx_hash: bytes
    log_index: int


def _not_a_distributor(address: str, function: str, error: Exception) -> NotADistributor:
    return NotADistributor(
        f"{address}: {function}() does not answer as a Distributor's does ({error})"
    )


def _part(progress: Progress, part: int, whole: int) -> Progress:
    """Progress over several parts of equal length, of which `part` are done."""
    return lambda done, total: progress(part * total + done, whole)


def _ordered(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.block_number, event.log_index))


_READERS: dict[str, Callable[[dict[str, Any], _Place], Event]] = {
    "BatchPosted": lambda args, place: BatchPosted(
        bucket=args["bucket"],
        sequence=args["sequence"],
        new_root=args["newRoot"],
        items_root=args["itemsRoot"],
        interactions_root=bytes(args["interactionsRoot"]),
        ledger_head=bytes(args["ledgerHead"]),
        total=args["total"],
        deltas=bytes(args["deltas"]),
        **place,
    ),
    "FamiliesChanged": lambda args, place: FamiliesChanged(families=args["families"], **place),
    "BatchSkipped": lambda args, place: BatchSkipped(
        bucket=args["bucket"],
        sequence=args["sequence"],
        reason=BatchSkipReason(args["reason"]),
        **place,
    ),
    "Claimed": lambda args, place: Claimed(
        bucket=args["bucket"],
        slot=args["slot"],
        account=args["account"],
        recipient=args["recipient"],
        amount=args["amount"],
        **place,
    ),
    "PayoutSkipped": lambda args, place: PayoutSkipped(
        bucket=args["bucket"],
        slot=args["slot"],
        account=args["account"],
        reason=args["reason"],
        **place,
    ),
    "AttestorsChanged": lambda args, place: AttestorsChanged(
        attestors=tuple(args["attestors"]),
        threshold=args["threshold"],
        epoch=args["epoch"],
        **place,
    ),
    "DailyLimitChanged": lambda args, place: DailyLimitChanged(
        per_day=args["perDay"], by=args["by"], **place
    ),
    "Withdrawn": lambda args, place: Withdrawn(
        recipient=args["recipient"], amount=args["amount"], **place
    ),
    "Transfer": lambda args, place: Funded(sender=args["from"], amount=args["value"], **place),
}
