"""Every accepted interaction, unprovable ones included, has exactly one entry, of its amount and on
its account; a held one has none."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.invariant.checkpoint import Checked
from backend.program.models import Program

_NEW = "interaction.id > :interaction_id"
# What was held when its id was read has its entry in a transaction that came later.
_RELEASED = """interaction.id <= :interaction_id AND interaction.id IN (
    SELECT entry.interaction_id FROM ledger_transaction AS movement JOIN ledger_entry AS entry
      ON entry.transaction_id = movement.id
    WHERE movement.program_id = :program_id AND movement.id > :transaction_id
)"""
_ACCEPTED = """
    SELECT interaction.id, interaction.state, count(entry.id) AS entries FROM interaction
    LEFT JOIN ledger_entry AS entry ON entry.interaction_id = interaction.id
    LEFT JOIN ledger_account AS account ON account.id = entry.account_id
    WHERE interaction.program_id = :program_id AND interaction.state IN ('accepted', 'unprovable')
      AND {which}
    GROUP BY interaction.id
    HAVING count(entry.id) <> 1 OR NOT bool_and(
        entry.amount = -interaction.amount AND account.kind = 'account'
          AND account.holder = interaction.account
        AND account.program_id = interaction.program_id
    )
    ORDER BY interaction.id
"""

_HELD = text("""
    SELECT interaction.id FROM interaction JOIN ledger_entry AS entry
      ON entry.interaction_id = interaction.id
    WHERE interaction.program_id = :program_id AND interaction.state = 'held'
      ORDER BY interaction.id
""")

_STRAY = text("""
    SELECT entry.id FROM ledger_entry AS entry JOIN ledger_transaction AS movement
      ON movement.id = entry.transaction_id
    JOIN ledger_account AS account ON account.id = entry.account_id
    WHERE movement.program_id = :program_id AND movement.id > :transaction_id
      AND (movement.kind = 'reward'
        AND account.kind = 'account') <> (entry.interaction_id IS NOT NULL)
    ORDER BY entry.id
""")


def check(session: Session, program: Program, checked: Checked) -> list[str]:
    """Both rules of this file, and that no account is credited without an interaction."""
    key = {
        "program_id": program.id,
        "interaction_id": checked.interaction_id,
        "transaction_id": checked.transaction_id,
    }
    findings = [
        f"{row.state} interaction {row.id} has {row.entries} entries, or one that is not its own"
        for which in ((_NEW, _RELEASED) if checked.interaction_id else (_NEW,))
        for row in session.execute(text(_ACCEPTED.format(which=which)), key)
    ]
    findings += [f"held interaction {row.id} has an entry" for row in session.execute(_HELD, key)]
    return findings + [
        f"entry {row.id} credits an account without an interaction"
        for row in session.execute(_STRAY, key)
    ]
