"""Plans: which open interactions make the next batch of which bucket.

`read` reads what a closing could use, and `plan` decides, without the database. Interactions are
taken in ledger order within a bucket. An account gets its home bucket, the lowest bucket of its
family with a free slot, in the batch that opens the account. A bucket with a long queue delays no
other bucket: each bucket is planned by itself, the most urgent ones first.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy.orm import Session

from backend.batch import repository
from backend.batch.repository import OpenInteraction, UnderWay
from backend.interaction import repository as interactions
from backend.interaction.models import QuarantineGroup
from backend.program.models import Program
from prover.circuit import Instance
from prover.state import family
from prover.wire import UINT96_MAX

BATCHES_PER_CLOSING = 4
"""How many batches one closing makes at most, under the program's lock. The caller closes again
until nothing is due."""

UNDER_WAY_MAX = 1 + repository.AHEAD_MAX
"""A bucket with this many batches under way closes no more until one has landed: a further batch
could not even be proven ahead."""

EVIDENCE_BYTES_MAX = 16 * 2**20
"""Bodies of deliveries that one batch may rest on: an attestor is sent all of them, in base64, in
one request."""


@dataclass(frozen=True)
class Terms:
    """When a bucket closes: the program's settings, and the batches that are under way."""

    program: Program
    instance: Instance
    items_max: int
    under_way: Mapping[int, UnderWay]
    """bucket -> its batches that are under way"""
    now: datetime
    force: bool

    @property
    def total_max(self) -> int | None:
        """Most base units of one batch: the daily limit takes no more, ever. None without one."""
        return self.program.daily_limit or None

    def blocked(self, bucket: int) -> bool:
        """Whether the bucket closes nothing now.

        A batch on top of a quarantine group would be superseded if the group's batch fails.
        """
        count, quarantined = self.under_way.get(bucket, (0, False))
        return quarantined or (count >= UNDER_WAY_MAX and not self.force)

    def due(self, bucket: int, items: int, quarantined: bool, since: datetime) -> bool:
        """Whether `items` interactions, the oldest of them from `since`, are a batch now."""
        aged = bucket not in self.under_way and self.now - since >= timedelta(
            seconds=self.program.batch_age_max_seconds
        )
        return self.force or quarantined or items >= self.items_max or aged


@dataclass
class Draft:
    """The interactions chosen for one bucket's next batch, and the bodies of their deliveries."""

    bucket: int
    rows: list[OpenInteraction] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    """Accounts that the batch opens."""
    sums: Counter[str] = field(default_factory=Counter)
    total: int = 0
    deliveries: set[int] = field(default_factory=set)
    evidence_bytes: int = 0
    full: bool = False
    """Something more was there and did not fit."""

    @property
    def group(self) -> QuarantineGroup | None:
        """The quarantine group of the draft; None for ordinary interactions."""
        return self.rows[0].quarantine_group if self.rows else None

    def fits(self, row: OpenInteraction, size: int, terms: Terms) -> bool:
        """Whether `row` can join: the batch's items, the account's delta, the daily limit, and what
        attestors take in one request."""
        evidence = self.evidence_bytes + (0 if row.delivery_id in self.deliveries else size)
        return (
            len(self.rows) < terms.items_max
            and (terms.total_max is None or self.total + row.amount <= terms.total_max)
            and (not self.rows or row.quarantine_group == self.group)
            and self.sums[row.account] + row.amount <= UINT96_MAX
            and (evidence <= EVIDENCE_BYTES_MAX or not self.rows)
        )

    def add(self, row: OpenInteraction, size: int) -> None:
        """Take `row`, whose delivery has a body of `size` bytes."""
        self.rows.append(row)
        self.sums[row.account] += row.amount
        self.total += row.amount
        if row.delivery_id not in self.deliveries:
            self.deliveries.add(row.delivery_id)
            self.evidence_bytes += size

    def due(self, terms: Terms) -> bool:
        """Whether the draft is a batch now."""
        if terms.blocked(self.bucket):
            return False
        count, since = len(self.rows), self.rows[0].created_at
        return self.full or terms.due(self.bucket, count, self.group is not None, since)


@dataclass(frozen=True)
class Candidates:
    """What a closing could put into batches."""

    rows: Sequence[OpenInteraction]
    """In ledger order."""
    sizes: Mapping[int, int]
    """delivery id -> bytes of its body"""
    opened: Mapping[int, int]
    """bucket -> slots in use"""


@dataclass
class _Queue:
    """The open interactions of one bucket: of accounts that live there, and of unassigned accounts
    that would be opened there."""

    items: int
    first: int
    since: datetime
    quarantined: bool

    def join(self, row: OpenInteraction) -> None:
        self.items += 1
        self.first, self.since = min(self.first, row.id), min(self.since, row.created_at)
        self.quarantined |= row.quarantine_group is not None


class Slots:
    """Where accounts are opened, with the accounts that this closing would open."""

    def __init__(self, families: int, slots: int, opened: Mapping[int, int]) -> None:
        self._families, self._slots = families, slots
        self._opened = Counter(opened)
        self._homes: dict[str, int] = {}
        self._lowest_free: dict[int, int] = {}
        """family -> a bucket; all lower buckets of the family are full"""

    def family(self, address: str) -> int:
        """The address's family."""
        return family(int(address, 16), self._families) if self._families > 1 else 0

    def lowest_free(self, own: int) -> int:
        """The lowest bucket of a family that has a free slot."""
        bucket = self._lowest_free.get(own, own)
        while self._opened[bucket] == self._slots:
            bucket += self._families
        self._lowest_free[own] = bucket
        return bucket

    def free(self, bucket: int) -> int:
        """How many slots of a bucket are free."""
        return self._slots - self._opened[bucket]

    def find(self, row: OpenInteraction) -> tuple[int, bool]:
        """The home bucket of an interaction's account, and whether the account is open."""
        known = row.bucket if row.bucket is not None else self._homes.get(row.account)
        if known is not None:
            return known, True
        return self.lowest_free(self.family(row.account)), False

    def open(self, address: str, bucket: int) -> None:
        """Give an unassigned account a slot of the bucket."""
        self._homes[address] = bucket
        self._opened[bucket] += 1


def read(session: Session, terms: Terms) -> Candidates:
    """Read what the closing could use: of the buckets that are due, the longest waiting first, then
    of the others."""
    program = terms.program
    opened = repository.opened(session, program.id)
    slots = Slots(program.families, terms.instance.slots, opened)
    queues: dict[int, _Queue] = {}
    unassigned: dict[int, list[OpenInteraction]] = {}
    for found in repository.queues(session, program):
        if found.bucket is None:
            rows = repository.waiting_without_home(session, program)
            unassigned = _unassigned(terms, slots, rows)
        elif not terms.blocked(found.bucket):
            queues[found.bucket] = _Queue(found.items, found.first, found.since, found.quarantined)
    for bucket, opening in unassigned.items():
        first = opening[0]
        queue = queues.setdefault(bucket, _Queue(0, first.id, first.created_at, False))
        # Accounts beyond the free slots count for no bucket: the next bucket of their family is
        # opened once this one is full.
        fitting = set(islice(dict.fromkeys(row.account for row in opening), slots.free(bucket)))
        for row in opening:
            if row.account in fitting:
                queue.join(row)

    def turn(bucket: int) -> tuple[bool, int]:
        queue = queues[bucket]
        return not terms.due(bucket, queue.items, queue.quarantined, queue.since), queue.first

    waiting: list[OpenInteraction] = []
    for bucket in sorted(queues, key=turn)[:BATCHES_PER_CLOSING]:
        waiting += repository.waiting_at_home(session, program, bucket, terms.items_max)
        waiting += unassigned.get(bucket, ())
    sizes = interactions.delivery_sizes(session, {row.delivery_id for row in waiting})
    return Candidates(sorted(waiting, key=lambda row: row.id), sizes, opened)


def _unassigned(
    terms: Terms, slots: Slots, rows: Iterable[OpenInteraction]
) -> dict[int, list[OpenInteraction]]:
    """bucket -> interactions of accounts without a home bucket, of the family that is opened there,
    the oldest first.

    As much is taken as this closing could use: a family has its share, however much waits in the
    others. An account that fills a batch by itself does not hide the accounts behind it.
    """
    families = terms.program.families
    shut = {
        bucket % families
        for bucket in terms.under_way
        if terms.blocked(bucket) and slots.lowest_free(bucket % families) == bucket
    }
    wanting = min(BATCHES_PER_CLOSING, families - len(shut))
    if not wanting:
        return {}
    share = terms.items_max * BATCHES_PER_CLOSING // wanting
    found: dict[int, list[OpenInteraction]] = {}
    taken: Counter[str] = Counter()
    for row in rows:
        own = slots.family(row.account)
        if own in shut or taken[row.account] == terms.items_max:
            continue
        taken[row.account] += 1
        of_family = found.setdefault(slots.lowest_free(own), [])
        if len(of_family) < share:
            of_family.append(row)
            wanting -= len(of_family) == share
            if not wanting:
                break
    return found


def plan(terms: Terms, candidates: Candidates) -> list[Draft]:
    """The drafts that this closing makes into batches, by bucket."""
    families = terms.program.families
    drafts = _fill(Slots(families, terms.instance.slots, candidates.opened), candidates, terms)
    due = {bucket: draft for bucket, draft in drafts.items() if draft.due(terms)}
    chosen = _openable(due, drafts, families)
    return [chosen[bucket] for bucket in sorted(first_in_turn(chosen, families))]


def _fill(slots: Slots, candidates: Candidates, terms: Terms) -> dict[int, Draft]:
    found: dict[int, Draft] = {}
    skipped: set[str] = set()
    for row in candidates.rows:
        bucket, is_open = slots.find(row)
        draft = found.setdefault(bucket, Draft(bucket))
        size = candidates.sizes[row.delivery_id]
        # An interaction that does not fit waits, and with it every later one of the account: an
        # account's rewards stay in ledger order.
        if row.account in skipped or not draft.fits(row, size, terms):
            skipped.add(row.account)
            draft.full = True
            continue
        if not is_open:
            slots.open(row.account, bucket)
            draft.opened.append(row.account)
        draft.add(row, size)
    return {bucket: draft for bucket, draft in found.items() if draft.rows}


def _openable(
    due: Mapping[int, Draft], drafts: Mapping[int, Draft], families: int
) -> dict[int, Draft]:
    """The due drafts whose openings do not rest on a draft that is not due: a higher bucket opens
    once the lower ones of its family are full."""
    waiting = [bucket for bucket, draft in drafts.items() if bucket not in due and draft.opened]

    def rests(bucket: int) -> bool:
        return any(lower < bucket and lower % families == bucket % families for lower in waiting)

    return {bucket: draft for bucket, draft in due.items() if not draft.opened or not rests(bucket)}


def first_in_turn(chosen: Mapping[int, Draft], families: int) -> list[int]:
    """The buckets of at most `BATCHES_PER_CLOSING` drafts: the longest waiting ones, but never an
    opening before the openings that it rests on."""
    turns: dict[int, int] = {}
    opened_until: dict[int, int] = {}
    for bucket in sorted(chosen):
        turns[bucket] = chosen[bucket].rows[0].id
        if chosen[bucket].opened:
            turns[bucket] = max(turns[bucket], opened_until.get(bucket % families, 0))
            opened_until[bucket % families] = turns[bucket]
    return sorted(turns, key=lambda bucket: (turns[bucket], bucket))[:BATCHES_PER_CLOSING]
