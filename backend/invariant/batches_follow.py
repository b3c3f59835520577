"""Active batches of a bucket follow each other; inactive batches hold no interactions.

The active batches have sequences 1, 2, 3, ... Each builds on its predecessor's root and equals the
sum of its interactions. Final batches come first. Quarantined and superseded batches are inactive.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.invariant.checkpoint import Checked
from backend.program.models import Program

_ORDER = text("""
    SELECT bucket, sequence FROM (
        SELECT bucket, sequence, old_root, state,
               row_number() OVER earlier AS place, lag(new_root) OVER earlier AS previous_root,
                 lag(state) OVER earlier AS previous_state
        FROM batch WHERE program_id = :program_id AND state NOT IN ('quarantined', 'superseded')
        WINDOW earlier AS (PARTITION BY bucket ORDER BY sequence)
    ) AS numbered
    WHERE sequence <> place OR old_root <> previous_root OR (state = 'final'
      AND previous_state <> 'final')
    ORDER BY bucket, sequence
""")

_CONTENT = text("""
    SELECT batch.bucket, batch.sequence FROM batch
    JOIN LATERAL (
        SELECT count(*) AS items, sum(amount) AS total, min(item_index) AS first,
          max(item_index) AS last
        FROM interaction WHERE batch_id = batch.id AND program_id = batch.program_id
    ) AS content ON true
    JOIN LATERAL (SELECT count(*) AS slots, sum(delta) AS total FROM batch_account
      WHERE batch_id = batch.id) AS touched ON true
    WHERE batch.program_id = :program_id AND state NOT IN ('quarantined', 'superseded')
      AND (batch.id > :batch_id OR state <> 'final') AND NOT (
        batch.items = content.items AND batch.total = content.total AND content.first = 0
          AND content.last = content.items - 1
        AND batch.accounts_touched = touched.slots AND batch.total = touched.total
    )
    ORDER BY batch.bucket, batch.sequence
""")

_SLOTS = text("""
    SELECT touched.bucket, touched.slot, touched.sequence FROM batch_account AS touched
    JOIN batch ON batch.id = touched.batch_id
    LEFT JOIN LATERAL (
        SELECT earlier.address, earlier.cumulative FROM batch_account AS earlier
          JOIN batch AS active ON active.id = earlier.batch_id
        WHERE earlier.program_id = touched.program_id AND earlier.bucket = touched.bucket
          AND earlier.slot = touched.slot
          AND earlier.sequence < touched.sequence
            AND active.state NOT IN ('quarantined', 'superseded')
        ORDER BY earlier.sequence DESC LIMIT 1
    ) AS previous ON true
    WHERE batch.program_id = :program_id AND batch.state NOT IN ('quarantined', 'superseded')
      AND (batch.id > :batch_id OR batch.state <> 'final') AND (
        touched.cumulative <> coalesce(previous.cumulative, 0) + touched.delta
        OR touched.address <> previous.address OR touched.delta <= 0
    )
    ORDER BY touched.bucket, touched.slot, touched.sequence
""")

_GONE = text("""
    SELECT DISTINCT batch.id, batch.state FROM batch JOIN interaction ON batch_id = batch.id
    WHERE batch.program_id = :program_id AND batch.state IN ('quarantined', 'superseded')
      ORDER BY batch.id
""")


def check(session: Session, program: Program, checked: Checked) -> list[str]:
    """All rules of this file; of batches that were final when checked, their order alone."""
    key = {"program_id": program.id, "batch_id": checked.batch_id}
    findings = [
        f"batch {row.sequence} of bucket {row.bucket} does not follow the one before"
        for row in session.execute(_ORDER, key)
    ]
    findings += [
        f"batch {row.sequence} of bucket {row.bucket} is not the sum of its interactions and "
        "of its slots"
        for row in session.execute(_CONTENT, key)
    ]
    findings += [
        f"batch number {row.id} is {row.state} and holds interactions"
        for row in session.execute(_GONE, key)
    ]
    return findings + [
        f"slot {row.slot} of bucket {row.bucket} does not follow from its history at batch "
        f"{row.sequence}"
        for row in session.execute(_SLOTS, key)
    ]
