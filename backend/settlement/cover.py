"""Check that the reserve covers a batch.

After the owner withdraws promised funds it may not, until the program is funded again.
"""

from backend.batch.models import Batch
from backend.context import Context
from backend.errors import NotYet
from backend.ledger import service as ledger
from backend.program.models import Program


def require_covered(context: Context, program: Program, batch: Batch) -> None:
    """Raises NotYet if the reserve does not cover the batch.

    The chain is read only while the ledger has a deficit. Without one every reward is covered.
    """
    with context.database.transaction() as session:
        if ledger.available_budget(session, program.id) >= 0:
            return
    totals = context.distributor(program).totals("latest")
    lacking = totals.committed + batch.total - totals.claimed - totals.reserve
    if lacking > 0:
        raise NotYet(
            f"reserve is short by {lacking} base units because promised funds were withdrawn; "
            "fund the program"
        )
