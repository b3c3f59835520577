"""Programs keep what their token says of itself.

A migration has no node to ask: a worker asks at its start for the programs that have nothing yet.

Revision: 0011, after 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("program", sa.Column("token_symbol", sa.String(64), nullable=True))
    op.add_column("program", sa.Column("token_decimals", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("program", "token_decimals")
    op.drop_column("program", "token_symbol")
