"""Drafts: which open interactions would make the next batch of which bucket.

Interactions are taken in ledger order within a bucket. A new account gets its home, the lowest
bucket of its family with a free slot, in the very batch that opens it. How many wait in one bucket
holds up no other: each bucket is looked at by itself, the most pressing ones first.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy.orm import Session

from backend.batch import repository
from backend.batch.repository import OpenInteraction, UnderWay
from backend.interaction import repository as interactions
from backend.interaction.models import QuarantineGroup
from backend.kit.time import utc_now
from backend.program.models import Program
from prover.circuit import Instance
from prover.state import family
from prover.wire import UINT96_MAX

BATCHES_PER_CLOSING = 4
"""Batches that one closing makes at most, under the program's lock; whoever closes asks again until
nothing is due."""

UNDER_WAY_MAX = 1 + repository.AHEAD_MAX
"""A bucket that has so many batches on their way closes no more until one has landed: more could
not even be proven ahead."""

EVIDENCE_BYTES_MAX = 16 * 2**20
"""Bodies of deliveries that one batch may rest on: an attestor is sent all of them, in base64, in
one request."""


@dataclass
class Draft:
    """Interactions chosen for one bucket's next batch, and the bodies of the deliveries that they
    came in."""

    rows: list[OpenInteraction] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    deliveries: set[int] = field(default_factory=set)
    evidence_bytes: int = 0
    full: bool = False
    """Something more was there and did not fit."""

    @property
    def group(self) -> QuarantineGroup | None:
        """The quarantine group of the draft; None for ordinary interactions."""
        return self.rows[0].quarantine_group if self.rows else None

    @property
    def since(self) -> datetime:
        """When its oldest interaction came."""
        return self.rows[0].created_at

    def fits(self, row: OpenInteraction, size: int, items_max: int) -> bool:
        """Whether `row` can join: the batch's items, the account's delta, and what attestors take
        in one request."""
        evidence = self.evidence_bytes + (0 if row.delivery_id in self.deliveries else size)
        return (
            len(self.rows) < items_max
            and (not self.rows or row.quarantine_group == self.group)
            and self.sums[row.account] + row.amount <= UINT96_MAX
            and (evidence <= EVIDENCE_BYTES_MAX or not self.rows)
        )

    def add(self, row: OpenInteraction, size: int) -> None:
        self.rows.append(row)
        self.sums[row.account] += row.amount
        if row.delivery_id not in self.deliveries:
            self.deliveries.add(row.delivery_id)
            self.evidence_bytes += size


@dataclass(frozen=True)
class Terms:
    """When a bucket closes: what the program says, and what is on its way."""

    program: Program
    instance: Instance
    items_max: int
    under_way: Mapping[int, UnderWay]
    force: bool

    def blocked(self, bucket: int) -> bool:
        """Whether the bucket closes nothing now.

        A batch on top of a quarantine group would be superseded if the group's batch fails.
        """
        count, quarantined = self.under_way.get(bucket, (0, False))
        return quarantined or (count >= UNDER_WAY_MAX and not self.force)

    def due(self, bucket: int, items: int, quarantined: bool, since: datetime) -> bool:
        """Whether so many items, the oldest of them there since `since`, are a batch now."""
        aged = bucket not in self.under_way and utc_now() - since >= timedelta(
            seconds=self.program.batch_age_max_seconds
        )
        return self.force or quarantined or items >= self.items_max or aged


@dataclass
class _Queue:
    """What waits for one bucket: of the accounts that live there, and of newcomers that would be
    opened there."""

    items: int
    first: int
    since: datetime
    quarantined: bool

    def join(self, row: OpenInteraction) -> None:
        self.items += 1
        self.first, self.since = min(self.first, row.id), min(self.since, row.created_at)
        self.quarantined |= row.quarantine_group is not None


class _Homes:
    """Where accounts are opened, those included that this closing would open."""

    def __init__(self, families: int, slots: int, opened: Mapping[int, int]) -> None:
        self._families, self._slots = families, slots
        self._opened = Counter(opened)
        self._new: dict[str, int] = {}
        self._room: dict[int, int] = {}
        """family -> a bucket below which all of the family are full"""

    def family(self, address: str) -> int:
        """The address's family."""
        return family(int(address, 16), self._families) if self._families > 1 else 0

    def room(self, own: int) -> int:
        """The lowest bucket of a family that has a free slot."""
        bucket = self._room.get(own, own)
        while self._opened[bucket] == self._slots:
            bucket += self._families
        self._room[own] = bucket
        return bucket

    def free(self, bucket: int) -> int:
        """Slots that are not in use."""
        return self._slots - self._opened[bucket]

    def find(self, row: OpenInteraction) -> tuple[int, bool]:
        """(bucket, whether the account is open)."""
        known = row.bucket if row.bucket is not None else self._new.get(row.account)
        return (self.room(self.family(row.account)), False) if known is None else (known, True)

    def open(self, address: str, bucket: int) -> None:
        self._new[address] = bucket
        self._opened[bucket] += 1


def drafts(session: Session, terms: Terms) -> dict[int, Draft]:
    """The drafts of the buckets that are looked at: those that are due, the longest waiting first,
    then the others."""
    program = terms.program
    homes = _Homes(program.families, terms.instance.slots, repository.opened(session, program.id))
    waiting = {
        row.bucket: _Queue(row.items, row.first, row.since, row.quarantined)
        for row in repository.queues(session, program.id)
        if not terms.blocked(row.bucket)
    }
    homeless = waiting.pop(None, None)
    newcomers = (
        _newcomers(terms, homes, repository.waiting_without_home(session, program.id))
        if homeless
        else {}
    )
    for bucket, rows in newcomers.items():
        queue = waiting.setdefault(bucket, _Queue(0, rows[0].id, rows[0].created_at, False))
        # Those beyond the free slots count for no bucket: the next one of their family is opened
        # once this one is full.
        fitting = set(islice(dict.fromkeys(row.account for row in rows), homes.free(bucket)))
        for row in rows:
            if row.account in fitting:
                queue.join(row)

    def turn(bucket: int) -> tuple[bool, int]:
        queue = waiting[bucket]
        return not terms.due(bucket, queue.items, queue.quarantined, queue.since), queue.first

    looked_at = sorted(waiting, key=turn)[:BATCHES_PER_CLOSING]
    rows: list[OpenInteraction] = []
    for bucket in looked_at:
        rows += repository.waiting_at_home(session, program.id, bucket, terms.items_max)
        rows += newcomers.get(bucket, ())
    sizes = interactions.delivery_sizes(session, {row.delivery_id for row in rows})
    return _fill(homes, sorted(rows, key=lambda row: row.id), sizes, terms.items_max)


def _newcomers(
    terms: Terms, homes: _Homes, rows: Iterable[OpenInteraction]
) -> dict[int, list[OpenInteraction]]:
    """bucket -> interactions of accounts without a home, of the family that is opened there, the
    oldest first.

    As much is taken as this closing could use: a family has its share, whatever waits in the
    others. An account that fills a batch by itself does not hide those behind it.
    """
    families = terms.program.families
    shut = {
        bucket % families
        for bucket in terms.under_way
        if terms.blocked(bucket) and homes.room(bucket % families) == bucket
    }
    wanting = min(BATCHES_PER_CLOSING, families - len(shut))
    if not wanting:
        return {}
    share = terms.items_max * BATCHES_PER_CLOSING // wanting
    found: dict[int, list[OpenInteraction]] = {}
    taken: Counter[str] = Counter()
    for row in rows:
        own = homes.family(row.account)
        if own in shut or taken[row.account] == terms.items_max:
            continue
        taken[row.account] += 1
        of_family = found.setdefault(homes.room(own), [])
        if len(of_family) < share:
            of_family.append(row)
            wanting -= len(of_family) == share
            if not wanting:
                break
    return found


def _fill(
    homes: _Homes, rows: Sequence[OpenInteraction], sizes: Mapping[int, int], items_max: int
) -> dict[int, Draft]:
    found: dict[int, Draft] = {}
    skipped: set[str] = set()
    for row in rows:
        bucket, is_open = homes.find(row)
        draft = found.setdefault(bucket, Draft())
        # What does not fit now waits, and with it whatever else its account has: an account's
        # rewards stay in ledger order.
        if row.account in skipped or not draft.fits(row, sizes[row.delivery_id], items_max):
            skipped.add(row.account)
            draft.full = True
            continue
        if not is_open:
            homes.open(row.account, bucket)
            draft.opened.append(row.account)
        draft.add(row, sizes[row.delivery_id])
    return {bucket: draft for bucket, draft in found.items() if draft.rows}


def openable(
    due: Mapping[int, Draft], all_drafts: Mapping[int, Draft], families: int
) -> dict[int, Draft]:
    """Of what is due, the drafts whose openings do not rest on a draft that is not: a higher bucket
    opens once the lower ones of its family are full."""
    waiting = [bucket for bucket, draft in all_drafts.items() if bucket not in due and draft.opened]

    def rests(bucket: int) -> bool:
        return any(lower < bucket and lower % families == bucket % families for lower in waiting)

    return {bucket: draft for bucket, draft in due.items() if not draft.opened or not rests(bucket)}


def first_in_turn(chosen: Mapping[int, Draft], families: int) -> Collection[int]:
    """The buckets of at most `BATCHES_PER_CLOSING` drafts, the longest waiting ones, but never
    openings before those that they rest on."""
    turns: dict[int, int] = {}
    opened_until: dict[int, int] = {}
    for bucket in sorted(chosen):
        turns[bucket] = chosen[bucket].rows[0].id
        if chosen[bucket].opened:
            turns[bucket] = max(turns[bucket], opened_until.get(bucket % families, 0))
            opened_until[bucket % families] = turns[bucket]
    return sorted(turns, key=lambda bucket: (turns[bucket], bucket))[:BATCHES_PER_CLOSING]
