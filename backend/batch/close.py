"""Closing batches: which accepted interactions make the next state of which bucket.

The program's row is locked throughout, so closings of one program follow one another; everything
that a closing changes commits together. What goes into which batch is drafted in `draft`.
"""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.batch import repository
from backend.batch.content import Item, as_pairs, assemble
from backend.batch.draft import Draft, Terms, drafts, first_in_turn, openable
from backend.batch.models import Batch, BatchAccount, BatchState
from backend.batch.repository import OpenInteraction
from backend.batch.states import log_state
from backend.interaction.models import DeliveryRow, Interaction
from backend.kit.db import Database
from backend.kit.failpoint import failpoint
from backend.ledger import blocks
from backend.partner.models import Partner
from backend.program import repository as programs
from backend.program.models import Program
from prover.circuit import Instance, load_instance
from prover.eip712 import Domain


def close_all(database: Database, program_id: int, force: bool = False) -> list[Batch]:
    """Close until nothing is due, a few batches in a transaction; the new batches. As
    `close_batches`."""
    closed: list[Batch] = []
    while True:
        with database.transaction() as session:
            batches = close_batches(session, programs.lock(session, program_id), force)
            if batches:
                failpoint("close.before_commit")
        if not batches:
            return closed
        failpoint("close.after_commit")
        closed += batches


def close_batches(session: Session, program: Program, force: bool = False) -> list[Batch]:
    """Close what is due: a bucket with a full batch, or whose oldest interaction is old enough and
    which has nothing under way.

    The caller holds the program's row lock. At most `BATCHES_PER_CLOSING`: ask again, in another
    transaction, until nothing is left. `force` closes everything. Returns the new batches.
    """
    if program.halted is not None:
        return []
    instance = load_instance(program.instance)
    items_max = min(program.batch_items_max, instance.items)
    terms = Terms(program, instance, items_max, repository.under_way(session, program.id), force)
    found = drafts(session, terms)
    due = {
        bucket: draft
        for bucket, draft in sorted(found.items())
        if not terms.blocked(bucket)
        and (draft.full or terms.due(bucket, len(draft.rows), draft.group is not None, draft.since))
    }
    chosen = openable(due, found, program.families)
    if not chosen:
        return []
    ledger_head = blocks.seal(session, program.id)
    return [
        _close(session, program, instance, bucket, chosen[bucket], ledger_head)
        for bucket in sorted(first_in_turn(chosen, program.families))
    ]


def items_of(session: Session, rows: Sequence[Interaction | OpenInteraction]) -> list[Item]:
    """The rows as items, in order."""
    partners = dict(
        session.execute(
            select(Partner.id, Partner.name).where(Partner.id.in_({row.partner_id for row in rows}))
        ).all()
    )
    deliveries = {row.delivery_id for row in rows}
    evidence = dict(
        session.execute(
            select(DeliveryRow.id, DeliveryRow.evidence).where(DeliveryRow.id.in_(deliveries))
        ).all()
    )
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


def _close(
    session: Session,
    program: Program,
    instance: Instance,
    bucket: int,
    draft: Draft,
    ledger_head: bytes,
) -> Batch:
    previous = repository.newest_sequence(session, program.id, bucket)
    old = as_pairs(repository.pairs_after(session, program.id, bucket, previous))
    domain = Domain(program.chain_id, program.distributor)
    content = assemble(instance, domain, old, items_of(session, draft.rows))
    batch = Batch(
        program_id=program.id,
        bucket=bucket,
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
    by_integer = {int(row.account, 16): row.account for row in draft.rows}
    session.add_all(
        Account(program_id=program.id, address=by_integer[address], bucket=bucket, slot=slot)
        for slot, (address, _) in enumerate(content.new[len(old) :], start=len(old))
    )
    touched = [
        *content.deltas.existing,
        *((len(old) + i, delta) for i, (_, delta) in enumerate(content.deltas.opened)),
    ]
    session.add_all(
        BatchAccount(
            batch_id=batch.id,
            slot=slot,
            program_id=program.id,
            bucket=bucket,
            sequence=batch.sequence,
            address=by_integer[content.new[slot][0]],
            delta=delta,
            cumulative=content.new[slot][1],
        )
        for slot, delta in touched
    )
    session.flush()
    return batch
