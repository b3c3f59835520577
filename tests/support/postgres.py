"""A real PostgreSQL for tests: one embedded server a test process, one fresh empty database a use.

    with postgres() as url:
        database = Database(url)
        Base.metadata.create_all(database.engine)

The fixture `database_url` is the same. The URL is a plain `postgresql://` one over a Unix socket,
so that other processes of a test can use it as well. The server stops, and its files go, when the
test process ends, however it ends.
"""

import atexit
import functools
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backend.devstack.postgres import start

# The server outlives every process that a test kills, so its own durability is not under test, and
# this makes it several times faster.
_FAST = ("fsync", "synchronous_commit", "full_page_writes")


@functools.cache
def _server_url() -> str:
    """Start the server on first use (about two seconds)."""
    url, stop = start()
    atexit.register(stop)
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in _FAST:
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a fresh, empty database (some 60 ms), dropped at the end with any connection that
    still holds it."""
    server = _server_url()
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield f"postgresql://postgres@/{name}?host={conninfo_to_dict(server)['host']}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
