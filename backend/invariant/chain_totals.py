"""What the chain has committed, paid and holds is what the database has booked up to the same
block."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.chain.distributor import Totals
from backend.program.models import Program

_BOOKED = text("""
    SELECT coalesce((SELECT sum(total) FROM batch WHERE program_id = :program_id
      AND state = 'final'), 0) AS committed,
           coalesce((SELECT sum(amount) FROM claim WHERE program_id = :program_id), 0) AS claimed,
           coalesce((SELECT balance FROM ledger_account WHERE program_id = :program_id
             AND kind = 'reserve'), 0) AS reserve
""")


def check(session: Session, program: Program, totals: Totals) -> list[str]:
    """`totals`: the chain's at the program's booked block. committed is the sum of the final
    batches, claimed of the claims."""
    booked = session.execute(_BOOKED, {"program_id": program.id}).one()
    return [
        f"{name} is {getattr(totals, name)} on chain and {getattr(booked, name)} in the "
        f"database at block {program.last_indexed_block}"
        for name in ("committed", "claimed", "reserve")
        if getattr(totals, name) != getattr(booked, name)
    ]
