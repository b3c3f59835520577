"""Closing batches: which accepted interactions make the next state of which bucket.

The program's row is locked throughout, so closings of one program follow one another. Everything
that a closing changes commits together. `plan` decides what goes into which batch.
"""

from collections.abc import Iterator, Sequence
from itertools import count

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.batch import plan, repository
from backend.batch.content import Content, Item, as_pairs, assemble
from backend.batch.models import Batch, BatchAccount, BatchState
from backend.batch.plan import Draft, Terms
from backend.batch.repository import OpenInteraction
from backend.batch.states import log_state
from backend.interaction.models import Interaction, StoredDelivery
from backend.kit.db import Database, db_now
from backend.kit.failpoint import failpoint
from backend.ledger import blocks
from backend.partner.models import Partner
from backend.program import repository as programs
from backend.program.models import Program
from prover.circuit import load_instance
from prover.eip712 import Domain


def close_all(
    database: Database, program_id: int, force: bool = False, closings_max: int | None = None
) -> list[Batch]:
    """Close until nothing is due, a few batches in each transaction; the new batches.

    `force` closes everything that is open; `closings_max` bounds the transactions.
    """
    closed: list[Batch] = []
    for _ in count() if closings_max is None else range(closings_max):
        with database.transaction() as session:
            batches = close_batches(session, programs.lock(session, program_id), force)
            if batches:
                failpoint("close.before_commit")
        if not batches:
            return closed
        failpoint("close.after_commit")
        closed += batches
    return closed


def close_batches(session: Session, program: Program, force: bool = False) -> list[Batch]:
    """Close what is due, at most `BATCHES_PER_CLOSING` batches; the new batches.

    A bucket is due with a full batch, or when its oldest interaction is old enough and nothing of
    the bucket is under way. The caller holds the program's row lock.
    """
    if program.halted is not None:
        return []
    instance = load_instance(program.instance)
    terms = Terms(
        program,
        instance,
        min(program.batch_items_max, instance.items),
        repository.under_way(session, program.id),
        db_now(session),
        force,
    )
    drafts = plan.plan(terms, plan.read(session, terms))
    if not drafts:
        return []
    ledger_head = blocks.seal(session, program.id)
    return [_close(session, terms, draft, ledger_head) for draft in drafts]


def items_of(session: Session, rows: Sequence[Interaction | OpenInteraction]) -> list[Item]:
    """The rows as items, in order."""
    names = select(Partner.id, Partner.name).where(Partner.id.in_({row.partner_id for row in rows}))
    partners = dict(session.execute(names).all())
    deliveries = select(StoredDelivery.id, StoredDelivery.evidence).where(
        StoredDelivery.id.in_({row.delivery_id for row in rows})
    )
    evidence = dict(session.execute(deliveries).all())
    return [
        Item(
            partners[row.partner_id],
            row.event_id,
            row.account,
            row.amount,
            row.occurred_at,
            evidence[row.delivery_id],
        )
        for row in rows
    ]


def _close(session: Session, terms: Terms, draft: Draft, ledger_head: bytes) -> Batch:
    program = terms.program
    previous = repository.newest_sequence(session, program.id, draft.bucket)
    old = as_pairs(repository.pairs_after(session, program.id, draft.bucket, previous))
    domain = Domain(program.chain_id, program.distributor)
    content = assemble(terms.instance, domain, old, items_of(session, draft.rows))
    batch = Batch(
        program_id=program.id,
        bucket=draft.bucket,
        sequence=previous + 1,
        state=BatchState.CLOSED,
        items=len(draft.rows),
        accounts_touched=len(content.deltas.existing) + len(content.deltas.opened),
        total=content.deltas.total,
        old_root=content.old_root,
        new_root=content.new_root,
        items_root=content.items_root,
        interactions_root=content.interactions_root,
        ledger_head=ledger_head,
        deltas=content.deltas.encode(),
        quarantine_batch_id=draft.group.batch_id if draft.group else None,
        quarantine_half=draft.group.half if draft.group else None,
    )
    session.add(batch)
    session.flush()
    log_state(batch, before=None)
    repository.put_items(session, batch.id, [row.id for row in draft.rows])
    session.add_all(_accounts(batch, draft, content, len(old)))
    session.flush()
    return batch


def _accounts(
    batch: Batch, draft: Draft, content: Content, slots: int
) -> Iterator[Account | BatchAccount]:
    """The accounts that the batch opens, and the slots that it touches; `slots` were in use."""
    addresses = {int(row.account, 16): row.account for row in draft.rows}
    for slot, (address, _) in enumerate(content.new[slots:], start=slots):
        yield Account(
            program_id=batch.program_id, address=addresses[address], bucket=batch.bucket, slot=slot
        )
    opened = [(slots + i, delta) for i, (_, delta) in enumerate(content.deltas.opened)]
    for slot, delta in (*content.deltas.existing, *opened):
        yield BatchAccount(
            batch_id=batch.id,
            slot=slot,
            program_id=batch.program_id,
            bucket=batch.bucket,
            sequence=batch.sequence,
            address=addresses[content.new[slot][0]],
            delta=delta,
            cumulative=content.new[slot][1],
        )
