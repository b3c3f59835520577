"""Posts that carry several batches, and how many batches share a transaction's gas.

Revision: 0013, after 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# A post's purpose named its batch and the digest, and behind them the post's number if not the
# first.
_POSTS = """
    INSERT INTO batch_post (outgoing_id, batch_id, digest)
    SELECT sent.id, named.id, named.digest
    FROM (
        SELECT batch.id, batch.digest, 'post ' || chain_id || ' ' || distributor || ' ' || bucket
          || ' ' || sequence || ' ' || encode(batch.digest, 'hex') AS purpose
        FROM batch JOIN program ON program.id = batch.program_id
        WHERE batch.digest IS NOT NULL AND batch.state NOT IN ('quarantined', 'superseded')
    ) AS named
    JOIN outgoing_transaction AS sent
      ON substring(sent.purpose from '^post(?: [^ ]+){5}') = named.purpose
"""


def upgrade() -> None:
    """Add the table and the columns. Posts of batches that are under way keep their memory."""
    op.create_table(
        "batch_post",
        sa.Column("outgoing_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["outgoing_id"],
            ["outgoing_transaction.id"],
            name=op.f("fk_batch_post_outgoing_id_outgoing_transaction"),
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batch.id"], name=op.f("fk_batch_post_batch_id_batch")
        ),
        sa.PrimaryKeyConstraint("outgoing_id", "batch_id", name=op.f("pk_batch_post")),
    )
    op.create_index(op.f("ix_batch_post_batch_id"), "batch_post", ["batch_id"])
    op.execute(_POSTS)
    op.add_column("batch", sa.Column("proven_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batch", sa.Column("batches_in_tx", sa.Integer(), nullable=True))
    op.execute("""
        UPDATE batch SET batches_in_tx = carried.batches FROM (
            SELECT program_id, tx_hash, count(*) AS batches FROM batch
            WHERE tx_hash IS NOT NULL GROUP BY program_id, tx_hash
        ) AS carried
        WHERE (batch.program_id, batch.tx_hash) = (carried.program_id, carried.tx_hash)
    """)


def downgrade() -> None:
    """Take them away. What a transaction of several batches is for is then unknown."""
    op.drop_column("batch", "batches_in_tx")
    op.drop_column("batch", "proven_at")
    op.drop_table("batch_post")
