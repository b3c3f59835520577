"""Alembic migrations. `upgrade` brings a database to the newest version; safe to run from several
processes at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from backend.kit.db import Database

_LOCK = 0x677565726465  # any constant: names this lock among advisory locks


def config() -> Config:
    """Alembic's configuration, without a file of its own."""
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent))
    return configuration


def upgrade(database: Database, revision: str = "head") -> None:
    """Run the migrations that are missing."""
    with database.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        try:
            configuration = config()
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, revision)
            connection.commit()
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.commit()
