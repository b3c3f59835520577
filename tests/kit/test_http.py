"""What all HTTP servers share: request ids, bodies with a limit, one shape of errors."""

import json

import pytest
import structlog
from fastapi import FastAPI, Request
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from backend.errors import Conflict, GuerdonError, Unavailable
from backend.kit.body import Bodies, BodyBounds
from backend.kit.http import add_error_handlers, request_id


class Detailed(Conflict):
    """An error with a detail of its own kind."""

    code = "detailed"

    def details(self) -> dict[str, object]:
        return {"item": 3}


def app(refused: list[str] | None = None) -> TestClient:
    made, bodies = FastAPI(), Bodies(BodyBounds(10))

    @made.post("/body")
    async def body(request: Request) -> int:
        async with bodies.read(request) as read:
            return len(read)

    @made.get("/fail/{kind}")
    def fail(kind: str) -> None:
        raise {
            "detailed": Detailed("no", "field"),
            "away": Unavailable("away"),
            "bug": RuntimeError("secret"),
        }[kind]

    @made.get("/id")
    def own(request: Request) -> str:
        structlog.get_logger().error("seen", **structlog.contextvars.get_contextvars())
        return request_id(request)

    @made.get("/number/{number}")
    def number(number: int) -> int:
        return number

    def note(_: Request, error: GuerdonError) -> None:
        if refused is not None:
            refused.append(error.code)

    add_error_handlers(made, note)
    return TestClient(made, raise_server_exceptions=False)


def test_a_body_has_a_limit() -> None:
    """A body is read up to the limit; a larger one is refused, with and without a stated length."""
    http = app()
    assert http.post("/body", content=b"x" * 10).json() == 10
    assert http.post("/body", content=b"x" * 11).json()["error"]["code"] == "too_large"
    assert http.post("/body", content=iter([b"x" * 6, b"x" * 6])).status_code == 413
    assert http.post("/body", headers={"content-length": "x"}, content=b"").status_code == 400


def test_errors_have_one_shape() -> None:
    """Each error says code, message, field, retryable and the request's id, and its own details."""
    seen: list[str] = []
    http = app(seen)
    answer = http.get("/fail/detailed", headers={"x-request-id": "abc"})
    assert (answer.status_code, answer.json()) == (
        409,
        {
            "error": {
                "code": "detailed",
                "message": "no",
                "field": "field",
                "retryable": False,
                "item": 3,
                "request_id": "abc",
            }
        },
    )
    assert "retry-after" not in answer.headers
    assert http.get("/fail/away").headers["retry-after"] == "1"
    assert seen == ["detailed", "unavailable"]
    assert http.get("/none").json()["error"]["code"] == "not_found"
    assert http.post("/id").json()["error"]["code"] == "method_not_allowed"
    assert http.get("/number/x").json()["error"]["field"] == "number"


def test_an_unexpected_error_says_nothing_of_itself() -> None:
    """A fault of ours is a 500 with the request's id; neither the answer nor the log has its
    text."""
    with capture_logs() as logs:
        answer = app().get("/fail/bug", headers={"x-request-id": "abc"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"] == "abc"
    assert "secret" not in answer.text + json.dumps(logs)
    assert [(line["request_id"], line["error"]) for line in logs] == [("abc", "RuntimeError")]


@pytest.mark.parametrize("given", ["abc", "A.b-c_1", "x" * 64])
def test_a_well_formed_request_id_is_kept(given: str) -> None:
    """X-Request-ID goes into the response and into every log line of the request."""
    with capture_logs() as logs:
        answer = app().get("/id", headers={"x-request-id": given})
    assert answer.json() == answer.headers["x-request-id"] == logs[0]["request_id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", 'a"', "a,b", "é"])
def test_other_requests_get_an_id(given: str | None) -> None:
    """Without a well-formed id a request gets a new one; two never share it."""
    headers = {} if given is None else {"x-request-id": given.encode("latin-1")}
    http = app()
    made = {http.get("/id", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert all(len(own) == 32 for own in made)
