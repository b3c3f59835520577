"""When a batch is looked at, which attestors made posts revert, and when a halt was told.

Revision: 0012, after 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table. Batches under way are due as they were."""
    op.add_column("batch", sa.Column("waits", sa.Integer(), nullable=False, server_default="0"))
    op.alter_column("batch", "waits", server_default=None)
    for table, column in (
        ("batch", "looked_at"),
        ("batch", "proving_at"),
        ("program", "halt_told_at"),
    ):
        op.add_column(table, sa.Column(column, sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "attestor_fault",
        sa.Column("program_id", sa.BigInteger(), nullable=False),
        sa.Column("attestor", sa.String(42), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("suspected", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["program_id"], ["program.id"], name=op.f("fk_attestor_fault_program_id")
        ),
        sa.PrimaryKeyConstraint("program_id", "attestor", name=op.f("pk_attestor_fault")),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("attestor_fault")
    op.drop_column("program", "halt_told_at")
    for column in ("proving_at", "looked_at", "waits"):
        op.drop_column("batch", column)
