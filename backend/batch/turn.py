"""Whose turn it is: what must be final before attestors can sign a batch."""

from sqlalchemy.orm import Session

from backend.account import repository as accounts
from backend.batch import repository
from backend.batch.models import Batch
from backend.program.models import Program
from prover.circuit import load_instance
from prover.wire import count_openings


def comes_before(session: Session, program: Program, batch: Batch) -> str | None:
    """What must be final before any attestor signs the batch; None if all is."""
    if not repository.is_head(session, batch):
        return "the bucket's batch before it is not final"
    # Buckets fill in order: if the next lower one of the family is full, all are.
    lower, slots = batch.bucket - program.families, load_instance(program.instance).slots
    opens = lower >= 0 and count_openings(batch.deltas) > 0
    if opens and accounts.landed_in(session, program.id, lower) < slots:
        return f"it opens accounts once bucket {lower} is full on the final chain"
    return None
