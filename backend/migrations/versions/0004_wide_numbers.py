"""Chain ids, times and ids of transactions in 64 bits: some chains have ids above 2^31, and so has
the time from 2038 on.

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = (
    ("program", "chain_id"),
    ("batch", "valid_until"),
    ("batch", "landable_until"),
    ("batch", "transaction_id"),
)


def upgrade() -> None:
    for table, column in COLUMNS:
        op.alter_column(table, column, type_=sa.BigInteger())


def downgrade() -> None:
    for table, column in COLUMNS:
        op.alter_column(table, column, type_=sa.Integer())
