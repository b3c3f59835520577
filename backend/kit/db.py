"""The database: a declarative base, an engine, and the transaction of a request or a task."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any

import psycopg
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    LargeBinary,
    MetaData,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.engine import CursorResult, Engine, Result
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column, sessionmaker

from backend.errors import Invalid
from backend.kit.amount import Amount
from backend.kit.outage import Outage

Id = Annotated[int, mapped_column(BigInteger, primary_key=True)]
Money = Annotated[int, mapped_column(Amount)]
Bytes = Annotated[bytes, mapped_column(LargeBinary)]
Time = Annotated[datetime, mapped_column(DateTime(timezone=True))]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]


class Base(DeclarativeBase):
    """Base of every table, with predictable constraint names."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def in_seconds(seconds: float) -> ColumnElement[datetime]:
    """The database's time in so many seconds.

    What the database compares with its own clock is written by its clock: those of other machines
    may be ahead or behind.
    """
    return func.now() + timedelta(seconds=seconds)


def db_now(session: Session) -> datetime:
    """The database's time at the start of the transaction."""
    return session.execute(select(func.now())).scalar_one()


def rows_changed(result: Result[Any]) -> int:
    """How many rows an INSERT, UPDATE or DELETE has changed."""
    if not isinstance(result, CursorResult):
        raise TypeError(f"result: expected one of a statement that writes, got {type(result)}")
    return result.rowcount


def sqlalchemy_url(url: str) -> str:
    """The URL with the psycopg 3 driver named, whichever common form it came in.

    Raises ValueError for another kind of database.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise ValueError("expected postgresql://")
    return "postgresql+psycopg://" + rest


# If a client's machine vanishes, the server drops the client after a minute instead of hours, and
# frees its locks.
_NOTICE_DEAD_CLIENTS = {
    "tcp_keepalives_idle": 30,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
}

BUSY = ("55P03", "57014")
"""SQLSTATEs of a statement that exceeded the connection's limit for a lock or for itself.

Statement and server are sound.
"""

AWAY: tuple[type[Exception], ...] = (
    OperationalError,
    InterfaceError,
    PendingRollbackError,
    PoolTimeout,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)
"""Kinds of errors of a database that does not answer, or has no connection left; `is_away` tells
them from errors of a statement. The driver's own are not wrapped while a connection is set up."""

_CONNECTION_STATES = ("57P01", "57P02", "57P03", "53300")


def is_away(error: BaseException) -> bool:
    """Whether the database does not answer, or has just ended the connection."""
    if not isinstance(error, AWAY):
        return False
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state is None or state.startswith("08") or state in _CONNECTION_STATES


_TRY_LOCK = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
_UNLOCK = text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))")


class Database:
    """An engine and its sessions. Domain code never commits: the caller owns the transaction."""

    def __init__(
        self, url: str, pool_size: int = 10, *, lock_ms_max: int = 0, statement_ms_max: int = 0
    ) -> None:
        """Limits for one lock and one statement; 0 is no limit. Raises Invalid for a bad URL.

        A statement that exceeds a limit raises an OperationalError with a state in BUSY.
        """
        try:
            # Parameters hold evidence and secrets: no error text repeats them.
            self.engine: Engine = create_engine(
                sqlalchemy_url(url), pool_size=pool_size, pool_pre_ping=True, hide_parameters=True
            )
        except (ArgumentError, ValueError):
            # Not shown: a URL holds a password.
            raise Invalid(
                "DATABASE_URL: expected postgresql://USER@HOST:PORT/DATABASE", "database_url"
            ) from None
        self._session_settings = _NOTICE_DEAD_CLIENTS | {
            "lock_timeout": lock_ms_max,
            "statement_timeout": statement_ms_max,
        }
        self.outage = Outage("database")
        event.listen(self.engine, "connect", self._set_up)
        event.listen(self.engine, "checkout", lambda *_: self.outage.over())
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    def _set_up(self, connection: Any, _: object) -> None:
        for name, value in self._session_settings.items():
            connection.execute(f"SET {name} = {value}")
        connection.commit()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end of the block and rolls back if it raises."""
        with self._sessions() as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A session for reading. All its queries see the database as of the first query."""
        with self._sessions() as session, session.begin():
            session.connection(
                execution_options={
                    "isolation_level": "REPEATABLE READ",
                    "postgresql_readonly": True,
                }
            )
            yield session

    @contextmanager
    def advisory_lock(self, name: str) -> Iterator[bool]:
        """Whether this process got the lock `name` for the block.

        The lock is held across transactions, on a connection of its own. PostgreSQL releases the
        lock when the process dies.
        """
        key = {"name": name}
        autocommit = {"isolation_level": "AUTOCOMMIT"}
        with self.engine.connect().execution_options(**autocommit) as connection:
            got = bool(connection.scalar(_TRY_LOCK, key))
            try:
                yield got
            finally:
                if got:
                    connection.execute(_UNLOCK, key)

    def dispose(self) -> None:
        self.engine.dispose()
