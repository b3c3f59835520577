"""The step between parsing and booking: what to do with each reported interaction.

This module is pure. A new rule goes here; the service books what a decision says. Today there are
two rules: an event is not in the future, and the funded budget covers the reward.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backend.partner.report import Report

BUDGET_EXHAUSTED = "budget_exhausted"
"""Held because the funded budget does not cover it. Funding releases such interactions in order."""

FUTURE_TOLERANCE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Accept:
    """Book the reward now."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Store the interaction and book nothing until `reason` is gone, or until a given time."""

    reason: str
    message: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Store nothing. `field` of the report is at fault."""

    field: str
    reason: str


def screen(report: Report, now: int) -> Refuse | None:
    """Return why a report is refused by itself, None if it is not. `now` is in Unix seconds."""
    if report.occurred_at > now + FUTURE_TOLERANCE_SECONDS:
        return Refuse("occurred_at", "is in the future: expected the time at which it happened")
    return None


def decide(amounts: Sequence[int], available: int) -> list[Accept | Hold]:
    """Return a decision for each reward, in order: `available` base units are left of the budget.

    Rewards are served in order. One that is too large does not stop a smaller one behind it.
    """
    decisions: list[Accept | Hold] = []
    for amount in amounts:
        if amount <= available:
            available -= amount
            decisions.append(Accept())
        else:
            decisions.append(Hold(BUDGET_EXHAUSTED, "held until the program is funded further"))
    return decisions
