"""Quarantine of a batch that cannot be proven: the bucket goes on without the batch, and no reward
is lost (docs/adr/0005).

What was built on the batch is superseded and batched again. The batch's own interactions come back
as two quarantine groups, one for each half. Each group is batched apart, and quarantined in halves
again if it cannot be proven, until a group is a single interaction. That interaction is unprovable:
its reward stays booked, and an operator decides.
"""

from collections.abc import Sequence

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.batch import repository
from backend.batch.models import INACTIVE, Batch, BatchState
from backend.batch.states import log_fields, transition
from backend.errors import NotYet
from backend.interaction import repository as interactions
from backend.interaction.models import Interaction, InteractionState
from backend.kit.db import rows_changed
from backend.program import repository as programs
from prover.state import family
from prover.wire import count_openings, opened_addresses

log = structlog.get_logger()


def affected(
    session: Session, program_id: int, batch_id: int, booked_timestamp: int
) -> list[Batch]:
    """The batch, and after it what was built on it; all locked. Empty if the batch has moved on.

    Args:
        booked_timestamp: of the last indexed block. A batch that expired before it and is not final
        never lands.

    Raises:
        NotYet: one of them may still land.
    """
    program = programs.lock(session, program_id)
    under_way = _locked_under_way(session, program_id)
    batch = next((row for row in under_way if row.id == batch_id), None)
    if batch is None or batch.state not in (BatchState.CLOSED, BatchState.ATTESTED):
        return []
    going = [batch, *_built_on(batch, under_way, program.families)]
    for row in going:
        _require_dead(row, booked_timestamp)
    return going


def quarantine(
    session: Session, program_id: int, batch_id: int, reason: str, booked_timestamp: int
) -> list[Batch]:
    """Quarantine the batch and supersede what was built on it, in the caller's transaction.

    As `affected`. `reason` is public.
    """
    going = affected(session, program_id, batch_id, booked_timestamp)
    if not going:
        return []
    batch = going[0]
    batch.reason = reason
    transition(batch, BatchState.QUARANTINED)
    for row in going[1:]:
        row.reason = (
            f"it was built on batch {batch.sequence} of bucket {batch.bucket}, which is quarantined"
        )
        transition(row, BatchState.SUPERSEDED)
    for row in going:
        row.note = row.retry_at = None
    session.flush()
    _release_in_halves(session, batch)
    _release_interactions(session, going[1:])
    for bucket in {row.bucket for row in going}:
        _close_accounts(session, program_id, bucket)
    log.error(
        "batch_quarantined",
        **log_fields(batch),
        items=batch.items,
        reason=reason,
        superseded=[row.id for row in going[1:]],
    )
    return going


def replace_too_large(
    session: Session, program_id: int, batch_id: int, booked_timestamp: int
) -> list[Batch]:
    """Supersede a batch that the daily limit has been lowered below, with what was built on it, in
    the caller's transaction. Their interactions are batched again, within the limit.

    As `affected`. Empty too if the limit takes the batch.
    """
    program = programs.lock(session, program_id)
    going = affected(session, program_id, batch_id, booked_timestamp)
    if not going or not program.daily_limit or going[0].total <= program.daily_limit:
        return []
    above = f"above the daily limit of {program.daily_limit} base units"
    _supersede(session, going, f"it is {above}", f", which is {above}")
    log.warning(
        "batch_above_daily_limit",
        **log_fields(going[0]),
        total=going[0].total,
        daily_limit=program.daily_limit,
        superseded=[row.id for row in going],
    )
    return going


def replace_misplaced(
    session: Session, program_id: int, batch_id: int, booked_timestamp: int
) -> list[Batch]:
    """Supersede a batch that opens an account in a bucket of another family, with what was built on
    it, in the caller's transaction. The number of families was raised since it was closed, and no
    attestor signs it any more. Their interactions are batched again.

    As `affected`. Empty too if the batch is in its place.
    """
    program = programs.lock(session, program_id)
    going = affected(session, program_id, batch_id, booked_timestamp)
    if not going or not is_misplaced(going[0], program.families):
        return []
    before = f"as before there were {program.families} families"
    _supersede(session, going, f"it opens accounts {before}", f", which opens accounts {before}")
    log.warning(
        "batch_misplaced",
        **log_fields(going[0]),
        families=program.families,
        superseded=[row.id for row in going],
    )
    return going


def _supersede(session: Session, going: Sequence[Batch], reason: str, on_it: str) -> None:
    """Supersede a batch for `reason` and what was built on it, and open their interactions. `on_it`
    ends the reason of the latter, behind the name of the batch."""
    first = going[0]
    for row in going:
        built = f"it was built on batch {first.sequence} of bucket {first.bucket}{on_it}"
        row.reason = reason if row is first else built
        transition(row, BatchState.SUPERSEDED)
        row.note = row.retry_at = None
    session.flush()
    _release_interactions(session, going)
    for bucket in {row.bucket for row in going}:
        _close_accounts(session, first.program_id, bucket)


def is_misplaced(batch: Batch, families: int) -> bool:
    """Whether the batch opens an account whose family is not its bucket's."""
    return any(
        family(address, families) != batch.bucket % families
        for address in opened_addresses(batch.deltas)
    )


def release_unprovable(session: Session, program_id: int) -> int:
    """For an operator: try every unprovable interaction once more; how many there are.

    Each keeps the quarantine group that it was alone in, so each goes into a batch of its own.
    """
    programs.lock(session, program_id)
    query = (
        update(Interaction)
        .where(
            Interaction.program_id == program_id, Interaction.state == InteractionState.UNPROVABLE
        )
        .values(state=InteractionState.ACCEPTED)
    )
    return rows_changed(session.execute(query, execution_options={"synchronize_session": False}))


def _locked_under_way(session: Session, program_id: int) -> list[Batch]:
    query = select(Batch).where(
        Batch.program_id == program_id, Batch.state.not_in((BatchState.FINAL, *INACTIVE))
    )
    return list(
        session.scalars(
            query.order_by(Batch.bucket, Batch.sequence).with_for_update(key_share=True)
        )
    )


def _built_on(batch: Batch, under_way: Sequence[Batch], families: int) -> list[Batch]:
    """The batches that were built on `batch`.

    These are the later batches of its bucket. If slots become free, these are also the batches that
    open accounts in higher buckets of the family, and the later batches of those buckets: accounts
    are opened only where the lower buckets are full.
    """
    found = [
        row for row in under_way if row.bucket == batch.bucket and row.sequence > batch.sequence
    ]
    if not any(count_openings(row.deltas) for row in [batch, *found]):
        return found
    opens: set[int] = set()
    for row in under_way:
        if row.bucket > batch.bucket and row.bucket % families == batch.bucket % families:
            if count_openings(row.deltas):
                opens.add(row.bucket)
            if row.bucket in opens:
                found.append(row)
    return found


def _require_dead(batch: Batch, booked_timestamp: int) -> None:
    place = f"batch {batch.sequence} of bucket {batch.bucket}"
    if batch.state not in (BatchState.CLOSED, BatchState.ATTESTED):
        raise NotYet(f"{place} is {batch.state} and can still land")
    if batch.landable_until is not None and batch.landable_until >= booked_timestamp:
        raise NotYet(
            f"{place} was signed and proven until {batch.landable_until} and can still land"
        )


_LOOSE: dict[str, object] = {"batch_id": None, "item_index": None}
_ONCE = {"synchronize_session": False}


def _release_in_halves(session: Session, batch: Batch) -> None:
    """Open the interactions of a quarantined batch as two quarantine groups."""
    own = interactions.of_batch(session, batch.id)
    half = (len(own) + 1) // 2
    for number, part in enumerate((own[:half], own[half:])):
        values = _LOOSE | {"quarantine_batch_id": batch.id, "quarantine_half": number}
        if len(own) == 1:
            values["state"] = InteractionState.UNPROVABLE
        query = (
            update(Interaction).where(Interaction.id.in_([row.id for row in part])).values(values)
        )
        session.execute(query, execution_options=_ONCE)


def _release_interactions(session: Session, superseded: Sequence[Batch]) -> None:
    """Open the interactions of superseded batches, each in the quarantine group that it was in."""
    query = (
        update(Interaction)
        .where(Interaction.batch_id.in_([row.id for row in superseded]))
        .values(_LOOSE)
    )
    session.execute(query, execution_options=_ONCE)


def _close_accounts(session: Session, program_id: int, bucket: int) -> None:
    """Remove the accounts that only inactive batches have opened. The next batch of such an account
    gives it a home bucket."""
    newest = repository.newest_sequence(session, program_id, bucket)
    used = len(repository.pairs_after(session, program_id, bucket, newest))
    session.execute(
        delete(Account).where(
            Account.program_id == program_id,
            Account.bucket == bucket,
            Account.slot >= used,
            Account.posted == 0,
        )
    )
