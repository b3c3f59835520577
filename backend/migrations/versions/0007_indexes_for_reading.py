"""A program's batches by id; what an account has open, without all that it was ever paid.

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ACCOUNT = ["program_id", "account"]


def upgrade() -> None:
    op.create_index("ix_batch_listed", "batch", ["program_id", "id"])
    op.create_index(
        "ix_interaction_account_open",
        "interaction",
        _ACCOUNT,
        postgresql_where=sa.text("batch_id IS NULL"),
    )
    op.drop_index("ix_interaction_account", "interaction")


def downgrade() -> None:
    op.create_index("ix_interaction_account", "interaction", _ACCOUNT)
    op.drop_index("ix_interaction_account_open", "interaction")
    op.drop_index("ix_batch_listed", "batch")
