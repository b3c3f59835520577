"""Alembic's entry point: uses the connection that `backend.migrations.upgrade` hands over, or
DATABASE_URL under the alembic command."""

from alembic import context

from backend.config import settings
from backend.kit.db import Base, Database
from backend.models import TABLES

assert TABLES  # importing it registers every table
connection = context.config.attributes.get("connection")
if connection is None:
    connection = Database(settings().database_url).engine.connect()
context.configure(connection=connection, target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
