"""Rename two batch states, and make a quarantine group two columns.

`set_aside` becomes `quarantined`, `withdrawn` becomes `superseded`. The one number `isolation` held
`2 * (quarantined batch) + half`, or minus an interaction's id once an operator had released it.

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_PLACE = ["program_id", "bucket", "sequence"]
_TABLES = ("batch", "interaction")
_GROUP = "(quarantine_batch_id IS NULL) = (quarantine_half IS NULL) AND quarantine_half IN (0, 1)"

# A released interaction was last alone in the batch that was quarantined with it. That batch no
# longer holds it, but it has one item, of the same account and amount.
_ALONE = """
    SELECT max(alone.id) FROM interaction AS released
    JOIN batch_account AS touched
      ON touched.program_id = released.program_id AND touched.address = released.account
        AND touched.delta = released.amount
    JOIN batch AS alone ON alone.id = touched.batch_id
    WHERE released.id = -{table}.isolation AND alone.state = 'quarantined' AND alone.items = 1
"""


def upgrade() -> None:
    _drop_indexes("uq_batch_standing")
    op.execute("UPDATE batch SET state = 'quarantined' WHERE state = 'set_aside'")
    op.execute("UPDATE batch SET state = 'superseded' WHERE state = 'withdrawn'")
    _create_indexes("uq_batch_active", "'quarantined', 'superseded'")
    for table in _TABLES:
        op.add_column(table, sa.Column("quarantine_batch_id", sa.BigInteger(), nullable=True))
        op.add_column(table, sa.Column("quarantine_half", sa.Integer(), nullable=True))
        op.create_foreign_key(
            op.f(f"fk_{table}_quarantine_batch_id_batch"),
            table,
            "batch",
            ["quarantine_batch_id"],
            ["id"],
        )
        op.execute(f"""
            UPDATE {table} SET quarantine_batch_id = isolation / 2, quarantine_half = isolation % 2
            WHERE isolation > 0
        """)
        earlier = "AND alone.id < batch.id" if table == "batch" else ""
        op.execute(f"""
            UPDATE {table} SET quarantine_batch_id = ({_ALONE.format(table=table)} {earlier})
            WHERE isolation < 0
        """)
        op.execute(f"""
            UPDATE {table} SET quarantine_half = 0
            WHERE isolation < 0 AND quarantine_batch_id IS NOT NULL
        """)
        op.create_check_constraint(op.f(f"ck_{table}_quarantine_group"), table, _GROUP)
        op.drop_column(table, "isolation")


def downgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("isolation", sa.BigInteger(), nullable=True))
        op.execute(f"UPDATE {table} SET isolation = 2 * quarantine_batch_id + quarantine_half")
        op.drop_column(table, "quarantine_half")
        op.drop_column(table, "quarantine_batch_id")
    _drop_indexes("uq_batch_active")
    op.execute("UPDATE batch SET state = 'set_aside' WHERE state = 'quarantined'")
    op.execute("UPDATE batch SET state = 'withdrawn' WHERE state = 'superseded'")
    _create_indexes("uq_batch_standing", "'set_aside', 'withdrawn'")


def _drop_indexes(active: str) -> None:
    op.drop_index("ix_batch_open", "batch")
    op.drop_index(active, "batch")


def _create_indexes(active: str, inactive: str) -> None:
    op.create_index(
        active, "batch", _PLACE, unique=True, postgresql_where=sa.text(f"state NOT IN ({inactive})")
    )
    op.create_index(
        "ix_batch_open",
        "batch",
        _PLACE,
        postgresql_where=sa.text(f"state NOT IN ('final', {inactive})"),
    )
