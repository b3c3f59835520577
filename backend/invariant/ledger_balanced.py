"""Every transaction sums to zero in one program, and every balance is the sum of its entries."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.invariant.checkpoint import Checked
from backend.program.models import Program

_TRANSACTIONS = text("""
    SELECT movement.id, movement.kind, movement.reference FROM ledger_transaction AS movement
    LEFT JOIN ledger_entry AS entry ON entry.transaction_id = movement.id
    LEFT JOIN ledger_account AS account ON account.id = entry.account_id
    WHERE movement.program_id = :program_id AND movement.id > :transaction_id
    GROUP BY movement.id
    HAVING count(entry.id) < 2 OR sum(entry.amount) <> 0
      OR bool_or(account.program_id <> movement.program_id)
    ORDER BY movement.id
""")

_BALANCES = text("""
    SELECT account.kind, account.holder, account.balance, coalesce(sum(entry.amount), 0) AS entries
      FROM ledger_account AS account
    LEFT JOIN ledger_entry AS entry ON entry.account_id = account.id
    WHERE account.program_id = :program_id
    GROUP BY account.id HAVING account.balance <> coalesce(sum(entry.amount), 0)
    ORDER BY account.id
""")


def check(session: Session, program: Program, checked: Checked) -> list[str]:
    """Both rules of this file. Balances are checked against all their entries."""
    key = {"program_id": program.id, "transaction_id": checked.transaction_id}
    findings = [
        f"transaction {row.id} ({row.kind} {row.reference}) does not sum to zero within the program"
        for row in session.execute(_TRANSACTIONS, key)
    ]
    return findings + [
        f"the balance of {kind} {holder}".rstrip()
        + f" is {int(balance)}, its entries sum to {int(entries)}"
        for kind, holder, balance, entries in session.execute(_BALANCES, key)
    ]
