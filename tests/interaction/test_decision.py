"""The decision step: which reports are refused, accepted and held."""

from backend.interaction.decision import (
    BUDGET_EXHAUSTED,
    FUTURE_TOLERANCE_SECONDS,
    Accept,
    Hold,
    Refuse,
    decide,
    screen,
)
from backend.partner.report import Report

NOW = 1_760_000_000


def test_future_events_are_refused() -> None:
    """A report may lie five minutes ahead, not a second more."""
    ahead = NOW + FUTURE_TOLERANCE_SECONDS
    assert screen(Report("e", "0x" + "11" * 20, 1, ahead), NOW) is None
    refused = screen(Report("e", "0x" + "11" * 20, 1, ahead + 1), NOW)
    assert isinstance(refused, Refuse)
    assert refused.field == "occurred_at"


def test_budget_is_served_in_order() -> None:
    """Rewards are accepted while the budget lasts. One too large is passed over, not the rest."""
    made = decide([5, 7, 4, 1, 1], 10)
    assert [isinstance(decision, Accept) for decision in made] == [True, False, True, True, False]
    assert {decision.reason for decision in made if isinstance(decision, Hold)} == {
        BUDGET_EXHAUSTED
    }


def test_nothing_from_an_empty_budget() -> None:
    """A budget of zero, or in deficit, accepts nothing."""
    for available in (0, -5):
        assert all(isinstance(decision, Hold) for decision in decide([1, 2], available))
