"""How many account families a program had at first: accounts stay where they are when the number is
raised.

Revision: 0015, after 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("program", sa.Column("families_first", sa.Integer(), nullable=True))
    op.execute("UPDATE program SET families_first = families")
    op.alter_column("program", "families_first", nullable=False)


def downgrade() -> None:
    op.drop_column("program", "families_first")
