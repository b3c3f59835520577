"""The daily limit of a program, and when a batch that waits for it is expected to fit.

Revision: 0014, after 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. A Distributor of the first edition has no limit."""
    for name, kind in (
        ("daily_limit", sa.Numeric(78, 0)),
        ("limit_used", sa.Numeric(78, 0)),
        ("limit_updated_at", sa.BigInteger()),
    ):
        op.add_column("program", sa.Column(name, kind, nullable=False, server_default="0"))
        op.alter_column("program", name, server_default=None)
    op.add_column("batch", sa.Column("fits_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("batch", "fits_at")
    for name in ("limit_updated_at", "limit_used", "daily_limit"):
        op.drop_column("program", name)
