"""All SQL of batches and of the accounts' homes."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.batch.models import Batch, BatchAccount, BatchState


def accounts(session: Session, program_id: int, addresses: Sequence[str]) -> dict[str, Account]:
    """The opened accounts among `addresses`."""
    query = select(Account).where(Account.program_id == program_id, Account.address.in_(addresses))
    return {account.address: account for account in session.scalars(query)}


def opened(session: Session, program_id: int) -> dict[int, int]:
    """bucket -> slots in use, closed batches included."""
    query = select(Account.bucket, func.count()).where(Account.program_id == program_id).group_by(Account.bucket)
    return dict(session.execute(query).tuples().all())


def newest_sequence(session: Session, program_id: int, bucket: int) -> int:
    """Sequence of the newest closed batch, 0 before the first."""
    query = select(func.max(Batch.sequence)).where(Batch.program_id == program_id, Batch.bucket == bucket)
    return session.scalar(query) or 0


def pairs_after(session: Session, program_id: int, bucket: int, sequence: int) -> list[tuple[str, int]]:
    """(address, cumulative) of the slots in use after batch `sequence`, in order of slot."""
    query = (
        select(BatchAccount.slot, BatchAccount.address, BatchAccount.cumulative)
        .where(BatchAccount.program_id == program_id, BatchAccount.bucket == bucket, BatchAccount.sequence <= sequence)
        .distinct(BatchAccount.slot)
        .order_by(BatchAccount.slot, BatchAccount.sequence.desc())
    )
    rows = session.execute(query).all()
    if [row.slot for row in rows] != list(range(len(rows))):
        raise AssertionError(f"bucket {bucket}: slots {[row.slot for row in rows]} are not 0 .. {len(rows) - 1}")
    return [(row.address, row.cumulative) for row in rows]


def open_batches(session: Session, program_id: int) -> list[Batch]:
    """The batches that are not final, by bucket and sequence."""
    query = select(Batch).where(Batch.program_id == program_id, Batch.state != BatchState.FINAL)
    return list(session.scalars(query.order_by(Batch.bucket, Batch.sequence)))


def heads(session: Session) -> list[Batch]:
    """The batches that can move: the oldest of each bucket that is not final, of programs that are not halted."""
    query = text("""
        SELECT DISTINCT ON (batch.program_id, bucket) batch.id FROM batch JOIN program ON program.id = batch.program_id
        WHERE state <> 'final' AND halted IS NULL AND (retry_at IS NULL OR retry_at <= now())
        ORDER BY batch.program_id, bucket, sequence
    """)
    ids = list(session.scalars(query))
    return list(session.scalars(select(Batch).where(Batch.id.in_(ids)).order_by(Batch.id)))


def locked(session: Session, batch_id: int, state: str) -> Batch | None:
    """The batch, its row locked until the transaction ends; None unless it is still in `state`.

    Whoever works on a batch holds its advisory lock, but the watcher does not: it makes a batch final when the chain says so.
    """
    query = select(Batch).where(Batch.id == batch_id, Batch.state == state).with_for_update(key_share=True)
    return session.scalar(query)


def get(session: Session, program_id: int, bucket: int, sequence: int) -> Batch | None:
    return session.scalar(select(Batch).where(Batch.program_id == program_id, Batch.bucket == bucket, Batch.sequence == sequence))


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
