"""What the chain has committed, paid and holds equals what is recorded up to the same block."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.chain.distributor import Totals
from backend.program.models import Program

_RECORDED = text("""
    SELECT coalesce((SELECT sum(total) FROM batch WHERE program_id = :program_id
      AND state = 'final'), 0) AS committed,
           coalesce((SELECT sum(amount) FROM claim WHERE program_id = :program_id), 0) AS claimed,
           coalesce((SELECT balance FROM ledger_account WHERE program_id = :program_id
             AND kind = 'reserve'), 0) AS reserve
""")


def check(session: Session, program: Program, totals: Totals) -> list[str]:
    """The rule of this file. `totals`: the chain's, at the program's last indexed block."""
    row = session.execute(_RECORDED, {"program_id": program.id}).one()
    recorded = Totals(*map(int, row))
    compared = {
        "committed": (totals.committed, recorded.committed),
        "claimed": (totals.claimed, recorded.claimed),
        "reserve": (totals.reserve, recorded.reserve),
    }
    return [
        f"{name} is {on_chain} on chain and {ours} in the database at block "
        f"{program.last_indexed_block}"
        for name, (on_chain, ours) in compared.items()
        if on_chain != ours
    ]
