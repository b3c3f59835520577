"""Closing batches: which accepted interactions make the next state of which bucket.

The program's row is locked throughout, so closings of one program follow one another; everything that a closing changes commits
together. Interactions are taken in ledger order. A new account gets its home (lowest bucket of its family with a free slot) in the very
batch that opens it.
"""

import time
from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.batch import repository
from backend.batch.content import Item, as_pairs, assemble
from backend.batch.models import Batch, BatchAccount, BatchState
from backend.interaction import repository as interactions
from backend.interaction.models import DeliveryRow, Interaction
from backend.ledger import chain as ledger_chain
from backend.partner.models import Partner
from backend.program.models import Program
from prover.circuit import Instance, load_instance
from prover.eip712 import Domain
from prover.state import family
from prover.wire import UINT96_MAX

BUCKETS_PER_CLOSING = 16
"""A closing looks at no more open interactions than would fill this many batches; the rest waits for the next."""

EVIDENCE_BYTES_MAX = 16 * 2**20
"""Bodies of deliveries that one batch may rest on: an attestor is sent all of them, in base64, in one request."""


@dataclass
class _Draft:
    """Interactions chosen for one bucket's next batch, and the bodies of the deliveries that they came in."""

    rows: list[Interaction] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    deliveries: dict[int, int] = field(default_factory=dict)
    """delivery id -> bytes"""
    full: bool = False
    """Something more was there and did not fit."""

    @property
    def isolation(self) -> int | None:
        """The group of suspects that it is for; those of one group are batched apart from all others."""
        return self.rows[0].isolation if self.rows else None

    def fits(self, row: Interaction, size: int, items_max: int) -> bool:
        """Whether `row` can join: the batch's items, the account's delta, and what attestors take in one request."""
        evidence = sum(self.deliveries.values()) + (0 if row.delivery_id in self.deliveries else size)
        return (
            len(self.rows) < items_max
            and (not self.rows or row.isolation == self.isolation)
            and self.sums[row.account] + row.amount <= UINT96_MAX
            and (evidence <= EVIDENCE_BYTES_MAX or not self.rows)
        )

    def add(self, row: Interaction, size: int) -> None:
        self.rows.append(row)
        self.sums[row.account] += row.amount
        self.deliveries[row.delivery_id] = size


class _Homes:
    """Where accounts live, including those that this closing would open."""

    def __init__(self, session: Session, program: Program, instance: Instance, addresses: list[str]) -> None:
        self._families, self._slots = program.families, instance.slots
        self._opened = Counter(repository.opened(session, program.id))
        self._home = {address: account.bucket for address, account in repository.accounts(session, program.id, addresses).items()}

    def find(self, address: str) -> tuple[int, bool]:
        """(bucket, whether the account is open)."""
        if address in self._home:
            return self._home[address], True
        bucket = family(int(address, 16), self._families)
        while self._opened[bucket] == self._slots:
            bucket += self._families
        return bucket, False

    def open(self, address: str, bucket: int) -> None:
        self._home[address] = bucket
        self._opened[bucket] += 1


def close_batches(session: Session, program: Program, force: bool = False) -> list[Batch]:
    """Close what is due: a bucket with a full batch, or whose oldest interaction is old enough and which has nothing under way.

    The caller holds the program's row lock. `force` closes everything. Returns the new batches.
    """
    if program.halted is not None:
        return []
    instance = load_instance(program.instance)
    items_max = min(program.batch_items_max, instance.items)
    rows = interactions.open_interactions(session, program.id, items_max * BUCKETS_PER_CLOSING)
    if not rows:
        return []
    drafts = _draft(session, program, instance, items_max, rows)
    under_way = repository.open_batches(session, program.id)
    busy = {batch.bucket for batch in under_way}
    # What is closed on top of suspects would be withdrawn with them.
    suspect = {batch.bucket for batch in under_way if batch.isolation is not None}
    now = time.time()
    due = {
        bucket: draft
        for bucket, draft in sorted(drafts.items())
        if bucket not in suspect
        and (
            force
            or draft.full
            or draft.isolation is not None
            or len(draft.rows) == items_max
            or (bucket not in busy and now - draft.rows[0].created_at.timestamp() >= program.batch_age_max_seconds)
        )
    }
    if not due:
        return []
    ledger_head = ledger_chain.seal(session, program.id)
    openable = _openable(due, drafts, program.families)
    return [_close(session, program, instance, bucket, draft, ledger_head) for bucket, draft in openable]


def _openable(due: dict[int, _Draft], drafts: dict[int, _Draft], families: int) -> list[tuple[int, _Draft]]:
    """Of what is due, the drafts whose openings do not rest on a draft that is not: a higher bucket opens once the lower ones of its
    family are full."""
    waiting = [bucket for bucket, draft in drafts.items() if bucket not in due and draft.opened]

    def rests(bucket: int) -> bool:
        return any(lower < bucket and lower % families == bucket % families for lower in waiting)

    return [(bucket, draft) for bucket, draft in due.items() if not draft.opened or not rests(bucket)]


def _draft(session: Session, program: Program, instance: Instance, items_max: int, rows: list[Interaction]) -> dict[int, _Draft]:
    homes = _Homes(session, program, instance, sorted({row.account for row in rows}))
    sizes = interactions.delivery_sizes(session, {row.delivery_id for row in rows})
    drafts: dict[int, _Draft] = {}
    skipped: set[str] = set()
    for row in rows:
        bucket, is_open = homes.find(row.account)
        draft = drafts.setdefault(bucket, _Draft())
        # What does not fit now waits, and with it whatever else its account has: an account's rewards stay in ledger order.
        if row.account in skipped or not draft.fits(row, sizes[row.delivery_id], items_max):
            skipped.add(row.account)
            draft.full = True
            continue
        if not is_open:
            homes.open(row.account, bucket)
            draft.opened.append(row.account)
        draft.add(row, sizes[row.delivery_id])
    return {bucket: draft for bucket, draft in drafts.items() if draft.rows}


def items_of(session: Session, rows: list[Interaction]) -> list[Item]:
    """The rows as items, in order."""
    partners = dict(
        session.execute(select(Partner.id, Partner.name).where(Partner.id.in_({row.partner_id for row in rows}))).all()
    )
    deliveries = {row.delivery_id for row in rows}
    evidence = dict(session.execute(select(DeliveryRow.id, DeliveryRow.evidence).where(DeliveryRow.id.in_(deliveries))).all())
    return [
        Item(partners[row.partner_id], row.event_id, row.account, row.amount, row.occurred_at, evidence[row.delivery_id])
        for row in rows
    ]


def _close(session: Session, program: Program, instance: Instance, bucket: int, draft: _Draft, ledger_head: bytes) -> Batch:
    previous = repository.newest_sequence(session, program.id, bucket)
    old = as_pairs(repository.pairs_after(session, program.id, bucket, previous))
    domain = Domain(program.chain_id, program.distributor)
    content = assemble(instance, domain, old, items_of(session, draft.rows))
    batch = Batch(
        program_id=program.id, bucket=bucket, sequence=previous + 1, state=BatchState.CLOSED, items=len(draft.rows),
        accounts_touched=len(content.deltas.existing) + len(content.deltas.opened), total=content.deltas.total,
        old_root=content.old_root, new_root=content.new_root, items_root=content.items_root,
        interactions_root=content.interactions_root, ledger_head=ledger_head, deltas=content.deltas.encode(),
        isolation=draft.isolation,
    )  # fmt: skip
    session.add(batch)
    session.flush()
    repository.put_items(session, batch.id, [row.id for row in draft.rows])
    by_integer = {int(row.account, 16): row.account for row in draft.rows}
    session.add_all(
        Account(program_id=program.id, address=by_integer[address], bucket=bucket, slot=slot)
        for slot, (address, _) in enumerate(content.new[len(old) :], start=len(old))
    )
    touched = [*content.deltas.existing, *((len(old) + i, delta) for i, (_, delta) in enumerate(content.deltas.opened))]
    session.add_all(
        BatchAccount(
            batch_id=batch.id, slot=slot, program_id=program.id, bucket=bucket, sequence=batch.sequence,
            address=by_integer[content.new[slot][0]], delta=delta, cumulative=content.new[slot][1],
        )
        for slot, delta in touched
    )  # fmt: skip
    session.flush()
    return batch
