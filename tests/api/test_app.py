"""Health, readiness, the OpenAPI document, and what every answer has in common."""

import re

import pytest
from starlette.testclient import TestClient

from backend.api.app import create_app
from backend.program.models import Program
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


def test_every_answer_has_a_schema(api: Api) -> None:
    """OpenAPI gives the schema of each answer with a body: of errors too, and none is untyped."""
    document = api.http.get("/openapi.json").json()
    seen = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                schema = response["content"]["application/json"]["schema"]
                for items in schema.get("anyOf", [schema.get("items", schema)]):
                    assert items.keys() == {"$ref"}, (method, path, status, schema)
                    named = document["components"]["schemas"][items["$ref"].rsplit("/", 1)[-1]]
                    assert named.get("properties"), (method, path, status)
                    seen += 1
            assert path in ("/healthz", "/readyz") or {"4XX", "5XX"} <= set(operation["responses"])
    assert seen > 20


def test_programs_are_typed(api: Api) -> None:
    """A program's answers hold its public facts and, for one, its balances. Why it is halted is
    there in public words; with the operator's key in full, with what to do."""
    program = api.engine.program(funded=10)
    with api.engine.database.transaction() as session:
        session.get_one(Program, program.id).halted = "https://node/secret"
    (listed,) = api.http.get("/v1/programs").json()
    assert (listed["name"], listed["halted"]) == (program.name, True)
    assert listed["halted_reason"] == "its operator has to look"
    detail = api.http.get(f"/v1/programs/{program.name}")
    assert detail.json() == listed | {
        "reserve": "10",
        "available_budget": "10",
        "deficit": "0",
        "daily_limit": None,
    }
    assert "secret" not in detail.text
    key = {"authorization": f"Bearer {OPERATOR_KEY}"}
    reason = api.http.get(f"/v1/programs/{program.name}", headers=key).json()["halted_reason"]
    assert reason.startswith("https://node/secret")
    assert f"guerdon program resume {program.name}" in reason


@pytest.mark.parametrize(
    ("reason", "public"),
    [
        ("block 7 was final and has changed: compare", "a block that was final has changed"),
        ("recording blocks 1 to 2 failed: secret", "what the chain says could not be recorded"),
        ("an invariant is broken: secret", "a check of the balances has failed"),
    ],
)
def test_a_halted_program_takes_nothing_in(api: Api, reason: str, public: str) -> None:
    """A report to it is answered 503, with the public reason and when to come back, and nothing of
    it is stored: sent again after the halt it is new. /readyz names the program, and stays 200 but
    for Redis."""
    program = api.engine.program()

    def halted(text: str | None) -> None:
        with api.engine.database.transaction() as session:
            session.get_one(Program, program.id).halted = text

    halted(reason)
    answer = api.post(program, [item("e1")])
    said = answer.json()["error"]
    assert (answer.status_code, said["code"], said["retryable"]) == (503, "program_halted", True)
    assert public in said["message"]
    assert "secret" not in said["message"]
    assert answer.headers["retry-after"] == "300"
    key = {"authorization": f"Bearer {OPERATOR_KEY}"}
    closing = api.http.post(f"/v1/programs/{program.name}/batches/close", headers=key)
    assert closing.json()["error"]["code"] == "program_halted"
    assert program.name in api.http.get("/readyz").json()["halted"]
    halted(None)
    assert api.post(program, [item("e1")]).json()["results"][0]["status"] == "accepted"
    assert program.name not in api.http.get("/readyz").json()["halted"]


@pytest.mark.parametrize("token", [None, "metrics-token"])
def test_metrics_need_the_token(api: Api, token: str | None) -> None:
    """/metrics asks for its own token: neither none nor the operator's key opens it."""
    with TestClient(create_app(settings(api.engine.url, metrics_token=token))) as http:
        for header in (
            {},
            {"authorization": "Bearer "},
            {"authorization": f"Bearer {OPERATOR_KEY}"},
        ):
            assert http.get("/metrics", headers=header).status_code == 401


def test_metrics_tell_what_waits(api: Api) -> None:
    """/metrics counts intake and refusals, and reads open batches and programs from the
    database."""
    program = api.engine.program()
    api.engine.take_in(program, [report("e1")])
    headers = {"authorization": f"Bearer {OPERATOR_KEY}"}
    api.http.post(f"/v1/programs/{program.name}/batches/close", headers=headers)
    with TestClient(create_app(settings(api.engine.url, metrics_token="t"))) as http:
        http.get("/none")
        lines = http.get("/metrics", headers={"authorization": "Bearer t"}).text.splitlines()
    assert {
        "guerdon_database_up 1.0",
        'guerdon_batches{state="closed"} 1.0',
        'guerdon_batches{state="posted"} 0.0',
        'guerdon_outgoing_transactions{state="sent"} 0.0',
        f'guerdon_program_halted{{program="{program.name}"}} 0.0',
    } <= set(lines)
    assert any(line.startswith('guerdon_batch_oldest_seconds{state="closed"}') for line in lines)


def test_metrics_without_a_database_say_so(api: Api) -> None:
    """While PostgreSQL is away /metrics answers, and says that it is away."""
    config = settings("postgresql://postgres@127.0.0.1:1/none", metrics_token="t")
    with TestClient(create_app(config)) as http:
        answer = http.get("/metrics", headers={"authorization": "Bearer t"})
    assert answer.status_code == 200
    assert "guerdon_database_up 0.0" in answer.text.splitlines()
    assert "guerdon_batches{" not in answer.text


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
