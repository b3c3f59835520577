"""The hash chain holds, each transaction is queued or sealed, and every batch names a block.

The last rule shows whether blocks were removed at the end: attestors signed the head into a batch.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.invariant.checkpoint import Checked
from backend.ledger import blocks
from backend.program.models import Program

_PLACES = text("""
    SELECT movement.id FROM ledger_transaction AS movement
    LEFT JOIN ledger_unsealed AS queued ON queued.transaction_id = movement.id
      AND queued.program_id = movement.program_id
    LEFT JOIN ledger_block_transaction AS sealed ON sealed.transaction_id = movement.id
    LEFT JOIN ledger_block AS block ON block.id = sealed.block_id
      AND block.program_id = movement.program_id
    WHERE movement.program_id = :program_id AND movement.id > :transaction_id
      AND num_nonnulls(queued.transaction_id, block.id) <> 1
    ORDER BY movement.id
""")

_HEADS = text("""
    SELECT batch.bucket, batch.sequence FROM batch
    LEFT JOIN ledger_block AS block ON block.program_id = batch.program_id
      AND block.hash = batch.ledger_head
    WHERE batch.program_id = :program_id AND block.id IS NULL
    ORDER BY batch.bucket, batch.sequence
""")


def check(session: Session, program: Program, checked: Checked) -> list[str]:
    """All rules of this file."""
    key = {"program_id": program.id, "transaction_id": checked.transaction_id}
    findings = [
        f"batch {row.sequence} of bucket {row.bucket} names a ledger head that no block has"
        for row in session.execute(_HEADS, key)
    ]
    findings += [
        f"transaction {row.id} is not in exactly one of the queue and a block"
        for row in session.execute(_PLACES, key)
    ]
    try:
        blocks.verify(session, program.id, checked.block_height)
    except AssertionError as error:
        findings.append(str(error))
    return findings
