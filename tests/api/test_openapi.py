"""The OpenAPI document against what is answered: each error of each route is documented with its
status, its code and our shape."""

from typing import Any

import pytest
from httpx import Response

from backend.api.claims import ClaimsSeen
from backend.api.schemas.error import CODES, ErrorOut
from backend.partner import repository as partners
from backend.partner.schemes.standard_webhooks import generate_secret
from backend.program.models import Program
from tests.api.test_accounts import Chain
from tests.support.engine import OPERATOR_KEY, Api, address, item, now, report

INTAKE = "/v1/programs/{program}/interactions"
INTERACTION = "/v1/programs/{program}/interactions/{partner}/{event_id}"
ACCOUNT = "/v1/programs/{program}/accounts/{address}"
CLAIM = ACCOUNT + "/claim"
BATCHES = "/v1/programs/{program}/batches"
BATCH = BATCHES + "/{bucket}/{sequence}"
CLOSE = BATCHES + "/close"


def walk(api: Api, program: Program) -> list[tuple[str, Response]]:
    """(route, answer) of requests that go right and wrong in every way that a route has."""
    alice, bob, carol = address("alice"), address("bob"), address("carol")
    operator = {"authorization": f"Bearer {OPERATOR_KEY}"}
    old = api.engine.secrets[program.id, "adnet"]

    def post(**changes: Any) -> tuple[str, Response]:
        return INTAKE, api.post(program, [item("e2")], **changes)

    def get(route: str, path: str, name: Program | str = program) -> tuple[str, Response]:
        return route, api.get(name, path)

    answers = [
        ("/v1/programs", api.http.get("/v1/programs")),
        get("/v1/programs/{program}", ""),
        post(),
        (INTAKE, api.post(program, [item("e3"), {}])),
        (INTAKE, api.post(program, [{}])),
        (INTAKE, api.send(program, b"[]")),
        post(headers={"webhook-id": None}),
        post(headers={"webhook-id": "x" * 2000}),
        post(headers={"webhook-id": "a, a"}),
        post(headers={"content-encoding": "br"}),
        post(secret=generate_secret()),
        post(timestamp=str(now() - 999)),
        post(partner="nobody"),
        (INTAKE, api.send(program, b" " * (2**21 + 1))),
        (INTAKE, api.send("none", b"{}")),
        get(INTERACTION, "/interactions/adnet/e2"),
        get(INTERACTION, "/interactions/adnet/none"),
        get(INTERACTION, f"/interactions/adnet/{'x' * 200}"),
        get(INTERACTION, "/interactions/nobody/e"),
        get(ACCOUNT, f"/accounts/{alice}"),
        get(ACCOUNT, "/accounts/0x"),
        get(CLAIM, f"/accounts/{alice}/claim"),
        get(CLAIM, f"/accounts/{bob}/claim"),
        get(CLAIM, f"/accounts/{carol}/claim"),
        get(CLAIM, "/accounts/0x/claim"),
        get(BATCHES, "/batches"),
        get(BATCHES, "/batches?limit=x"),
        get(BATCH, "/batches/0/1"),
        get(BATCH, "/batches/0/9"),
        get(BATCH, "/batches/x/9"),
        (CLOSE, api.http.post(f"/v1/programs/{program.name}/batches/close")),
        (CLOSE, api.http.post(f"/v1/programs/{program.name}/batches/close", headers=operator)),
        (CLOSE, api.http.post("/v1/programs/none/batches/close", headers=operator)),
        ("/healthz", api.http.get("/healthz")),
        ("/readyz", api.http.get("/readyz")),
    ]
    for route in (ACCOUNT, CLAIM, BATCHES, BATCH, INTERACTION, "/v1/programs/{program}"):
        path = route.removeprefix("/v1/programs/{program}").format(
            address=alice, bucket=0, sequence=1, partner="adnet", event_id="e"
        )
        answers.append(get(route, path, "none"))
    with api.engine.database.transaction() as session:
        row = partners.get(session, program.id, "adnet")
        partners.rotate(session, row, generate_secret(), 0)
    answers.append(post(secret=old))
    chain = Chain(1000)
    api.http.app.state.resources.claims = ClaimsSeen(lambda: chain)
    return [*answers, get(CLAIM, f"/accounts/{alice}/claim")]


@pytest.fixture(scope="module")
def answers(api: Api) -> list[tuple[str, Response]]:
    """Answers of every route: alice can claim, bob has claimed."""
    program = api.engine.program()
    api.engine.take_in(program, [report("a"), report("b", "bob")])
    api.engine.settle(program)
    api.engine.claim(program, address("bob"), 1000)
    return walk(api, program)


def test_answers_are_documented(api: Api, answers: list[tuple[str, Response]]) -> None:
    """Every answer's status is documented for its route, and an error's code with its meaning; no
    shape of the framework's is."""
    document = api.http.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for route, answer in answers:
        operation = document["paths"][route][answer.request.method.lower()]
        documented = operation["responses"].get(str(answer.status_code))
        assert documented is not None, (route, answer.status_code, answer.text)
        if answer.status_code >= 400 and "error" in answer.json():
            error = ErrorOut.model_validate(answer.json()).error
            assert f"`{error.code}`" in documented["description"], (route, error)
            assert CODES[error.code][0] == answer.status_code
            schema = documented["content"]["application/json"]["schema"]
            assert "#/components/schemas/ErrorOut" in str(schema)


def test_every_route_and_code_is_walked(api: Api, answers: list[tuple[str, Response]]) -> None:
    """The walk reaches every route, and every code but those of a server or program in trouble
    and of two chains."""
    document = api.http.get("/openapi.json").json()
    assert {route for route, _ in answers} == set(document["paths"])
    seen = {
        answer.json()["error"]["code"]
        for _, answer in answers
        if answer.status_code >= 400 and "error" in answer.json()
    }
    in_trouble = {"internal", "unavailable", "busy", "too_slow", "program_halted"}
    assert set(CODES) - seen == {*in_trouble, "conflict"}
