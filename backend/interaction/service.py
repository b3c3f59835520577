"""Intake: from a partner's signed request to booked interactions, in one transaction that commits
before the answer."""

import os
import time
from collections.abc import Sequence

from sqlalchemy.orm import Session

from backend.interaction import repository
from backend.interaction.decision import BUDGET_EXHAUSTED, Accept, Hold, decide, screen
from backend.interaction.models import DeliverySalt, Interaction, InteractionState, StoredDelivery
from backend.ledger import service as ledger
from backend.ledger.service import Reward
from backend.partner.evidence import Delivery
from backend.partner.report import ItemOutcome, ItemResult, Report, ReportError

RELEASE_LIMIT = 1000


def ingest(
    session: Session,
    program_id: int,
    partner_id: int,
    delivery: Delivery,
    items: Sequence[Report | ReportError],
) -> list[ItemResult]:
    """Book what is new among the items of an authenticated delivery; one answer an item, in
    order."""
    answers: list[ItemResult | None] = [None] * len(items)
    fresh: dict[str, tuple[int, Report]] = {}
    repeated: list[tuple[int, Report]] = []
    now = int(time.time())
    for position, item in enumerate(items):
        if isinstance(item, ReportError):
            answers[position] = _rejected(position, item)
        elif refused := screen(item, now):
            error = ReportError(refused.field, refused.reason, item.event_id)
            answers[position] = _rejected(position, error)
        elif item.event_id in fresh:
            repeated.append((position, item))
        else:
            fresh[item.event_id] = (position, item)
    if fresh:
        inserted = _insert(session, program_id, partner_id, delivery, list(fresh.values()))
        for position, answer in _book(session, program_id, inserted).items():
            answers[position] = answer
        for position, report in fresh.values():
            if answers[position] is None:
                repeated.append((position, report))
    if repeated:
        known = repository.existing(
            session, partner_id, [report.event_id for _, report in repeated]
        )
        for position, report in repeated:
            answers[position] = _repeated(position, report, known[report.event_id])
    return [answer for answer in answers if answer is not None]


def _insert(
    session: Session,
    program_id: int,
    partner_id: int,
    delivery: Delivery,
    reports: Sequence[tuple[int, Report]],
) -> dict[int, tuple[int, Report]]:
    """Insert what is new with its evidence; returns position -> (interaction id, report). A
    delivery without news leaves no row."""
    with session.begin_nested() as savepoint:
        salt = os.urandom(32)
        row = StoredDelivery(
            program_id=program_id,
            partner_id=partner_id,
            scheme=delivery.scheme,
            method=delivery.method,
            target=delivery.target,
            headers=[list(header) for header in delivery.headers],
            body=delivery.body,
            evidence=delivery.hash(salt),
        )
        session.add(row)
        session.flush()
        ids = repository.insert_new(session, program_id, partner_id, row.id, reports)
        if not ids:
            savepoint.rollback()
            return {}
        session.add(DeliverySalt(delivery_id=row.id, salt=salt))
    return {position: (ids[position], report) for position, report in reports if position in ids}


def _book(
    session: Session, program_id: int, inserted: dict[int, tuple[int, Report]]
) -> dict[int, ItemResult]:
    """Decide about the inserted interactions, in order: book the accepted ones, hold the others."""
    if not inserted:
        return {}
    rewards = [Reward(id_, report.account, report.amount) for id_, report in inserted.values()]
    # The lock on the budget's row: what is decided must still hold when it is booked.
    available = ledger.available_budget(session, program_id, lock=True)
    decisions = decide([reward.amount for reward in rewards], available)
    first = min(reward.interaction_id for reward in rewards)
    if accepted := _accepted(rewards, decisions):
        ledger.book_rewards(session, program_id, f"interactions from {first}", accepted)
    held: dict[str, list[int]] = {}
    results: dict[int, ItemResult] = {}
    for (position, (id_, report)), decision in zip(inserted.items(), decisions, strict=True):
        if isinstance(decision, Accept):
            results[position] = ItemResult(ItemOutcome.ACCEPTED, report.event_id)
            continue
        held.setdefault(decision.reason, []).append(id_)
        results[position] = ItemResult(
            ItemOutcome.HELD, report.event_id, decision.reason, message=decision.message
        )
    for reason, ids in held.items():
        repository.hold(session, ids, reason)
    return results


def _accepted(rewards: Sequence[Reward], decisions: Sequence[Accept | Hold]) -> list[Reward]:
    pairs = zip(rewards, decisions, strict=True)
    return [reward for reward, decision in pairs if isinstance(decision, Accept)]


def release_held(session: Session, program_id: int) -> int:
    """Accept interactions that were held for want of budget, oldest first, as far as it goes now.
    Returns how many."""
    if not _may_release(session, program_id):
        return 0
    # Before the held rows: who books the chain holds it as well when it comes here.
    available = ledger.available_budget(session, program_id, lock=True)
    # What is too large for the budget is passed over in the query: any number of such rows must not
    # use up the limit.
    rows = repository.held(session, program_id, BUDGET_EXHAUSTED, available, RELEASE_LIMIT)
    rewards = [Reward(row.id, row.account, row.amount) for row in rows]
    covered = _accepted(rewards, decide([reward.amount for reward in rewards], available))
    if covered:
        repository.accept(session, [reward.interaction_id for reward in covered])
        ledger.book_rewards(
            session, program_id, f"released from {covered[0].interaction_id}", covered
        )
    return len(covered)


def _may_release(session: Session, program_id: int) -> bool:
    """Whether the budget covers anything that is held, by two look-ups in indexes and without a
    lock: every tick asks."""
    available = ledger.available_budget(session, program_id)
    if available <= 0:
        return False
    smallest = repository.smallest_held(session, program_id, BUDGET_EXHAUSTED)
    return smallest is not None and smallest <= available


def _rejected(position: int, error: ReportError) -> ItemResult:
    field = f"interactions[{position}]" + (f".{error.field}" if error.field else "")
    return ItemResult(ItemOutcome.REJECTED, error.event_id, "invalid", field, error.message)


def _repeated(position: int, report: Report, row: Interaction) -> ItemResult:
    first = Report(row.event_id, row.account, row.amount, row.occurred_at)
    if report == first:
        state = row.held_reason if row.state == InteractionState.HELD else row.state
        return ItemResult(ItemOutcome.DUPLICATE, report.event_id, state=state)
    # The event is the partner's own: what it reported first is no secret from it.
    differences = ", ".join(
        f"{name} {getattr(first, name)}, now {getattr(report, name)}"
        for name in ("account", "amount", "occurred_at")
        if getattr(first, name) != getattr(report, name)
    )
    return ItemResult(
        ItemOutcome.REJECTED,
        report.event_id,
        "conflict",
        f"interactions[{position}].event_id",
        f"this event was reported before with {differences}; the first report is kept",
        first=first,
    )
