"""Whether the Distributor would take a batch by what it holds: after a withdrawal of what was
promised it may not, until it is funded again."""

from backend.batch.models import Batch
from backend.context import Context
from backend.errors import NotYet
from backend.ledger import service as ledger
from backend.program.models import Program


def require_covered(context: Context, program: Program, batch: Batch) -> None:
    """Raises NotYet that says how much is lacking. The chain is asked only while the ledger knows
    of a deficit: else every reward is covered."""
    with context.database.transaction() as session:
        if ledger.available_budget(session, program.id) >= 0:
            return
    totals = context.distributor(program).totals("latest")
    lacking = totals.committed + batch.total - totals.claimed - totals.reserve
    if lacking > 0:
        raise NotYet(
            f"the reserve lacks {lacking} base units for it, for what was promised has been "
            "withdrawn: fund the program"
        )
