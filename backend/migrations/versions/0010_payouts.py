"""Reversals in the ledger; payouts as rows; the indexer's cursor under its own name.

Revision: 0010, after 0009
"""

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


def downgrade() -> None:
    """Take everything back. A database with reversals loses what they reversed."""
    op.execute("DROP TRIGGER reversed_is_final ON interaction")
    op.execute("DROP TRIGGER reversible ON ledger_entry")
    op.execute("DROP FUNCTION require_reversible")
    op.drop_index("ix_interaction_reversed", "interaction")
    op.drop_column("ledger_entry", "reverses_id")
    op.alter_column("program", "last_indexed_block", new_column_name="booked_block")
    op.alter_column("program", "last_indexed_block_hash", new_column_name="booked_block_hash")
