"""claimed <= posted <= earned for every account: by final batches, by the claims booked, and by the
ledger."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.invariant.checkpoint import Checked
from backend.program.models import Program

_STANDINGS = text("""
    SELECT account.address, account.posted, account.claimed,
        coalesce((SELECT sum(delta) FROM batch_account JOIN batch ON batch.id = batch_id
          AND state = 'final'
            WHERE batch_account.program_id = account.program_id
              AND batch_account.bucket = account.bucket AND slot = account.slot), 0) AS final,
        coalesce((SELECT sum(amount) FROM claim WHERE account_id = account.id), 0) AS paid,
        coalesce((SELECT -balance FROM ledger_account AS owed
            WHERE owed.program_id = account.program_id AND kind = 'account'
              AND holder = account.address), 0) AS owed
    FROM account WHERE account.program_id = :program_id ORDER BY account.id
""")


def check(session: Session, program: Program, checked: Checked) -> list[str]:
    """The rule, and that each of its terms is what it is kept from."""
    findings = []
    for row in session.execute(_STANDINGS, {"program_id": program.id}):
        posted, claimed, final, paid, owed = map(
            int, row[1:]
        )  # Decimal would round sums to 28 digits.
        if not claimed <= posted <= owed + paid:
            findings.append(
                f"{row.address}: claimed {claimed}, posted {posted} and earned {owed + paid} "
                "are out of order"
            )
        if posted != final:
            findings.append(
                f"{row.address}: posted is {posted}, its final batches add up to {final}"
            )
        if claimed != paid:
            findings.append(f"{row.address}: claimed is {claimed}, its claims add up to {paid}")
    return findings
