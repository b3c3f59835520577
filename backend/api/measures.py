"""Metrics that the database knows: they stay true while no worker runs."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.batch.models import INACTIVE, Batch, BatchState
from backend.chain.models import OPEN, OutgoingTransaction
from backend.interaction import repository as interactions
from backend.kit.db import Database, db_now
from backend.program.models import Program


class DatabaseMeasures(Collector):
    """Open batches and outgoing transactions by state, with the age of the oldest; programs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """The families, read now. Without a database only guerdon_database_up is there."""
        up = GaugeMetricFamily("guerdon_database_up", "Whether PostgreSQL answers.")
        found: list[Metric] = []
        try:
            with self._database.snapshot() as session:
                found = [*_batches(session), *_transactions(session), *_programs(session)]
        except SQLAlchemyError:
            pass
        up.add_metric([], int(bool(found)))
        yield from [up, *found]


def _batches(session: Session) -> list[Metric]:
    states = [state for state in BatchState if state not in (*INACTIVE, BatchState.FINAL)]
    # One that waits for the daily limit is not stuck.
    waits = Batch.fits_at > func.extract("epoch", func.now())
    oldest = func.min(Batch.created_at).filter(waits.is_not(True))
    age = func.coalesce(func.extract("epoch", func.now() - oldest), 0)
    # As in the index of open batches: all others are many.
    ended = [state.value for state in (BatchState.FINAL, *INACTIVE)]
    rows = session.execute(
        select(Batch.state, func.count(), age)
        .where(Batch.state.not_in(ended))
        .group_by(Batch.state)
    )
    return _by_state(
        [state.value for state in states],
        {state: (count, oldest) for state, count, oldest in rows},
        ("guerdon_batches", "Open batches, by state."),
        ("guerdon_batch_oldest_seconds", "Age of the oldest open batch, by state."),
    )


def _transactions(session: Session) -> list[Metric]:
    age = func.extract("epoch", func.now() - func.min(OutgoingTransaction.created_at))
    rows = session.execute(
        select(OutgoingTransaction.state, func.count(), age)
        .where(OutgoingTransaction.state.in_([state.value for state in OPEN]))
        .group_by(OutgoingTransaction.state)
    )
    return _by_state(
        [state.value for state in OPEN],
        {state: (count, oldest) for state, count, oldest in rows},
        ("guerdon_outgoing_transactions", "Outgoing transactions that can still change, by state."),
        (
            "guerdon_outgoing_transaction_oldest_seconds",
            "Age of the oldest outgoing transaction that can still change, by state.",
        ),
    )


def _by_state(
    states: list[str],
    rows: dict[str, tuple[int, object]],
    counted: tuple[str, str],
    aged: tuple[str, str],
) -> list[Metric]:
    counts = GaugeMetricFamily(*counted, labels=["state"])
    ages = GaugeMetricFamily(*aged, labels=["state"])
    for state in states:
        count, oldest = rows.get(state, (0, 0))
        counts.add_metric([state], count)
        ages.add_metric([state], int(str(oldest).partition(".")[0]))
    return [counts, ages]


def _programs(session: Session) -> list[Metric]:
    halted = GaugeMetricFamily(
        "guerdon_program_halted", "Whether the program is halted.", labels=["program"]
    )
    indexed = GaugeMetricFamily(
        "guerdon_last_indexed_block", "The ledger holds the chain up to here.", labels=["program"]
    )
    left = GaugeMetricFamily(
        "guerdon_daily_limit_left_ratio",
        "What is left of the program's daily limit, by the final chain; 1 is all of it.",
        labels=["program"],
    )
    above = GaugeMetricFamily(
        "guerdon_above_daily_limit",
        "Interactions that alone are above the program's daily limit.",
        labels=["program"],
    )
    now = int(db_now(session).timestamp())
    for program in session.scalars(select(Program).where(Program.daily_limit > 0)):
        left.add_metric([program.name], program.limit.left(now) / program.daily_limit)
        found = interactions.above_daily_limit(session, program)
        above.add_metric([program.name], found.interactions)
    for name, reason, block in session.execute(
        select(Program.name, Program.halted, Program.last_indexed_block)
    ):
        halted.add_metric([name], int(reason is not None))
        indexed.add_metric([name], block)
    return [halted, indexed, left, above]
