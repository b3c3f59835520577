"""Batches that cannot be proven are set aside: the place of one that never lands is free again.

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PLACE = ["program_id", "bucket", "sequence"]


def upgrade() -> None:
    op.add_column(
        "batch", sa.Column("prove_attempts", sa.Integer(), nullable=False, server_default="0")
    )
    op.alter_column("batch", "prove_attempts", server_default=None)
    op.add_column("batch", sa.Column("landable_until", sa.BigInteger(), nullable=True))
    op.add_column("batch", sa.Column("isolation", sa.BigInteger(), nullable=True))
    op.add_column("batch", sa.Column("reason", sa.String(), nullable=True))
    op.add_column("interaction", sa.Column("isolation", sa.BigInteger(), nullable=True))
    op.execute("UPDATE batch SET landable_until = valid_until WHERE proof IS NOT NULL")
    op.drop_constraint("uq_batch_program_id_bucket_sequence", "batch")
    op.create_index(
        "uq_batch_standing",
        "batch",
        _PLACE,
        unique=True,
        postgresql_where=sa.text("state NOT IN ('set_aside', 'withdrawn')"),
    )
    op.drop_index("ix_batch_open", "batch")
    op.create_index(
        "ix_batch_open",
        "batch",
        _PLACE,
        postgresql_where=sa.text("state NOT IN ('final', 'set_aside', 'withdrawn')"),
    )


def downgrade() -> None:
    op.drop_index("ix_batch_open", "batch")
    op.create_index("ix_batch_open", "batch", _PLACE, postgresql_where=sa.text("state <> 'final'"))
    # Refused by the database if a batch was set aside and its place taken again.
    op.create_unique_constraint("uq_batch_program_id_bucket_sequence", "batch", _PLACE)
    op.drop_index("uq_batch_standing", "batch")
    op.drop_column("interaction", "isolation")
    for column in ("reason", "isolation", "landable_until", "prove_attempts"):
        op.drop_column("batch", column)
