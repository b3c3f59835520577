"""The database kit: transactions, snapshots, amounts, and errors that hold no parameters."""

import logging

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, StatementError

from backend.errors import Invalid
from backend.kit.amount import Amount
from backend.kit.db import Database, sqlalchemy_url
from tests.support.engine import Engine

COUNT = text("SELECT count(*) FROM partner")


def test_transaction_is_all_or_nothing(own_engine: Engine) -> None:
    """What raises inside a transaction leaves nothing behind; what ends is there for all."""
    with (
        pytest.raises(DBAPIError, match="division by zero"),
        own_engine.database.transaction() as session,
    ):
        session.execute(
            text("CREATE TABLE scratch AS SELECT 1 / x AS y FROM generate_series(-3, 3) AS x")
        )
    with own_engine.database.transaction() as session:
        assert session.scalar(text("SELECT to_regclass('scratch')")) is None


def test_snapshot_sees_one_moment_and_writes_nothing(own_engine: Engine) -> None:
    """A snapshot does not see what is committed after its first query, and cannot write; the next
    transaction can, and sees it."""
    with own_engine.database.snapshot() as session:
        before = session.scalar(COUNT)
        own_engine.program()
        assert session.scalar(COUNT) == before
        with pytest.raises(DBAPIError, match="read-only"):
            session.execute(text("DELETE FROM partner_secret"))
    with own_engine.database.transaction() as session:
        assert session.scalar(COUNT) == before + 1
        session.execute(text("CREATE TABLE scratch (x int)"))
        assert session.scalar(text("SHOW transaction_isolation")) == "read committed"


def test_errors_and_logs_hold_no_parameters(
    own_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed statement's error, and SQLAlchemy's own log, do not repeat the values that went
    in."""
    caplog.set_level(logging.INFO, "sqlalchemy.engine")
    with pytest.raises(DBAPIError) as caught, own_engine.database.transaction() as session:
        session.execute(
            text("SELECT * FROM nowhere WHERE secret = :secret"), {"secret": "whsec_private"}
        )
    assert "whsec_private" not in str(caught.value) + repr(caught.value) + caplog.text


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@h/d", "postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"]
)
def test_url_forms(url: str) -> None:
    """Each common form of a URL names the one driver."""
    assert sqlalchemy_url(url) == "postgresql+psycopg://u:p@h/d"


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://u:sekret@h/d", "postgresql://u:sek ret@[::1/d", "postgresql:"]
)
def test_urls_that_are_none(url: str) -> None:
    """What names no PostgreSQL database is refused with the form that is expected, and without the
    password."""
    with pytest.raises(Invalid, match=r"^DATABASE_URL: expected postgresql://") as caught:
        Database(url)
    assert "sek" not in str(caught.value)


@pytest.mark.parametrize("value", [1.0, "1", True, 1 + 0j])
def test_amount_takes_integers_alone(value: object) -> None:
    """Only a plain int becomes an amount: no float, text or bool."""
    with pytest.raises(TypeError, match="expected an int"):
        Amount().process_bind_param(value, None)


@pytest.mark.parametrize("value", [0, 1, -1, 2**96, 2**256 - 1, -(2**256)])
def test_amount_is_exact(own_engine: Engine, value: int) -> None:
    """Amounts of any size that a contract can hold come back as they went in."""
    with own_engine.database.transaction() as session:
        session.execute(text("CREATE TABLE money (amount numeric(78, 0))"))
        session.execute(
            text("INSERT INTO money VALUES (:amount)").bindparams(
                amount=Amount().process_bind_param(value, None)
            )
        )
        stored = session.scalar(text("SELECT amount FROM money").columns(amount=Amount))
    assert (stored, type(stored)) == (value, int)
    assert (
        Amount().process_bind_param(None, None) is Amount().process_result_value(None, None) is None
    )


def test_amount_too_large_is_refused(own_engine: Engine) -> None:
    """More than 78 digits is an error of the database, not a rounded number."""
    with own_engine.database.transaction() as session:
        session.execute(text("CREATE TABLE money (amount numeric(78, 0))"))
    with pytest.raises((DBAPIError, StatementError)), own_engine.database.transaction() as session:
        session.execute(text(f"INSERT INTO money VALUES ({10**78})"))


def test_advisory_lock_has_one_holder(own_engine: Engine) -> None:
    """A named lock is held by one block at a time, across transactions; another name is free, and
    the lock is free again after the block, also after an error."""
    lock = own_engine.database.advisory_lock

    def fail() -> None:
        with lock("a") as mine:
            assert mine
            with lock("a") as second, lock("b") as other:
                assert (second, other) == (False, True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with lock("a") as again:
        assert again
