"""Tasks while a server is away: a line in the log, no traceback, and the next tick goes on."""

import psycopg
import pytest
import redis
from kombu.exceptions import OperationalError as BrokerAway
from sqlalchemy.exc import OperationalError, PendingRollbackError
from structlog.testing import capture_logs

from backend import queue
from backend.kit.db import is_away
from backend.kit.outage import Outage


def wrapped(error: Exception) -> OperationalError:
    return OperationalError("SELECT secret", {}, error)


@pytest.fixture(autouse=True)
def _own_outages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_database", Outage("database"))
    monkeypatch.setattr(queue, "_redis", Outage("redis"))


@pytest.mark.parametrize(
    ("error", "server"),
    [
        (wrapped(psycopg.OperationalError("connection refused")), "database"),
        (wrapped(psycopg.errors.AdminShutdown("terminating")), "database"),
        (wrapped(psycopg.errors.CannotConnectNow("starting up")), "database"),
        (psycopg.OperationalError("the connection is lost"), "database"),
        (PendingRollbackError("Can't reconnect"), "database"),
        (redis.ConnectionError("closed"), "redis"),
        (BrokerAway("closed"), "redis"),
    ],
)
def test_a_server_is_away(error: Exception, server: str) -> None:
    """A task ends quietly, however often, with one line; the first that succeeds says that the
    server is back."""
    left = [error] * 3

    @queue.in_one_line
    def tick() -> None:
        if left:
            raise left.pop()

    with capture_logs() as lines:
        for _ in range(4):
            tick()
    assert [line["event"] for line in lines] == [f"{server}_unavailable", f"{server}_available"]
    assert "secret" not in str(lines)


@pytest.mark.parametrize(
    "error", [wrapped(psycopg.errors.DeadlockDetected("deadlock")), ValueError("ours")]
)
def test_a_fault_keeps_its_traceback(error: Exception) -> None:
    """What is no outage is raised, for the worker to log in full."""
    assert not is_away(error)
    with pytest.raises(type(error)):
        queue.in_one_line(_raise)(error)


def _raise(error: Exception) -> None:
    raise error
