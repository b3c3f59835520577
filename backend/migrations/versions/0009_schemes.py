"""Partners have a scheme; a delivery is a request of any scheme.

The three Standard Webhooks columns of a delivery become its headers. The path of an old delivery is
not known: its target stays empty. Evidence hashes of old deliveries use the former encoding, which
an attestor does not accept. No deployment exists. Make a development database new if it holds
anything that is not final: batches, and open, held or unprovable interactions.

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
SCHEME = "standard-webhooks"


def upgrade() -> None:
    """Give partners a scheme and make headers of the three columns."""
    op.add_column(
        "partner", sa.Column("scheme", sa.String(32), nullable=False, server_default=SCHEME)
    )
    for name, kind, value in (
        ("scheme", sa.String(32), SCHEME),
        ("method", sa.String(16), "POST"),
        ("target", sa.String(), ""),
    ):
        column = sa.Column(name, kind, nullable=False, server_default=value)
        op.add_column("delivery", column)
        op.alter_column("delivery", name, server_default=None)
    # A change of type rewrites the rows without the append-only trigger, which stays on.
    pairs = zip(HEADERS, ("message_id", '"timestamp"', "signature"), strict=True)
    arrays = ", ".join(f"ARRAY['{header}', {column}]" for header, column in pairs)
    op.execute(
        f"ALTER TABLE delivery ALTER COLUMN message_id TYPE text[] USING ARRAY[{arrays}]::text[]"
    )
    op.alter_column("delivery", "message_id", new_column_name="headers")
    op.drop_column("delivery", "timestamp")
    op.drop_column("delivery", "signature")


def downgrade() -> None:
    """Take the headers apart again."""
    for name, number in (("timestamp", 2), ("signature", 3)):
        op.add_column("delivery", sa.Column(name, sa.String(), nullable=True))
        op.execute(
            f'ALTER TABLE delivery ALTER COLUMN "{name}" TYPE varchar USING headers[{number}][2]'
        )
        op.alter_column("delivery", name, nullable=False)
    op.alter_column("delivery", "headers", new_column_name="message_id")
    op.execute("ALTER TABLE delivery ALTER COLUMN message_id TYPE varchar USING message_id[1][2]")
    for name in ("target", "method", "scheme"):
        op.drop_column("delivery", name)
    op.drop_column("partner", "scheme")
