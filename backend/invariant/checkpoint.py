"""How far earlier runs have read, and when a run reads everything again."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.invariant.models import InvariantCheckpoint
from backend.kit.db import db_now
from backend.ledger import repository as ledger

SETTLED_SECONDS = 3600
"""A row gets its id before its transaction commits. Rows that are younger than the longest
transaction are therefore read again."""

_OLDER = "coalesce((SELECT id FROM {0} WHERE created_at < :before ORDER BY id DESC LIMIT 1), 0)"
_MARKS = text(
    "SELECT "
    f"{', '.join(_OLDER.format(table) for table in ('interaction', 'ledger_transaction', 'batch'))}"
)


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything up to these ids, and up to this block of the ledger, held when it was read."""

    interaction_id: int = 0
    transaction_id: int = 0
    batch_id: int = 0
    block_height: int = 0


NOTHING = Checked()


def load(session: Session, program_id: int, full_seconds: float) -> Checked:
    """Where the next run begins: at the beginning if the last full run is `full_seconds` old."""
    row = session.get(InvariantCheckpoint, program_id)
    if row is None or db_now(session) - row.full_at >= timedelta(seconds=full_seconds):
        return NOTHING
    return Checked(row.interaction_id, row.transaction_id, row.batch_id, row.block_height)


def reached(session: Session, program_id: int) -> Checked:
    """How far a run comes that reads what this session sees."""
    before = db_now(session) - timedelta(seconds=SETTLED_SECONDS)
    interaction_id, transaction_id, batch_id = session.execute(_MARKS, {"before": before}).one()
    head = ledger.head(session, program_id)
    return Checked(interaction_id, transaction_id, batch_id, head.height if head else 0)


def store(session: Session, program_id: int, begun: Checked, now: Checked) -> None:
    """A run that began at `begun` has found no violation up to `now`."""
    row = session.get(InvariantCheckpoint, program_id)
    full_at = db_now(session) if row is None or begun == NOTHING else row.full_at
    session.merge(
        InvariantCheckpoint(
            program_id=program_id,
            interaction_id=now.interaction_id,
            transaction_id=now.transaction_id,
            batch_id=now.batch_id,
            block_height=now.block_height,
            full_at=full_at,
        )
    )
