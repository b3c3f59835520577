"""The log, replayed: every bucket, claim and attestor set as they must be, and what in the log
contradicts itself. No network.

The rebuilt state follows `deltas` alone. Digest and proof of a batch, though, start from the root
that the chain holds, so one false root is found once for itself and does not make the proofs of
later batches look false.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from eth_utils import keccak, to_checksum_address

from backend.audit.regressions import explain_regression
from backend.audit.report import AuditReport, BatchReport
from backend.chain.events import (
    AttestorsChanged,
    BatchPosted,
    BatchSkipped,
    Claimed,
    DailyLimitChanged,
    Event,
    FamiliesChanged,
    Funded,
    Unreadable,
    Withdrawn,
)
from prover.eip712 import BatchEnvelope
from prover.field import P
from prover.state import BucketState, ProgramState, StateError
from prover.tree import zero_root
from prover.wire import Deltas, DeltasError

FAMILIES_MAX = 2**16
Place = dict[str, int | bytes]
"""Where a finding was made, by name: bucket, sequence, tx_hash."""


@dataclass(frozen=True, slots=True)
class AttestorSet:
    """Who could sign at some time, how many had to, and the epoch that batches had to name."""

    attestors: frozenset[str] = frozenset()
    threshold: int = 0
    epoch: int = 0


@dataclass(frozen=True)
class Step:
    """One batch of the log with all that its digest and its proof rest on. `deltas` is None if they
    cannot be parsed."""

    event: BatchPosted
    row: BatchReport
    old_root: int
    opened_before: int
    deltas: Deltas | None
    attestor_set: AttestorSet

    def envelope(self, valid_until: int) -> BatchEnvelope:
        event = self.event
        return BatchEnvelope(
            event.bucket,
            event.sequence,
            self.old_root,
            event.new_root,
            event.items_root,
            event.interactions_root,
            event.ledger_head,
            keccak(event.deltas),
            self.attestor_set.epoch,
            valid_until,
        )


@dataclass
class Replay:
    """Feed events in chain order to `add`; violations go to the report as findings.

    `reserve` is funded less withdrawn, over the balance that the Distributor had before its first
    block; None if that is unknown.
    """

    report: AuditReport
    state: ProgramState
    reserve: int | None = 0
    steps: list[Step] = field(default_factory=list)
    outcomes: dict[bytes, list[BatchPosted | BatchSkipped]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """transaction hash -> what became of each batch that it brought, in order."""
    limit_log: list[BatchPosted | DailyLimitChanged] = field(default_factory=list)
    """All that the daily limit follows from, in order."""
    families: int = 0
    """What the log says; 0 before it says anything, as a first-edition program's never does."""
    attestor_set: AttestorSet = AttestorSet()
    first_attestors: AttestorsChanged | None = None
    """The first that the log says."""
    committed: int = 0
    claimed: int = 0
    claims: list[Claimed] = field(default_factory=list)
    claimed_by_slot: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    roots: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    """bucket -> sequence -> the root that the log says."""
    rebuilt_roots: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    """bucket -> sequence -> the root that the deltas give."""
    history: dict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    """(bucket, slot) -> cumulatives, oldest first."""

    def add_all(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case BatchPosted():
                    self.outcomes[event.tx_hash].append(event)
                    self.limit_log.append(event)
                    self._batch(event)
                case BatchSkipped():
                    self.outcomes[event.tx_hash].append(event)
                case Claimed():
                    self._claim(event)
                case FamiliesChanged():
                    self._families(event)
                case DailyLimitChanged():
                    self.limit_log.append(event)
                case AttestorsChanged():
                    self._attestors(event)
                case Funded():
                    self._move(event.amount)
                case Withdrawn():
                    self._move(-event.amount)
                    self._require_covered("withdrawal", event)
                case Unreadable():
                    self.report.find(
                        "log_unreadable",
                        f"{event.name} log {event.log_index}: {event.reason}",
                        tx_hash=event.tx_hash,
                    )

    def _move(self, amount: int) -> None:
        if self.reserve is not None:
            self.reserve += amount

    def _require_covered(self, what: str, event: Event, **where: int) -> None:
        # committed <= balance + claimed, and balance + claimed is what was funded less what was
        # withdrawn.
        if self.reserve is not None:
            self.report.checks["reserve covers committed"] += 1
            if self.committed > self.reserve:
                message = (
                    f"after this {what} {self.committed} are committed and {self.reserve} funded "
                    "and not withdrawn"
                )
                self.report.find("reserve_exceeded", message, tx_hash=event.tx_hash, **where)

    def _attestors(self, event: AttestorsChanged) -> None:
        self.report.checks["attestor sets"] += 1
        self.first_attestors = self.first_attestors or event
        distinct = frozenset(event.attestors)
        if event.epoch != self.attestor_set.epoch + 1:
            message = f"attestor epoch {event.epoch} follows {self.attestor_set.epoch}"
            self.report.find("attestor_epoch", message, tx_hash=event.tx_hash)
        if not 1 <= event.threshold <= len(distinct) or len(distinct) != len(event.attestors):
            message = (
                f"{event.threshold} of {len(event.attestors)} attestors ({len(distinct)} "
                "distinct) is no threshold"
            )
            self.report.find("attestor_set", message, tx_hash=event.tx_hash)
        self.attestor_set = AttestorSet(distinct, event.threshold, event.epoch)

    def _families(self, event: FamiliesChanged) -> None:
        self.report.checks["families"] += 1
        before, after = self.families, event.families
        if after <= before or after & (after - 1) or after > FAMILIES_MAX:
            message = f"{after} families follow {before}"
            self.report.find("families", message, tx_hash=event.tx_hash)
        self.families = self.state.families = max(after, 1)

    def _batch(self, event: BatchPosted) -> None:
        where: Place = {
            "bucket": event.bucket,
            "sequence": event.sequence,
            "tx_hash": event.tx_hash,
        }
        bucket = self.state.bucket(event.bucket)
        before = list(bucket.pairs)
        old_root = self._old_root(event, bucket)
        self.report.checks["sequences"] += 1
        if event.sequence != bucket.sequence + 1:
            self.report.find(
                "sequence_gap", f"sequence {event.sequence} follows {bucket.sequence}", **where
            )
            bucket.sequence = event.sequence - 1
        if not (0 < event.new_root < P and event.items_root < P):
            self.report.find(
                "not_a_field_element",
                "newRoot or itemsRoot is not below p, or newRoot is 0",
                **where,
            )
        deltas = self._apply(event, bucket, where)
        row = BatchReport(
            event.bucket,
            event.sequence,
            "0x" + event.tx_hash.hex(),
            event.block_number,
            event.total,
            None if deltas is None else len(deltas.existing) + len(deltas.opened),
            None if deltas is None else len(deltas.opened),
        )
        self.report.batches.append(row)
        self.steps.append(Step(event, row, old_root, len(before), deltas, self.attestor_set))
        self._root(event, bucket, before, deltas, where)
        self.committed += event.total if deltas is None else deltas.total
        self._require_covered("batch", event, bucket=event.bucket, sequence=event.sequence)
        self.roots[event.bucket][event.sequence] = event.new_root
        self.rebuilt_roots[event.bucket][event.sequence] = bucket.root

    def _old_root(self, event: BatchPosted, bucket: BucketState) -> int:
        known = self.roots[event.bucket]
        return known.get(bucket.sequence, zero_root(bucket.instance.levels))

    def _apply(self, event: BatchPosted, bucket: BucketState, where: Place) -> Deltas | None:
        self.report.checks["deltas"] += 1
        try:
            deltas = Deltas.decode(event.deltas, bucket.opened, bucket.instance.slots)
        except DeltasError as error:
            self.report.find("deltas_malformed", str(error), **where)
            bucket.sequence = event.sequence
            return None
        self._homes(event, deltas, where)
        self.report.checks["totals"] += 1
        if deltas.total != event.total:
            self.report.find(
                "total_mismatch",
                f"total is {event.total}, the deltas sum to {deltas.total}",
                **where,
            )
        start = bucket.opened
        self.state.apply(event.bucket, event.sequence, event.deltas)
        for slot in [slot for slot, _ in deltas.existing] + list(range(start, bucket.opened)):
            self.history[event.bucket, slot].append(bucket.pairs[slot][1])
        return deltas

    def _homes(self, event: BatchPosted, deltas: Deltas, where: Place) -> None:
        seen: set[int] = set()
        for opening, (address, _) in enumerate(deltas.opened):
            self.report.checks["home buckets"] += 1
            if address in seen or address in self.state.home:
                bucket, slot = self.state.home.get(address, (event.bucket, "opened by this batch"))
                message = f"account {address:#042x} is open already: bucket {bucket}, slot {slot}"
                self.report.find("account_opened_twice", message, **where)
            else:
                try:
                    self.state.require_home(event.bucket, address, opening)
                except StateError as error:
                    self.report.find("account_not_home", str(error), **where)
            seen.add(address)

    def _root(
        self,
        event: BatchPosted,
        bucket: BucketState,
        before: list[tuple[int, int]],
        deltas: Deltas | None,
        where: Place,
    ) -> None:
        self.report.checks["roots"] += 1
        if event.new_root == bucket.root:
            return
        self.report.find(
            "root_mismatch",
            f"newRoot is {event.new_root:#066x}, the log gives {bucket.root:#066x}",
            **where,
        )
        if deltas is None:
            return
        history = {slot: self.history[event.bucket, slot] for slot in range(bucket.opened)}
        fall = explain_regression(
            bucket, before, deltas, event.new_root, history, self.roots[event.bucket]
        )
        if fall:
            self.report.find("cumulative_falls", fall, **where)

    def _claim(self, event: Claimed) -> None:
        self.report.checks["claims"] += 1
        bucket = self.state.buckets.get(event.bucket)
        where = {
            "bucket": event.bucket,
            "sequence": bucket.sequence if bucket else 0,
            "tx_hash": event.tx_hash,
        }
        key = (event.bucket, event.slot)
        self.claims.append(event)
        self.claimed += event.amount
        self.claimed_by_slot[key] += event.amount
        address, cumulative = (
            bucket.pairs[event.slot] if bucket and event.slot < bucket.opened else (0, 0)
        )
        if event.amount == 0:
            self.report.find(
                "claim_of_nothing", f"slot {event.slot}: a claim that pays nothing", **where
            )
        if self.claimed_by_slot[key] > cumulative:
            message = (
                f"slot {event.slot}: {self.claimed_by_slot[key]} claimed in all, {cumulative} "
                "earned so far"
            )
            self.report.find("claim_beyond_cumulative", message, **where)
        holder = to_checksum_address(address.to_bytes(20, "big"))
        if event.account != holder:
            self.report.find(
                "claim_wrong_account",
                f"slot {event.slot} is {holder}'s, claimed for {event.account}",
                **where,
            )
