"""Health, readiness, the OpenAPI document, and what every answer has in common."""

import re

import pytest
from starlette.testclient import TestClient

from backend.api.app import create_app
from tests.support.engine import OPERATOR_KEY, Api, item, report, settings


def test_alive_without_anything(api: Api) -> None:
    """/healthz says that the process lives, whatever else is down."""
    with TestClient(create_app(settings("postgresql://postgres@127.0.0.1:1/none"))) as http:
        assert (http.get("/healthz").status_code, http.get("/healthz").json()) == (
            200,
            {"status": "ok"},
        )


def test_readiness_names_what_is_missing(api: Api) -> None:
    """/readyz is 503 and names each thing that does not answer: Redis here, PostgreSQL as well
    there."""
    assert (api.http.get("/readyz").status_code, api.http.get("/readyz").json()["failed"]) == (
        503,
        ["redis"],
    )
    with TestClient(create_app(settings("postgresql://postgres@127.0.0.1:1/none"))) as http:
        assert http.get("/readyz").json()["failed"] == ["database", "redis"]


def test_openapi_describes_the_body(api: Api) -> None:
    """The OpenAPI document is served, describes intake's signed body and headers, and its own
    examples of a body are taken."""
    document = api.http.get("/openapi.json").json()
    post = document["paths"]["/v1/programs/{program}/interactions"]["post"]
    assert {entry["name"] for entry in post["parameters"] if entry["in"] == "header"} == {
        "guerdon-partner",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    items = schema["properties"]["interactions"]
    assert (items["minItems"], items["maxItems"], items["items"]["additionalProperties"]) == (
        1,
        1000,
        False,
    )
    assert set(items["items"]["required"]) == set(items["items"]["properties"]) == set(item("e"))
    for name, value in item("e").items():
        pattern = items["items"]["properties"][name].get("pattern")
        assert pattern is None or re.fullmatch(pattern, value)
    assert {"200", "207", "422"} <= set(post["responses"])
    assert api.http.get("/docs").status_code == 200


def test_every_route_is_described(api: Api) -> None:
    """Every route has a summary, a description and a schema of its answer; only the operator's ask
    for a key."""
    document = api.http.get("/openapi.json").json()
    secured = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), path
            if operation.get("security"):
                secured.add((method, path))
    assert secured == {("post", "/v1/programs/{program}/batches/close")}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {OPERATOR_KEY}",
        f"Bearer {OPERATOR_KEY}x",
        f"Bearer {OPERATOR_KEY[:-1]}",
        "Bearer é",
    ],
)
def test_operators_calls_need_the_key(api: Api, header: str | None) -> None:
    """Without the operator's exact key nothing is closed: 401 that names the header."""
    program = api.engine.program()
    api.engine.take_in(program, [report("e1")])
    headers = {"authorization": header.encode()} if header is not None else {}
    answer = api.http.post(f"/v1/programs/{program.name}/batches/close", headers=headers)
    assert (answer.status_code, answer.json()["error"]["field"]) == (401, "authorization")
    assert api.get(program, "/batches").json()["batches"] == []


def test_no_key_configured_refuses_all(api: Api) -> None:
    """Where no operator's key is set, no presented key opens anything, the empty one included."""
    with TestClient(create_app(settings(api.engine.url, operator_api_key=None))) as http:
        for header in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer None"}):
            assert http.post("/v1/programs/p/batches/close", headers=header).status_code == 401


def test_operator_closes(api: Api) -> None:
    """With the key everything open is closed at once, and asking again closes nothing twice."""
    program = api.engine.program()
    api.engine.take_in(program, [report("e1"), report("e2", "bob")])
    close = f"/v1/programs/{program.name}/batches/close"
    headers = {"authorization": f"Bearer {OPERATOR_KEY}"}
    answer = api.http.post(close, headers=headers)
    assert [
        (batch["bucket"], batch["sequence"], batch["items"], batch["state"])
        for batch in answer.json()
    ] == [(0, 1, 2, "closed")]
    assert api.http.post(close, headers=headers).json() == []
