"""Reversals in the ledger; payouts as rows; the indexer's cursor under its own name.

Revision: 0010, after 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the cursor's columns."""
    op.alter_column("program", "booked_block", new_column_name="last_indexed_block")
    op.alter_column("program", "booked_block_hash", new_column_name="last_indexed_block_hash")


def downgrade() -> None:
    """Rename them back."""
    op.alter_column("program", "last_indexed_block", new_column_name="booked_block")
    op.alter_column("program", "last_indexed_block_hash", new_column_name="booked_block_hash")
