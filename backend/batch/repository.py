"""All SQL of batches and of the accounts' homes."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.batch.models import GONE, Batch, BatchAccount, BatchState

AHEAD_MAX = 8
"""Batches of a bucket behind its head that are proven ahead; more could expire before their turn."""


def accounts(session: Session, program_id: int, addresses: Sequence[str]) -> dict[str, Account]:
    """The opened accounts among `addresses`."""
    query = select(Account).where(Account.program_id == program_id, Account.address.in_(addresses))
    return {account.address: account for account in session.scalars(query)}


def opened(session: Session, program_id: int) -> dict[int, int]:
    """bucket -> slots in use, closed batches included."""
    query = select(Account.bucket, func.count()).where(Account.program_id == program_id).group_by(Account.bucket)
    return dict(session.execute(query).all())


def newest_sequence(session: Session, program_id: int, bucket: int) -> int:
    """Sequence of the newest closed batch, 0 before the first."""
    query = select(func.max(Batch.sequence)).where(
        Batch.program_id == program_id, Batch.bucket == bucket, Batch.state.not_in(GONE)
    )
    return session.scalar(query) or 0


def pairs_after(session: Session, program_id: int, bucket: int, sequence: int) -> list[tuple[str, int]]:
    """(address, cumulative) of the slots in use after batch `sequence`, in order of slot."""
    query = (
        select(BatchAccount.slot, BatchAccount.address, BatchAccount.cumulative)
        .join(Batch, Batch.id == BatchAccount.batch_id)
        .where(BatchAccount.program_id == program_id, BatchAccount.bucket == bucket, BatchAccount.sequence <= sequence)
        .where(Batch.state.not_in(GONE))
        .ext(distinct_on(BatchAccount.slot))
        .order_by(BatchAccount.slot, BatchAccount.sequence.desc())
    )
    rows = session.execute(query).all()
    if [row.slot for row in rows] != list(range(len(rows))):
        raise AssertionError(f"bucket {bucket}: slots {[row.slot for row in rows]} are not 0 .. {len(rows) - 1}")
    return [(row.address, row.cumulative) for row in rows]


def open_batches(session: Session, program_id: int) -> list[Batch]:
    """The batches that are on their way, by bucket and sequence."""
    query = select(Batch).where(Batch.program_id == program_id, Batch.state.not_in((BatchState.FINAL, *GONE)))
    return list(session.scalars(query.order_by(Batch.bucket, Batch.sequence)))


def movable(session: Session) -> list[Batch]:
    """The batches that can move, heads first: the oldest of each bucket that is on its way, and those behind it that can be proven ahead.
    Of programs that are not halted."""
    query = text("""
        SELECT id FROM (
            SELECT batch.id, state, proof, retry_at, row_number() OVER (PARTITION BY program_id, bucket ORDER BY sequence) AS place
            FROM batch JOIN program ON program.id = program_id
            WHERE state NOT IN ('final', 'set_aside', 'withdrawn') AND halted IS NULL
        ) AS queued
        WHERE (retry_at IS NULL OR retry_at <= now())
          AND (place = 1 OR (place <= :ahead_max AND state = 'closed' AND proof IS NULL))
        ORDER BY place, id
    """)
    ids = list(session.scalars(query, {"ahead_max": 1 + AHEAD_MAX}))
    found = {batch.id: batch for batch in session.scalars(select(Batch).where(Batch.id.in_(ids)))}
    return [found[id_] for id_ in ids]


def is_head(session: Session, batch: Batch) -> bool:
    """Whether all batches of its bucket before it are final."""
    return newest_final(session, batch.program_id, batch.bucket) == batch.sequence - 1


def locked(session: Session, batch_id: int, state: str) -> Batch | None:
    """The batch, its row locked until the transaction ends; None unless it is still in `state`.

    Whoever works on a batch holds its advisory lock, but the watcher does not: it makes a batch final when the chain says so.
    """
    query = select(Batch).where(Batch.id == batch_id, Batch.state == state).with_for_update(key_share=True)
    return session.scalar(query)


def mark_proven(batch: Batch) -> None:
    """Signed and proven: from now on anybody may post it, as long as its envelope is good."""
    batch.state = BatchState.PROVEN
    batch.landable_until = max(batch.valid_until, batch.landable_until or 0)


def get(session: Session, program_id: int, bucket: int, sequence: int) -> Batch | None:
    """The batch that stands at a place: none that was set aside or withdrawn."""
    query = select(Batch).where(
        Batch.program_id == program_id, Batch.bucket == bucket, Batch.sequence == sequence, Batch.state.not_in(GONE)
    )
    return session.scalar(query)


def listed(session: Session, program_id: int, limit: int, before_id: int | None) -> list[Batch]:
    """Newest first."""
    query = select(Batch).where(Batch.program_id == program_id).order_by(Batch.id.desc()).limit(limit)
    return list(session.scalars(query.where(Batch.id < before_id) if before_id is not None else query))


def newest_final(session: Session, program_id: int, bucket: int) -> int:
    """Sequence of the newest final batch, 0 before the first."""
    query = select(func.max(Batch.sequence)).where(
        Batch.program_id == program_id, Batch.bucket == bucket, Batch.state == BatchState.FINAL
    )
    return session.scalar(query) or 0


def put_items(session: Session, batch_id: int, interaction_ids: Sequence[int]) -> None:
    """Give the interactions, in this order, to the batch. Raises AssertionError if one of them was taken meanwhile."""
    result = session.execute(
        text("""
            UPDATE interaction SET batch_id = :batch_id, item_index = item.rank - 1
            FROM unnest(:ids) WITH ORDINALITY AS item (id, rank)
            WHERE interaction.id = item.id AND interaction.batch_id IS NULL AND interaction.state = 'accepted'
        """).bindparams(bindparam("ids", type_=ARRAY(BigInteger))),
        {"batch_id": batch_id, "ids": list(interaction_ids)},
    )
    if result.rowcount != len(interaction_ids):
        raise AssertionError(f"batch {batch_id}: {len(interaction_ids) - result.rowcount} of its interactions are taken")


def touched(session: Session, batch_id: int) -> list[BatchAccount]:
    """The slots that a batch touches, in order."""
    return list(session.scalars(select(BatchAccount).where(BatchAccount.batch_id == batch_id).order_by(BatchAccount.slot)))
