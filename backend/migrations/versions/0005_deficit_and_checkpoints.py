"""A withdrawal may leave the budget in deficit, a reward never; held rows by amount; how far each
program's history is checked.

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NO_OVERDRAFT = (
    "CASE kind WHEN 'reserve' THEN balance >= 0 WHEN 'account' THEN balance <= 0 ELSE true END"
)
_NO_OVERDRAFT_BEFORE = "CASE WHEN kind = 'reserve' THEN balance >= 0 ELSE balance <= 0 END"

# A transaction's legs are inserted after the balances have moved, so the trigger sees what the
# reward would leave.
_REQUIRE_COVER = """
    SELECT inserted.transaction_id INTO uncovered FROM inserted
    JOIN ledger_account AS account ON account.id = inserted.account_id AND account.kind = 'budget'
      AND account.balance > 0
    JOIN ledger_transaction AS movement ON movement.id = inserted.transaction_id
      AND movement.kind = 'reward' LIMIT 1;
    IF uncovered IS NOT NULL THEN
        RAISE EXCEPTION 'ledger transaction % promises more than the budget holds', uncovered
          USING ERRCODE = 'check_violation';
    END IF;
"""


def _require_balance(more: str) -> str:
    return f"""
        CREATE OR REPLACE FUNCTION require_balance() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE unbalanced bigint; uncovered bigint;
        BEGIN
            SELECT transaction_id INTO unbalanced FROM inserted GROUP BY transaction_id
              HAVING sum(amount) <> 0 OR count(*) < 2 LIMIT 1;
            IF unbalanced IS NOT NULL THEN
                RAISE EXCEPTION 'ledger transaction % does not sum to zero', unbalanced
                  USING ERRCODE = 'check_violation';
            END IF;
            {more}
            RETURN NULL;
        END $$
    """


def upgrade() -> None:
    op.drop_constraint(op.f("ck_ledger_account_no_overdraft"), "ledger_account")
    op.create_check_constraint(
        op.f("ck_ledger_account_no_overdraft"), "ledger_account", _NO_OVERDRAFT
    )
    op.execute(_require_balance(_REQUIRE_COVER))
    op.create_index(
        "ix_interaction_held_amount",
        "interaction",
        ["program_id", "held_reason", "amount"],
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_table(
        "invariant_checkpoint",
        sa.Column("program_id", sa.BigInteger(), nullable=False),
        sa.Column("interaction_id", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("block_height", sa.Integer(), nullable=False),
        sa.Column("full_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id"], ["program.id"], name=op.f("fk_invariant_checkpoint_program_id_program")
        ),
        sa.PrimaryKeyConstraint("program_id", name=op.f("pk_invariant_checkpoint")),
    )


def downgrade() -> None:
    op.drop_table("invariant_checkpoint")
    op.drop_index("ix_interaction_held_amount", "interaction")
    op.execute(_require_balance(""))
    op.drop_constraint(op.f("ck_ledger_account_no_overdraft"), "ledger_account")
    # Refused by the database while a budget is in deficit.
    op.create_check_constraint(
        op.f("ck_ledger_account_no_overdraft"), "ledger_account", _NO_OVERDRAFT_BEFORE
    )
