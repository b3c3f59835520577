"""For every account: claimed <= posted <= earned.

`posted` is the sum of the final batches, `claimed` the sum of the claims, and earned is what the
ledger says.
"""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.invariant.checkpoint import Checked
from backend.program.models import Program

_ACCOUNTS = text("""
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


class _Amounts(NamedTuple):
    """An account's columns `posted` and `claimed`, and the sums of the rows behind them."""

    posted: int
    claimed: int
    final: int
    paid: int
    owed: int

    @property
    def earned(self) -> int:
        return self.owed + self.paid


def check(session: Session, program: Program, checked: Checked) -> list[str]:
    """The rule, and that each of its terms equals the rows that it sums."""
    findings = []
    for address, *columns in session.execute(_ACCOUNTS, {"program_id": program.id}):
        # int: arithmetic of Decimal rounds to 28 digits.
        row = _Amounts(*map(int, columns))
        if not row.claimed <= row.posted <= row.earned:
            findings.append(
                f"{address}: claimed {row.claimed}, posted {row.posted} and earned {row.earned} "
                "are out of order"
            )
        if row.posted != row.final:
            findings.append(
                f"{address}: posted is {row.posted}, its final batches add up to {row.final}"
            )
        if row.claimed != row.paid:
            findings.append(f"{address}: claimed is {row.claimed}, its claims add up to {row.paid}")
    return findings
