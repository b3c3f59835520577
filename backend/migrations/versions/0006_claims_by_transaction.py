"""A claim is known by its transaction: after a reorg another one may stand at its block and log
index.

Revision: 0006, after 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f("uq_claim_program_id_block_number_log_index"), "claim")
    op.create_unique_constraint(
        op.f("uq_claim_program_id_tx_hash_log_index"),
        "claim",
        ["program_id", "tx_hash", "log_index"],
    )


def downgrade() -> None:
    op.drop_constraint(op.f("uq_claim_program_id_tx_hash_log_index"), "claim")
    op.create_unique_constraint(
        op.f("uq_claim_program_id_block_number_log_index"),
        "claim",
        ["program_id", "block_number", "log_index"],
    )
