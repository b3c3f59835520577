"""How many rows a query reads, whatever it returns: what tells a look-up from a scan, without a
clock."""

from sqlalchemy import text
from sqlalchemy.orm import Session

_ROWS_READ = text("""
    SELECT seq_tup_read + idx_tup_fetch + (SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid))
      FROM pg_index WHERE indrelid = relid)
    FROM pg_stat_xact_user_tables WHERE relname = :table
""")


def rows_read(session: Session, table: str) -> int:
    """Rows and index entries of a table read so far; the difference between two calls in one
    transaction counts what came between."""
    return int(session.scalar(_ROWS_READ, {"table": table}))
