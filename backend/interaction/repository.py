"""All SQL of intake. Bulk work goes in arrays, one statement a table."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Numeric,
    String,
    bindparam,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from backend.interaction.models import Interaction, InteractionState, StoredDelivery
from backend.partner.report import EVENT_ID, Report
from backend.program.models import Program

# Ids follow the order of the request. Rows are inserted sorted, so that two requests that report
# the same events wait for each other in one order.
_INSERT = text("""
    WITH numbered AS MATERIALIZED (
        SELECT nextval(pg_get_serial_sequence('interaction', 'id')) AS id, * FROM (
            SELECT * FROM unnest(:positions, :event_ids, :accounts, :amounts, :times)
                AS reported (position, event_id, account, amount, occurred_at)
            ORDER BY position
        ) AS in_order
    )
    INSERT INTO interaction (id, program_id, partner_id, delivery_id, position, event_id, account,
      amount, occurred_at, state)
    SELECT id, :program_id, :partner_id, :delivery_id, position, event_id, account, amount,
      occurred_at, 'accepted'
    FROM numbered ORDER BY event_id
    ON CONFLICT (partner_id, event_id) DO NOTHING
    RETURNING id, position
""").bindparams(
    bindparam("positions", type_=ARRAY(Integer)),
    bindparam("event_ids", type_=ARRAY(String)),
    bindparam("accounts", type_=ARRAY(String)),
    bindparam("amounts", type_=ARRAY(Numeric(78, 0))),
    bindparam("times", type_=ARRAY(BigInteger)),
)

# A literal: with a parameter PostgreSQL may settle on a plan that does without the indexes of held
# rows.
_HELD: ColumnElement[str] = literal_column(f"'{InteractionState.HELD}'")


def insert_new(
    session: Session,
    program_id: int,
    partner_id: int,
    delivery_id: int,
    reports: Sequence[tuple[int, Report]],
) -> dict[int, int]:
    """Insert the reports whose event is new, as accepted; returns position -> interaction id for
    those inserted."""
    parameters: dict[str, Any] = {
        "program_id": program_id,
        "partner_id": partner_id,
        "delivery_id": delivery_id,
        "positions": [position for position, _ in reports],
        "event_ids": [report.event_id for _, report in reports],
        "accounts": [report.account for _, report in reports],
        "amounts": [report.amount for _, report in reports],
        "times": [report.occurred_at for _, report in reports],
    }
    return {position: id_ for id_, position in session.execute(_INSERT, parameters)}


def hold(session: Session, ids: Sequence[int], reason: str) -> None:
    """Mark interactions as held."""
    query = (
        update(Interaction)
        .where(Interaction.id.in_(ids))
        .values(state=InteractionState.HELD, held_reason=reason)
    )
    session.execute(query, execution_options={"synchronize_session": False})


def accept(session: Session, ids: Sequence[int]) -> None:
    """Mark held interactions as accepted."""
    query = (
        update(Interaction)
        .where(Interaction.id.in_(ids))
        .values(state=InteractionState.ACCEPTED, held_reason=None)
    )
    session.execute(query, execution_options={"synchronize_session": False})


def mark_reversed(session: Session, program_id: int, interaction_id: int) -> bool:
    """Mark an interaction as reversed. False unless it is booked and no batch holds it.

    The caller books the reversal in the same transaction (`ledger.service.book_reversal`).
    """
    query = (
        update(Interaction)
        .where(
            Interaction.id == interaction_id,
            Interaction.program_id == program_id,
            Interaction.state.in_((InteractionState.ACCEPTED, InteractionState.UNPROVABLE)),
            Interaction.batch_id.is_(None),
        )
        .values(state=InteractionState.REVERSED)
        .returning(Interaction.id)
    )
    options = {"synchronize_session": False}
    return session.scalar(query, execution_options=options) is not None


def existing(session: Session, partner_id: int, event_ids: Sequence[str]) -> dict[str, Interaction]:
    """The interactions that stand under these event ids."""
    query = select(Interaction).where(
        Interaction.partner_id == partner_id, Interaction.event_id.in_(event_ids)
    )
    return {row.event_id: row for row in session.scalars(query)}


def held(
    session: Session, program_id: int, reason: str, amount_max: int, limit: int
) -> list[Interaction]:
    """The oldest interactions of at most `amount_max` held for `reason`, locked."""
    query = (
        select(Interaction)
        .where(
            Interaction.program_id == program_id,
            Interaction.state == _HELD,
            Interaction.held_reason == reason,
            Interaction.amount <= amount_max,
        )
        .order_by(Interaction.id)
        .limit(limit)
        .with_for_update(key_share=True)
    )
    return list(session.scalars(query))


def smallest_held(session: Session, program_id: int, reason: str) -> int | None:
    """The smallest amount held for `reason`, None if there is none."""
    query = select(func.min(Interaction.amount)).where(
        Interaction.program_id == program_id,
        Interaction.state == _HELD,
        Interaction.held_reason == reason,
    )
    return session.scalar(query)


class Above(NamedTuple):
    """How many interactions are above the daily limit by themselves, and their sum in base
    units."""

    interactions: int
    amount: int


def above_daily_limit(session: Session, program: Program) -> Above:
    """What waits for a higher limit."""
    if not program.daily_limit:
        return Above(0, 0)
    query = select(func.count(), func.coalesce(func.sum(Interaction.amount), 0)).where(
        Interaction.program_id == program.id,
        Interaction.state == InteractionState.ACCEPTED,
        Interaction.batch_id.is_(None),
        Interaction.amount > program.daily_limit,
    )
    count, amount = session.execute(query).one()
    return Above(int(count), int(amount))


def of_batch(session: Session, batch_id: int) -> list[Interaction]:
    """A batch's interactions by item index."""
    return list(
        session.scalars(
            select(Interaction)
            .where(Interaction.batch_id == batch_id)
            .order_by(Interaction.item_index)
        )
    )


def find(session: Session, partner_id: int, event_id: str) -> Interaction | None:
    """The interaction under an event id; None as well for a text that no event id can be."""
    if not EVENT_ID.fullmatch(event_id):
        return None
    return session.scalar(
        select(Interaction).where(
            Interaction.partner_id == partner_id, Interaction.event_id == event_id
        )
    )


def delivery_sizes(session: Session, ids: Collection[int]) -> dict[int, int]:
    """Return delivery id -> bytes of its evidence: target, headers and body."""
    size = (
        func.length(StoredDelivery.body)
        + func.octet_length(StoredDelivery.target)
        + func.octet_length(func.array_to_string(StoredDelivery.headers, ""))
    )
    query = select(StoredDelivery.id, size).where(StoredDelivery.id.in_(ids))
    return dict(session.execute(query).all())
