"""The database itself keeps the ledger append-only and balanced.

Revision: 0002, after 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

APPEND_ONLY = (
    "ledger_transaction",
    "ledger_entry",
    "ledger_block",
    "ledger_block_transaction",
    "delivery",
    "claim",
    "batch_account",
)


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
              USING ERRCODE = 'restrict_violation';
        END $$
    """)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    # All legs of a transaction are inserted by one statement, so each statement must balance by
    # itself.
    op.execute("""
        CREATE FUNCTION require_balance() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE unbalanced bigint;
        BEGIN
            SELECT transaction_id INTO unbalanced FROM inserted GROUP BY transaction_id
              HAVING sum(amount) <> 0 OR count(*) < 2 LIMIT 1;
            IF unbalanced IS NOT NULL THEN
                RAISE EXCEPTION 'ledger transaction % does not sum to zero', unbalanced
                  USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER balanced AFTER INSERT ON ledger_entry REFERENCING NEW TABLE AS inserted
        FOR EACH STATEMENT EXECUTE FUNCTION require_balance()
    """)


def downgrade() -> None:
    op.execute("DROP TRIGGER balanced ON ledger_entry")
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER append_only ON {table}")
    op.execute("DROP FUNCTION require_balance")
    op.execute("DROP FUNCTION refuse_change")
