"""The budget covered every reward when it was booked.

Only a withdrawal may leave the budget in deficit.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.invariant.checkpoint import Checked
from backend.program.models import Program

# Entries of the budget are written one after another under its row's lock, so their ids are their
# order.
_UNCOVERED = text("""
    SELECT id, reference, balance FROM (
        SELECT movement.id, movement.kind, movement.reference,
          sum(entry.amount) OVER (ORDER BY entry.id) AS balance
        FROM ledger_entry AS entry JOIN ledger_transaction AS movement
          ON movement.id = entry.transaction_id
        WHERE entry.account_id = (SELECT id FROM ledger_account WHERE program_id = :program_id
          AND kind = 'budget')
    ) AS history
    WHERE kind = 'reward' AND balance > 0
    ORDER BY id
""")


def check(session: Session, program: Program, checked: Checked) -> list[str]:
    """The rule of this file."""
    return [
        f"transaction {id_} ({reference}) promised {int(lacking)} more than the budget held"
        for id_, reference, lacking in session.execute(_UNCOVERED, {"program_id": program.id})
    ]
