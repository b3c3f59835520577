"""Reversals in the ledger; payouts as rows; the indexer's cursor under its own name.

Revision: 0010, after 0009
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the cursor, admit reversals, make the tables of payouts."""
    op.alter_column("program", "booked_block", new_column_name="last_indexed_block")
    op.alter_column("program", "booked_block_hash", new_column_name="last_indexed_block_hash")
    _admit_reversals()
    _make_payouts()


def _admit_reversals() -> None:
    op.add_column("ledger_entry", sa.Column("reverses_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_ledger_entry_reverses_id_ledger_entry"),
        "ledger_entry",
        "ledger_entry",
        ["reverses_id"],
        ["id"],
    )
    op.create_unique_constraint(
        op.f("uq_ledger_entry_reverses_id"), "ledger_entry", ["reverses_id"]
    )
    op.create_index(
        "ix_interaction_reversed",
        "interaction",
        ["program_id", "id"],
        postgresql_where=sa.text("state = 'reversed'"),
    )
    # The first question is two look-ups, whatever else is booked: most statements end there. The
    # second joins by primary keys, for the few legs of a reversal.
    op.execute("""
        CREATE FUNCTION require_reversible() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE wrong bigint;
        BEGIN
            IF NOT EXISTS (SELECT FROM inserted WHERE reverses_id IS NOT NULL)
              AND NOT EXISTS (SELECT FROM ledger_transaction WHERE kind = 'reversal'
                AND id = ANY (ARRAY(SELECT DISTINCT transaction_id FROM inserted)))
            THEN
                RETURN NULL;
            END IF;
            SELECT inserted.transaction_id INTO wrong FROM inserted
            JOIN ledger_transaction AS movement ON movement.id = inserted.transaction_id
            JOIN ledger_account AS account ON account.id = inserted.account_id
            LEFT JOIN ledger_entry AS reversed ON reversed.id = inserted.reverses_id
            LEFT JOIN ledger_transaction AS earlier ON earlier.id = reversed.transaction_id
            LEFT JOIN interaction ON interaction.id = reversed.interaction_id
            WHERE NOT coalesce(CASE
                WHEN movement.kind = 'reversal' AND account.kind = 'account' THEN
                  earlier.kind = 'reward' AND earlier.program_id = movement.program_id
                  AND reversed.account_id = inserted.account_id
                  AND reversed.amount = -inserted.amount
                  AND interaction.state = 'reversed' AND interaction.batch_id IS NULL
                WHEN movement.kind = 'reversal' THEN
                  account.kind = 'budget' AND inserted.reverses_id IS NULL
                ELSE inserted.reverses_id IS NULL END, false)
            LIMIT 1;
            IF wrong IS NOT NULL THEN
                RAISE EXCEPTION 'ledger transaction % reverses what it may not', wrong
                  USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER reversible AFTER INSERT ON ledger_entry REFERENCING NEW TABLE AS inserted
        FOR EACH STATEMENT EXECUTE FUNCTION require_reversible()
    """)
    op.execute("""
        CREATE TRIGGER reversed_is_final BEFORE UPDATE OR DELETE ON interaction FOR EACH ROW
        WHEN (OLD.state = 'reversed') EXECUTE FUNCTION refuse_change()
    """)


def _make_payouts() -> None:
    op.create_table(
        "payout",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("program_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("cumulative", sa.Numeric(78, 0), nullable=False),
        sa.Column("amount", sa.Numeric(78, 0), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("note", sa.String(), nullable=True),
        *_times(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout")),
        sa.ForeignKeyConstraint(
            ["program_id"], ["program.id"], name=op.f("fk_payout_program_id_program")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_payout_account_id_account")
        ),
        sa.UniqueConstraint(
            "account_id", "cumulative", name=op.f("uq_payout_account_id_cumulative")
        ),
        sa.CheckConstraint(
            "state IN ('open', 'paid', 'paid_elsewhere')", name=op.f("ck_payout_state")
        ),
        sa.CheckConstraint("amount > 0 AND amount <= cumulative", name=op.f("ck_payout_amount")),
    )
    op.create_index(
        "ix_payout_open", "payout", ["program_id", "id"], postgresql_where=sa.text("state = 'open'")
    )
    op.create_table(
        "payout_attempt",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("payout_id", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("amount", sa.Numeric(78, 0), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        *_times(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_attempt")),
        sa.ForeignKeyConstraint(
            ["payout_id"], ["payout.id"], name=op.f("fk_payout_attempt_payout_id_payout")
        ),
        sa.ForeignKeyConstraint(
            ["transaction_id"],
            ["outgoing_transaction.id"],
            name=op.f("fk_payout_attempt_transaction_id_outgoing_transaction"),
        ),
        sa.UniqueConstraint(
            "payout_id", "transaction_id", name=op.f("uq_payout_attempt_payout_id_transaction_id")
        ),
        sa.CheckConstraint(
            "state IN ('open', 'paid', 'already_paid', 'skipped', 'refused')",
            name=op.f("ck_payout_attempt_state"),
        ),
        sa.CheckConstraint(
            "(state = 'paid') = (amount IS NOT NULL)", name=op.f("ck_payout_attempt_paid_amount")
        ),
    )
    op.create_index(
        "uq_payout_attempt_open",
        "payout_attempt",
        ["payout_id"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_payout_attempt_transaction", "payout_attempt", ["transaction_id"])


def _times() -> tuple[sa.Column[datetime], sa.Column[datetime]]:
    created, updated = (
        sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
        for name in ("created_at", "updated_at")
    )
    return created, updated


def downgrade() -> None:
    """Take everything back. A database with reversals loses what they reversed."""
    op.drop_table("payout_attempt")
    op.drop_table("payout")
    op.execute("DROP TRIGGER reversed_is_final ON interaction")
    op.execute("DROP TRIGGER reversible ON ledger_entry")
    op.execute("DROP FUNCTION require_reversible")
    op.drop_index("ix_interaction_reversed", "interaction")
    op.drop_column("ledger_entry", "reverses_id")
    op.alter_column("program", "last_indexed_block", new_column_name="booked_block")
    op.alter_column("program", "last_indexed_block_hash", new_column_name="booked_block_hash")
