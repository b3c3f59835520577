"""Queries of batches, of open interactions and of the accounts' home buckets."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    any_,
    bindparam,
    func,
    literal,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.batch.models import ACTIVE, INACTIVE, Batch, BatchAccount, BatchState
from backend.interaction.models import (
    Interaction,
    InteractionState,
    QuarantineGroup,
    quarantine_group,
)
from backend.kit.amount import Amount
from backend.kit.db import rows_changed
from backend.program.models import Program

AHEAD_MAX = 8
"""How many batches of a bucket behind its head are proven ahead; more could expire before their
turn."""


class OpenInteraction(NamedTuple):
    """An accepted interaction that is in no batch."""

    id: int
    partner_id: int
    delivery_id: int
    event_id: str
    account: str
    amount: int
    occurred_at: int
    quarantine_batch_id: int | None
    quarantine_half: int | None
    created_at: datetime
    bucket: int | None
    """The account's home bucket; None if the account has none."""

    @property
    def quarantine_group(self) -> QuarantineGroup | None:
        """The quarantine group of the interaction; None for an ordinary one."""
        return quarantine_group(self.quarantine_batch_id, self.quarantine_half)


class Waiting(NamedTuple):
    """The open interactions of the accounts that live in one bucket, summed up."""

    bucket: int | None
    """None: of the accounts that have no home bucket."""
    items: int
    first: int
    """The lowest id."""
    since: datetime
    """The earliest time."""
    quarantined: bool
    """Whether an interaction of a quarantine group is among them."""


class UnderWay(NamedTuple):
    """The batches of one bucket that are neither final nor inactive."""

    batches: int
    quarantined: bool
    """Whether a batch of a quarantine group is among them."""


def _open(program: Program) -> tuple[ColumnElement[bool], ...]:
    """The interactions that may go into a batch now: accepted, in no batch, and not above the daily
    limit by themselves."""
    found = (
        Interaction.program_id == program.id,
        Interaction.state == InteractionState.ACCEPTED,
        Interaction.batch_id.is_(None),
    )
    return (*found, Interaction.amount <= program.daily_limit) if program.daily_limit else found


# LIMIT makes the planner look up one row for each interaction. While the statistics are behind, as
# when the first accounts of a program come all at once, a join would compare every open interaction
# with every account.
_HOME = (
    select(Account.bucket)
    .where(Account.program_id == Interaction.program_id, Account.address == Interaction.account)
    .limit(1)
    .correlate(Interaction)
    .lateral("home")
)
_OPEN_INTERACTION = (
    Interaction.id,
    Interaction.partner_id,
    Interaction.delivery_id,
    Interaction.event_id,
    Interaction.account,
    Interaction.amount,
    Interaction.occurred_at,
    Interaction.quarantine_batch_id,
    Interaction.quarantine_half,
    Interaction.created_at,
)


def opened(session: Session, program_id: int) -> dict[int, int]:
    """bucket -> slots in use, with those of closed batches.

    The database makes one look-up for each bucket: the slots of a bucket have no gaps.
    """
    query = text("""
        WITH RECURSIVE used AS (
            SELECT (SELECT min(bucket) FROM account WHERE program_id = :program_id) AS bucket
            UNION ALL
            SELECT (SELECT min(bucket) FROM account WHERE program_id = :program_id
              AND account.bucket > used.bucket)
            FROM used WHERE used.bucket IS NOT NULL
        )
        SELECT bucket, (SELECT max(slot) + 1 FROM account WHERE program_id = :program_id
          AND account.bucket = used.bucket)
        FROM used WHERE bucket IS NOT NULL
    """)
    return dict(session.execute(query, {"program_id": program_id}).all())


def queues(session: Session, program: Program) -> list[Waiting]:
    """What waits in each bucket for the bucket's next batch."""
    query = (
        select(
            _HOME.c.bucket,
            func.count().label("items"),
            func.min(Interaction.id).label("first"),
            func.min(Interaction.created_at).label("since"),
            func.bool_or(Interaction.quarantine_batch_id.is_not(None)).label("quarantined"),
        )
        .outerjoin_from(Interaction, _HOME, true())
        .where(*_open(program))
        .group_by(_HOME.c.bucket)
    )
    return [Waiting(*row) for row in session.execute(query)]


def waiting_at_home(
    session: Session, program: Program, bucket: int, limit: int
) -> list[OpenInteraction]:
    """The oldest open interactions of the accounts that live in a bucket, at most `limit`."""
    addresses = (
        select(Account.address)
        .where(Account.program_id == program.id, Account.bucket == bucket)
        .scalar_subquery()
    )
    query = (
        select(*_OPEN_INTERACTION, literal(bucket).label("bucket"))
        .where(*_open(program), Interaction.account == any_(func.array(addresses)))
        .order_by(Interaction.id)
        .limit(limit)
    )
    return [OpenInteraction(*row) for row in session.execute(query)]


def waiting_without_home(session: Session, program: Program) -> Iterator[OpenInteraction]:
    """The open interactions of accounts that have no home bucket, in ledger order.

    The database is read only as far as the caller iterates.
    """
    query = (
        select(*_OPEN_INTERACTION, _HOME.c.bucket)
        .outerjoin_from(Interaction, _HOME, true())
        .where(*_open(program), _HOME.c.bucket.is_(None))
        .order_by(Interaction.id)
    )
    with session.execute(query, execution_options={"yield_per": 1000}) as rows:
        for row in rows:
            yield OpenInteraction(*row)


def newest_sequence(session: Session, program_id: int, bucket: int) -> int:
    """Sequence of the newest closed batch, 0 before the first."""
    query = select(func.max(Batch.sequence)).where(
        Batch.program_id == program_id, Batch.bucket == bucket, Batch.state.not_in(INACTIVE)
    )
    return session.scalar(query) or 0


def pairs_after(
    session: Session, program_id: int, bucket: int, sequence: int
) -> list[tuple[str, int]]:
    """(address, cumulative) of the slots in use after batch `sequence`, in order of slot.

    The database makes one look-up for each slot, however long the slot's history is.
    """
    query = text(f"""
        SELECT slot, address, cumulative
        FROM generate_series(0, (SELECT max(slot) FROM batch_account WHERE program_id = :program_id
          AND bucket = :bucket)) AS slot
        CROSS JOIN LATERAL (
            SELECT address, cumulative FROM batch_account JOIN batch ON batch.id = batch_id
            WHERE batch_account.program_id = :program_id AND batch_account.bucket = :bucket
              AND batch_account.slot = slot.slot
              AND batch_account.sequence <= :sequence AND {ACTIVE}
            ORDER BY batch_account.sequence DESC LIMIT 1
        ) AS newest
        ORDER BY slot
    """).columns(cumulative=Amount)
    rows = session.execute(
        query, {"program_id": program_id, "bucket": bucket, "sequence": sequence}
    ).all()
    if [row.slot for row in rows] != list(range(len(rows))):
        raise AssertionError(
            f"bucket {bucket}: slots {[row.slot for row in rows]} are not 0 .. {len(rows) - 1}"
        )
    return [(row.address, row.cumulative) for row in rows]


def under_way(session: Session, program_id: int) -> dict[int, UnderWay]:
    """bucket -> its batches that are under way."""
    query = (
        select(Batch.bucket, func.count(), func.bool_or(Batch.quarantine_batch_id.is_not(None)))
        .where(Batch.program_id == program_id, Batch.state.not_in((BatchState.FINAL, *INACTIVE)))
        .group_by(Batch.bucket)
    )
    return {bucket: UnderWay(count, found) for bucket, count, found in session.execute(query)}


def open_batches(session: Session, program_id: int) -> list[Batch]:
    """The batches that are under way, by bucket and sequence."""
    query = select(Batch).where(
        Batch.program_id == program_id, Batch.state.not_in((BatchState.FINAL, *INACTIVE))
    )
    return list(session.scalars(query.order_by(Batch.bucket, Batch.sequence)))


# Round robin: the programs' first due batches, those of the program that was looked at longest ago
# first, then their second ones, and so on. Within a program the buckets take turns in the same way.
_MOVABLE = text("""
    WITH open_batch AS (
        SELECT batch.id, program_id, bucket, state, proof, retry_at,
          row_number() OVER (PARTITION BY program_id, bucket ORDER BY sequence) AS place,
          max(looked_at) OVER (PARTITION BY program_id) AS program_looked_at,
          max(looked_at) OVER (PARTITION BY program_id, bucket) AS bucket_looked_at
        FROM batch JOIN program ON program.id = program_id
        WHERE state NOT IN ('final', 'quarantined', 'superseded') AND halted IS NULL
          AND (CAST(:programs AS bigint[]) IS NULL OR program_id = ANY(:programs))
    ), due AS (
        SELECT *, row_number() OVER (PARTITION BY program_id, bucket ORDER BY place) AS bucket_turn
        FROM open_batch
        WHERE (retry_at IS NULL OR retry_at <= now())
          AND (place = 1 OR (place <= :ahead_max AND state = 'closed' AND proof IS NULL))
    ), turns AS (
        SELECT *, row_number() OVER (PARTITION BY program_id
          ORDER BY bucket_turn, bucket_looked_at NULLS FIRST, id) AS program_turn FROM due
    )
    SELECT id FROM turns ORDER BY program_turn, program_looked_at NULLS FIRST, id LIMIT :most
""").bindparams(bindparam("programs", type_=ARRAY(BigInteger)))

_TAKE = text("""
    UPDATE batch SET looked_at = now(), retry_at = now() + make_interval(secs => :seconds)
    WHERE id IN (SELECT id FROM batch WHERE id = ANY(:ids)
      AND (retry_at IS NULL OR retry_at <= now()) FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id
""").bindparams(bindparam("ids", type_=ARRAY(BigInteger)))

_TAKE_TO_PROVE = text("""
    WITH open_batch AS (
        SELECT batch.id, state, digest, proof, proving_at, prove_attempts,
          row_number() OVER (PARTITION BY program_id, bucket ORDER BY sequence) AS place,
          max(proving_at) OVER (PARTITION BY program_id) AS program_proving_at,
          max(proving_at) OVER (PARTITION BY program_id, bucket) AS bucket_proving_at
        FROM batch JOIN program ON program.id = program_id
        WHERE state NOT IN ('final', 'quarantined', 'superseded') AND halted IS NULL
          AND chain_id = :chain_id
    )
    UPDATE batch SET proving_at = now() WHERE id = (
        SELECT batch.id FROM batch JOIN open_batch USING (id)
        WHERE open_batch.state IN ('closed', 'attested') AND open_batch.digest IS NOT NULL
          AND open_batch.proof IS NULL AND place <= :ahead_max
          AND (batch.proving_at IS NULL OR batch.proving_at
            <= now() - make_interval(secs => least(power(2, batch.prove_attempts), 60)))
        ORDER BY program_proving_at NULLS FIRST, bucket_proving_at NULLS FIRST, place, id
        LIMIT 1 FOR NO KEY UPDATE OF batch SKIP LOCKED
    )
    RETURNING id
""")

LOOK_SECONDS = 1
"""How long a batch that was handed to a worker is not handed out again."""


def movable(
    session: Session, program_ids: Sequence[int] | None = None, limit: int | None = None
) -> list[Batch]:
    """The batches that are due, of programs that are not halted: by turns of programs, then of
    buckets, so that none waits for all of another.

    The head of a bucket is its oldest batch under way. Batches behind the head can be proven ahead.
    """
    programs = None if program_ids is None else list(program_ids)
    ids = list(
        session.scalars(_MOVABLE, {"programs": programs, "ahead_max": 1 + AHEAD_MAX, "most": limit})
    )
    found = {batch.id: batch for batch in session.scalars(select(Batch).where(Batch.id.in_(ids)))}
    return [found[id_] for id_ in ids]


def hand_out(
    session: Session, program_ids: Sequence[int], looks_a_second: int, most: int
) -> list[int]:
    """Ids of the batches that workers are to look at now, in fair order, at most `most`. They are
    not due again for LOOK_SECONDS. Over all processes at most `looks_a_second` are handed out in a
    second."""
    recent = session.scalar(
        select(func.count()).where(
            Batch.state.not_in((BatchState.FINAL, *INACTIVE)),
            Batch.looked_at > func.now() - timedelta(seconds=1),
        )
    )
    limit = min(most, looks_a_second - (recent or 0))
    if limit <= 0:
        return []
    ids = [batch.id for batch in movable(session, program_ids, limit)]
    taken = set(session.scalars(_TAKE, {"ids": ids, "seconds": LOOK_SECONDS}))
    return [id_ for id_ in ids if id_ in taken]


def is_due(session: Session, batch_id: int) -> bool:
    """Whether a batch that was handed out is still to be looked at: a message that came late or
    twice finds it looked at."""
    due = (Batch.retry_at.is_(None)) | (
        Batch.retry_at <= func.now() + timedelta(seconds=LOOK_SECONDS)
    )
    return session.scalar(select(Batch.id).where(Batch.id == batch_id, due)) is not None


def take_to_prove(session: Session, chain_id: int) -> int | None:
    """Id of the batch that is proven next, by turns of programs, then of buckets; None if no batch
    of the chain needs a proof. It is not taken again at once, and later after each failure."""
    taken: int | None = session.scalar(
        _TAKE_TO_PROVE, {"chain_id": chain_id, "ahead_max": 1 + AHEAD_MAX}
    )
    return taken


def wake(
    session: Session, program_id: int, bucket: int | None = None, sequence: int | None = None
) -> None:
    """What the batches of the program (or of the bucket, or the one of this sequence) wait for may
    have come: they are due now. A batch that a worker holds is left to that worker."""
    waiting = (
        select(Batch.id)
        .where(
            Batch.program_id == program_id,
            Batch.state.not_in((BatchState.FINAL, *INACTIVE)),
            Batch.retry_at > func.now(),
        )
        .with_for_update(key_share=True, skip_locked=True)
    )
    if bucket is not None:
        waiting = waiting.where(Batch.bucket == bucket)
    if sequence is not None:
        waiting = waiting.where(Batch.sequence == sequence)
    session.execute(
        update(Batch)
        .where(Batch.id.in_(waiting))
        .values(retry_at=None, waits=0)
        .execution_options(synchronize_session=False)
    )


def bury(session: Session, program_id: int, epoch: int) -> None:
    """A new epoch of attestors has begun on the final chain: what was signed before can no longer
    land, and nothing waits for its expiry."""
    session.execute(
        update(Batch)
        .where(
            Batch.program_id == program_id,
            Batch.state.not_in((BatchState.FINAL, *INACTIVE)),
            Batch.landable_until.is_not(None),
            func.coalesce(Batch.attestor_epoch, 0) < epoch,
        )
        .values(landable_until=None)
        .execution_options(synchronize_session=False)
    )
    wake(session, program_id)


def is_head(session: Session, batch: Batch) -> bool:
    """Whether all batches of its bucket before it are final."""
    return newest_final(session, batch.program_id, batch.bucket) == batch.sequence - 1


def locked(session: Session, batch_id: int, state: str) -> Batch | None:
    """The batch, its row locked until the transaction ends; None unless it is still in `state`.

    A worker that moves a batch holds the batch's advisory lock, but the indexer does not: the
    indexer makes a batch final when the chain says so.
    """
    query = (
        select(Batch)
        .where(Batch.id == batch_id, Batch.state == state)
        .with_for_update(key_share=True)
    )
    return session.scalar(query)


def get(session: Session, program_id: int, bucket: int, sequence: int) -> Batch | None:
    """The active batch of a place: never a quarantined or a superseded one."""
    query = select(Batch).where(
        Batch.program_id == program_id,
        Batch.bucket == bucket,
        Batch.sequence == sequence,
        Batch.state.not_in(INACTIVE),
    )
    return session.scalar(query)


def listed(
    session: Session,
    program_id: int,
    limit: int,
    before_id: int | None = None,
    *,
    states: Sequence[str] = (),
    bucket: int | None = None,
) -> list[Batch]:
    """Newest first; only batches in one of `states` and of `bucket`, where these are given."""
    query = select(Batch).where(Batch.program_id == program_id)
    if before_id is not None:
        query = query.where(Batch.id < before_id)
    if states:
        query = query.where(Batch.state.in_(states))
    if bucket is not None:
        query = query.where(Batch.bucket == bucket)
    return list(session.scalars(query.order_by(Batch.id.desc()).limit(limit)))


def newest_final(session: Session, program_id: int, bucket: int) -> int:
    """Sequence of the newest final batch, 0 before the first."""
    query = select(func.max(Batch.sequence)).where(
        Batch.program_id == program_id, Batch.bucket == bucket, Batch.state == BatchState.FINAL
    )
    return session.scalar(query) or 0


def put_items(session: Session, batch_id: int, interaction_ids: Sequence[int]) -> None:
    """Give the interactions, in this order, to the batch.

    Raises:
        AssertionError: another batch has one of them, or one is not accepted.
    """
    result = session.execute(
        text("""
            UPDATE interaction SET batch_id = :batch_id, item_index = item.rank - 1
            FROM unnest(:ids) WITH ORDINALITY AS item (id, rank)
            WHERE interaction.id = item.id AND interaction.batch_id IS NULL
              AND interaction.state = 'accepted'
        """).bindparams(bindparam("ids", type_=ARRAY(BigInteger))),
        {"batch_id": batch_id, "ids": list(interaction_ids)},
    )
    taken = len(interaction_ids) - rows_changed(result)
    if taken:
        raise AssertionError(f"batch {batch_id}: {taken} of its interactions are taken")


def touched(session: Session, batch_id: int) -> list[BatchAccount]:
    """The slots that a batch touches, in order."""
    return list(
        session.scalars(
            select(BatchAccount)
            .where(BatchAccount.batch_id == batch_id)
            .order_by(BatchAccount.slot)
        )
    )
