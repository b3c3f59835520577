"""What a program's log says, typed. Amounts are integers in base units, addresses checksummed,
hashes and ids bytes."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Where a log stands on chain. (block_number, log_index) orders events; (block_hash, log_index)
    names one."""

    block_number: int
    block_hash: bytes
    tx_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPosted(Event):
    """A bucket's next state."""

    bucket: int
    sequence: int
    new_root: int
    items_root: int
    interactions_root: bytes
    ledger_head: bytes
    total: int
    deltas: bytes


class BatchSkipReason(IntEnum):
    """Why `postBatches` passed over a batch, in the order in which the contract asks."""

    WRONG_SEQUENCE = 0
    EXPIRED = 1
    WRONG_HASH = 2
    TOO_FEW_ATTESTATIONS = 3
    DAILY_LIMIT = 4
    RESERVE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSkipped(Event):
    """`postBatches` passed over a batch; its neighbours were posted."""

    bucket: int
    sequence: int
    reason: BatchSkipReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Event):
    """`amount` of what `account` earned in a slot was paid to `recipient`."""

    bucket: int
    slot: int
    account: str
    recipient: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutSkipped(Event):
    """A payout of `claimMany` that did not happen: paid before, or the token refused the
    transfer."""

    bucket: int
    slot: int
    account: str
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestorsChanged(Event):
    """The whole set of attestors from here on, how many must sign, and the epoch that batches now
    name."""

    attestors: tuple[str, ...]
    threshold: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FamiliesChanged(Event):
    """How many account families there are from here on."""

    families: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyLimitChanged(Event):
    """What may be committed in a day from here on, 0 for no limit, and who said so."""

    per_day: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded(Event):
    """The token's Transfer to the Distributor."""

    sender: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Event):
    """What was not committed left the program."""

    recipient: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable(Event):
    """A log under one of the names above that does not hold what it must: no Distributor of this
    project writes one."""

    name: str
    reason: str


def references(events: Iterable[Event]) -> Iterator[tuple[str, Event]]:
    """Each event with the name that it is booked by: its transaction's hash, and its place among
    the transaction's events.

    `events` has all of each transaction, in chain order. Unlike block and log index, the name stays
    when a reorg puts the transaction into another block.
    """
    places: Counter[bytes] = Counter()
    for event in events:
        yield f"0x{event.tx_hash.hex()}:{places[event.tx_hash]}", event
        places[event.tx_hash] += 1
