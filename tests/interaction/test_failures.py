"""What a partner and a log see when something behind the API fails."""

import json
import logging

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.testclient import TestClient

from backend.api import app as application
from backend.api.app import create_app
from backend.api.routers import interactions
from backend.ledger import service as ledger
from backend.partner.schemes.standard_webhooks import generate_secret
from tests.support.engine import OPERATOR_KEY, Api, address, item, now, serve, settings, signature


def private_values(api: Api, program: object, body: bytes, stamp: str) -> list[str]:
    """What must be in no log: secrets, signatures, bodies, the operator's key."""
    secret = api.engine.secrets[program.id, "adnet"]
    return [
        secret,
        secret.removeprefix("whsec_"),
        signature(secret, "msg_1", stamp, body)[3:],
        "private-event",
        OPERATOR_KEY,
        address("alice"),
    ]


def test_database_down(capfd: pytest.CaptureFixture) -> None:
    """Without PostgreSQL every route that needs it is a 503 that says to send again, in the shape
    of all errors; the log has one line."""
    with TestClient(
        create_app(settings("postgresql://postgres@127.0.0.1:1/none")),
        raise_server_exceptions=False,
    ) as http:
        headers = {
            "guerdon-partner": "adnet",
            "webhook-id": "1",
            "webhook-timestamp": str(now()),
            "webhook-signature": "v1,AA",
        }
        answers = [
            http.post("/v1/programs/p/interactions", content=b"{}", headers=headers),
            http.get("/v1/programs"),
            http.get("/v1/programs/p"),
            http.get(f"/v1/programs/p/accounts/{address('alice')}"),
            http.get(f"/v1/programs/p/accounts/{address('alice')}/claim"),
            http.get("/v1/programs/p/interactions/adnet/e"),
            http.get("/v1/programs/p/batches"),
            http.get("/v1/programs/p/batches/0/1"),
            http.post(
                "/v1/programs/p/batches/close", headers={"authorization": f"Bearer {OPERATOR_KEY}"}
            ),
        ]
    said = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in said] == ["database_unavailable"]
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.url
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
        assert answer.json()["error"]["retryable"] is True
        assert "127.0.0.1" not in answer.text


def test_connections_cut_between_requests(api: Api) -> None:
    """A restart of PostgreSQL between two requests, which cuts all connections, is not seen by the
    partner."""
    program, first = api.engine.program(), item("e1")
    assert api.post(program, [first]).status_code == 200
    with psycopg.connect(api.engine.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            "current_database() AND pid <> pg_backend_pid()"
        )
    answer = api.post(program, [first, item("e2")]).json()
    assert answer["results"][0]["status"] == "duplicate"
    assert api.engine.owed(program, address("alice")) == 2000


def test_full_connection_pool_is_retryable(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """More requests than connections: the answer is to send again, not an internal error."""

    def full(*_: object) -> None:
        raise PoolTimeout("QueuePool limit of size 20 overflow 10 reached")

    monkeypatch.setattr(interactions, "ingest", full)
    answer = api.post(api.engine.program(), [item("e")])
    assert (answer.status_code, answer.json()["error"]["retryable"]) == (503, True)


def test_a_lock_that_is_not_let_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that somebody else's lock keeps waiting is a 503 that says to send again, in
    seconds; sent again, it is taken in once."""
    monkeypatch.setattr(application, "LOCK_MS_MAX", 300)
    program = api.engine.program(funded=10)
    with serve(api.engine) as impatient:
        with api.engine.database.transaction() as holder:
            ledger.available_budget(holder, program.id, lock=True)
            answer = impatient.post(program, [item("e1", amount=5)])
        assert (
            answer.status_code,
            answer.headers["retry-after"],
            answer.json()["error"]["retryable"],
        ) == (503, "1", True)
        assert "busy" in answer.json()["error"]["message"]
        assert (
            impatient.post(program, [item("e1", amount=5)]).json()["results"][0]["status"]
            == "accepted"
        )
    assert api.engine.owed(program, address("alice")) == 5


def test_api_connections_have_limits(api: Api) -> None:
    """Every connection of the API ends a wait for a lock, and a statement, that takes too long."""
    with api.http.app.state.resources.database.transaction() as session:
        limits = [
            session.scalar(text(f"SHOW {name}"))
            for name in ("lock_timeout", "statement_timeout", "tcp_keepalives_idle")
        ]
    assert limits == ["5s", "30s", "0"]  # keepalives mean nothing on the tests' Unix socket


@pytest.mark.parametrize(
    "failure", [psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure]
)
def test_deadlock_is_tried_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    """A deadlock that PostgreSQL ends is tried again behind the request: the partner sees one
    acceptance."""
    program, ingest, left = api.engine.program(), interactions.ingest, [2]

    def sometimes(*arguments: object) -> object:
        answers = ingest(*arguments)
        if left[0]:
            left[0] -= 1
            raise OperationalError("INSERT", {}, failure("deadlock detected"))
        return answers

    monkeypatch.setattr(interactions, "ingest", sometimes)
    answer = api.post(program, [item("e1", amount=5)])
    assert (answer.status_code, answer.json()["results"][0]["status"], left) == (
        200,
        "accepted",
        [0],
    )
    assert api.engine.owed(program, address("alice")) == 5


@pytest.mark.slow
def test_endless_deadlock_is_a_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadlock that comes back at every try ends in a 503 that can be retried; nothing was
    booked."""
    program, ingest = api.engine.program(), interactions.ingest

    def never(*arguments: object) -> object:
        ingest(*arguments)
        raise OperationalError("INSERT", {}, psycopg.errors.DeadlockDetected("deadlock detected"))

    monkeypatch.setattr(interactions, "ingest", never)
    answer = api.post(program, [item("e1", amount=5)])
    assert (answer.status_code, answer.json()["error"]["retryable"]) == (503, True)
    assert api.engine.owed(program, address("alice")) == 0


def test_no_secret_in_logs_or_answers(
    capfd: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
    served: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever fails (a retry, the database, our own code, a signature), no log line and no error
    answer holds evidence or a secret."""
    caplog.set_level(logging.DEBUG)
    program, ingest, stamp = served.engine.program(), interactions.ingest, str(now())
    body = b'{"interactions": [' + str(item("private-event")).replace("'", '"').encode() + b"]}"
    texts = []

    def failing(error: Exception, times: int) -> None:
        left = [times]

        def run(*arguments: object) -> object:
            answers = ingest(*arguments)
            if left[0]:
                left[0] -= 1
                raise error
            return answers

        monkeypatch.setattr(interactions, "ingest", run)
        texts.append(served.send(program, body, timestamp=stamp).text)

    def database_error() -> Exception:
        with (
            pytest.raises(Exception, match="duplicate key") as caught,
            served.engine.database.transaction() as session,
        ):
            session.connection().exec_driver_sql(
                "INSERT INTO partner_secret (id, partner_id, secret) SELECT id, partner_id, "
                "%(secret)s FROM partner_secret LIMIT 1",
                {"secret": served.engine.secrets[program.id, "adnet"]},
            )
        return caught.value

    failing(OperationalError("INSERT", {}, psycopg.errors.DeadlockDetected("deadlock detected")), 1)
    failing(OperationalError("INSERT", {}, psycopg.OperationalError("connection lost")), 1)
    failing(RuntimeError("a fault of ours"), 1)
    failing(database_error(), 1)
    texts.append(served.send(program, body, timestamp=stamp, secret=generate_secret()).text)
    texts.append(
        served.http.post(
            f"/v1/programs/{program.name}/batches/close",
            headers={"authorization": "Bearer wrong-guess"},
        ).text
    )
    captured = capfd.readouterr()
    logged = captured.out + captured.err + caplog.text
    assert "retry_scheduled" in logged
    assert "database_unavailable" in logged
    assert "a fault of ours" in logged  # uvicorn's traceback
    for value in [*private_values(served, program, body, stamp), "wrong-guess"]:
        assert value not in logged, value
        assert all(value not in text or value == "private-event" for text in texts[1:]), value
