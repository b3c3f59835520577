"""Every booked interaction has exactly one entry, of its amount and on its account.

Booked are accepted, unprovable and reversed interactions. A reversed one has the exact opposite
entry as well. A held one has no entry.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.invariant.checkpoint import Checked
from backend.program.models import Program

_NEW = "interaction.id > :interaction_id"
# An interaction that was held when its id was read has its entry in a later transaction.
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

# An entry has at most one interaction and at most one reversal: both columns are unique.
_REVERSED = text("""
    SELECT interaction.id FROM interaction
    LEFT JOIN ledger_entry AS entry ON entry.interaction_id = interaction.id
    LEFT JOIN ledger_account AS account ON account.id = entry.account_id
    LEFT JOIN ledger_entry AS opposite ON opposite.reverses_id = entry.id
    LEFT JOIN ledger_transaction AS movement ON movement.id = opposite.transaction_id
    WHERE interaction.program_id = :program_id AND interaction.state = 'reversed'
      AND NOT coalesce(
        entry.amount = -interaction.amount AND account.kind = 'account'
          AND account.holder = interaction.account AND account.program_id = interaction.program_id
          AND opposite.amount = -entry.amount AND opposite.account_id = entry.account_id
          AND movement.kind = 'reversal' AND movement.program_id = interaction.program_id,
        false)
    ORDER BY interaction.id
""")

_HELD = text("""
    SELECT interaction.id FROM interaction JOIN ledger_entry AS entry
      ON entry.interaction_id = interaction.id
    WHERE interaction.program_id = :program_id AND interaction.state = 'held'
      ORDER BY interaction.id
""")

_CREDITS = text("""
    SELECT entry.id FROM ledger_entry AS entry JOIN ledger_transaction AS movement
      ON movement.id = entry.transaction_id
    JOIN ledger_account AS account ON account.id = entry.account_id
    WHERE movement.program_id = :program_id AND movement.id > :transaction_id
      AND (movement.kind = 'reward'
        AND account.kind = 'account') <> (entry.interaction_id IS NOT NULL)
    ORDER BY entry.id
""")

_REVERSALS = text("""
    SELECT entry.id FROM ledger_entry AS entry JOIN ledger_transaction AS movement
      ON movement.id = entry.transaction_id
    JOIN ledger_account AS account ON account.id = entry.account_id
    LEFT JOIN ledger_entry AS reversed ON reversed.id = entry.reverses_id
    LEFT JOIN interaction ON interaction.id = reversed.interaction_id
    WHERE movement.program_id = :program_id AND movement.id > :transaction_id
      AND CASE WHEN movement.kind = 'reversal' AND account.kind = 'account'
        THEN interaction.state IS DISTINCT FROM 'reversed' ELSE entry.reverses_id IS NOT NULL END
    ORDER BY entry.id
""")


def check(session: Session, program: Program, checked: Checked) -> list[str]:
    """All rules of this file, and that nothing else credits an account or reverses an entry."""
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
    findings += [
        f"reversed interaction {row.id} does not have its entry and the opposite one"
        for row in session.execute(_REVERSED, key)
    ]
    findings += [f"held interaction {row.id} has an entry" for row in session.execute(_HELD, key)]
    findings += [
        f"entry {row.id} credits an account without an interaction"
        for row in session.execute(_CREDITS, key)
    ]
    return findings + [
        f"entry {row.id} reverses no entry of a reversed interaction"
        for row in session.execute(_REVERSALS, key)
    ]
