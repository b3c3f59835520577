"""What HTTP clients, browsers and proxies do at the edges, against the real server."""

import json
import socket
import time

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from backend.interaction.models import StoredDelivery
from backend.partner import repository as partners
from backend.partner.evidence import Delivery
from backend.partner.schemes.standard_webhooks import StandardWebhooks, generate_secret
from tests.support.engine import Api, address, item, now, signature

ORIGIN = {"origin": "https://wallet.example"}


def raw(api: Api, request: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer to the bytes of one request."""
    url = api.http.base_url
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(2**16):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head[9:12]), head.lower(), body


def test_head_is_answered_wherever_get_is(served: Api) -> None:
    """HEAD gives GET's status and headers, and no body; also for errors. Where there is no GET it
    is refused with what there is."""
    program = served.engine.program()
    close = f"/v1/programs/{program.name}/batches/close"
    paths = (
        "/v1/programs",
        f"/v1/programs/{program.name}",
        "/openapi.json",
        "/docs",
        "/healthz",
        "/readyz",
        "/v1/programs/none",
        "/nothing",
    )
    for path in paths:
        get, head = served.http.get(path), served.http.head(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert head.headers["content-type"] == get.headers["content-type"]
        assert int(head.headers["content-length"]) > 0
    refused = served.http.head(close)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST, OPTIONS")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/programs", "GET, HEAD, OPTIONS"),
        ("/v1/programs/p/interactions", "POST, OPTIONS"),
        ("/v1/programs/p/interactions/adnet/e", "GET, HEAD, OPTIONS"),
        ("/v1/programs/p/batches/close", "POST, OPTIONS"),
    ],
)
def test_methods_are_named(served: Api, path: str, allowed: str) -> None:
    """OPTIONS, and the refusal of another method, name the methods that there are."""
    options = served.http.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allowed, b"")
    refused = served.http.delete(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert refused.json()["error"]["code"] == "method_not_allowed"
    assert allowed in refused.json()["error"]["message"]


def test_pages_of_any_origin_may_read(served: Api) -> None:
    """Public reads, their errors too, are shared with any origin and without credentials; what the
    operator and partners send is not."""
    program = served.engine.program()
    post, metrics = f"/v1/programs/{program.name}/interactions", "/metrics"
    for path in ("/v1/programs", "/v1/programs/none", "/v1/none", "/openapi.json"):
        answer = served.http.get(path, headers=ORIGIN)
        assert answer.headers["access-control-allow-origin"] == "*", path
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
    for answer in (
        served.http.post(post, headers=ORIGIN, content=b"{}"),
        served.http.get(metrics, headers=ORIGIN),
        served.http.options(post, headers=ORIGIN | {"access-control-request-method": "POST"}),
        served.http.options(metrics, headers=ORIGIN | {"access-control-request-method": "GET"}),
        served.http.options(
            "/v1/programs", headers=ORIGIN | {"access-control-request-method": "POST"}
        ),
    ):
        assert "access-control-allow-origin" not in answer.headers, answer.url
    asked = {
        "access-control-request-method": "GET",
        "access-control-request-headers": "x-request-id",
    }
    preflight = served.http.options("/v1/programs", headers=ORIGIN | asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-methods"] == "GET, HEAD"
    assert preflight.headers["access-control-allow-headers"] == "*"


def test_a_slash_at_the_end(served: Api) -> None:
    """No redirect, which would lose a body: a 404 that says what is wrong."""
    program = served.engine.program()
    for answer in (
        served.http.get("/v1/programs/"),
        served.http.get(f"/v1/programs/{program.name}/"),
        served.http.post(f"/v1/programs/{program.name}/interactions/", content=b"{}"),
    ):
        assert answer.status_code == 404
        assert "without the slash" in answer.json()["error"]["message"]
    assert "slash" not in served.http.get("/v1/none/").json()["error"]["message"]


def test_absolute_and_odd_targets(served: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A target with scheme and host is the path in it; an encoded slash is no separator of a path;
    what is no target is refused in the one shape of errors, and no fault of ours."""
    program = served.engine.program()
    end = b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    name = program.name.encode()
    status, _, body = raw(served, b"GET http://api.example/v1/programs/" + name + end)
    assert (status, json.loads(body)["name"]) == (200, program.name)
    assert raw(served, b"GET http://api.example/healthz" + end)[0] == 200
    assert raw(served, b"HEAD /v1/programs" + end)[2] == b""
    for target in (
        b"/v1%2Fprograms%2Fnone",
        b"/v1/programs/a%2Fb",
        b"//v1/programs",
        b"/%ff",
        b"*",
    ):
        status, _, body = raw(served, b"GET " + target + end)
        assert (status, json.loads(body)["error"]["retryable"]) == (404, False), target
    for head in (
        b"GET /a b" + end,
        b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ):
        status, _, body = raw(served, head)
        assert (status, json.loads(body)["error"]["field"]) == (400, "request"), head
        assert json.loads(body)["error"]["request_id"]
    status, _, _ = raw(served, b"GET /" + b"x" * 200_000 + end)
    assert status == 400
    assert [line for line in caplog.records if line.exc_info] == []


def signed(api: Api, program: object, body: bytes) -> tuple[list[tuple[str, str]], str]:
    """(headers but for the signature, signature) of a delivery."""
    stamp = str(now())
    made = signature(api.engine.secrets[program.id, "adnet"], "msg_1", stamp, body)
    return [
        ("guerdon-partner", "adnet"),
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", stamp),
    ], made


OTHER = "v1," + "A" * 43 + "="
SENT: dict[str, list[str]] = {
    "a list": ["{other} {mine}"],
    "two headers": ["{other}", "{mine}"],
    "two headers, mine first": ["{mine}", "{other}"],
    "joined by a comma": ["{mine},{other}"],
    "joined by comma and space": ["{mine}, {other}"],
    "joined with mine at the end": ["{other}, {mine}"],
    "wide spaces": ["{other}   {mine}"],
    "tabs": ["{other}\t{mine}"],
    "a newer version beside it": ["v2,{other} v1a,AAAA {mine}"],
    "space after the version": ["v1, {bare}"],
    "the same twice": ["{mine}", "{mine}"],
}


@pytest.mark.parametrize("name", SENT)
def test_signature_lists_as_proxies_leave_them(served: Api, name: str) -> None:
    """However a proxy has split, joined or spaced the list of signatures, the one that is right
    counts; and what is stored as evidence verifies again."""
    program, body = served.engine.program(), json.dumps({"interactions": [item("e")]}).encode()
    headers, mine = signed(served, program, body)
    values = [
        ("webhook-signature", text.format(mine=mine, other=OTHER, bare=mine[3:]))
        for text in SENT[name]
    ]
    url = f"/v1/programs/{program.name}/interactions"
    answer = served.http.post(url, content=body, headers=headers + values)
    assert answer.status_code == 200, answer.text
    with served.engine.database.transaction() as session:
        row = session.scalars(
            select(StoredDelivery).where(StoredDelivery.program_id == program.id)
        ).one()
        stored = tuple((one, text) for one, text in row.headers)
        delivery = Delivery(row.scheme, row.method, row.target, stored, row.body)
        StandardWebhooks().authenticate(
            [served.engine.secrets[program.id, "adnet"]], delivery, None
        )


@pytest.mark.parametrize("name", ["guerdon-partner", "webhook-id", "webhook-timestamp"])
def test_headers_with_one_value(served: Api, name: str) -> None:
    """One value sent twice is that value; two values, or two that a proxy has joined, are refused
    as such and never as forged."""
    program, body = served.engine.program(), json.dumps({"interactions": [item("e")]}).encode()
    headers, mine = signed(served, program, body)
    headers.append(("webhook-signature", mine))
    url, value = f"/v1/programs/{program.name}/interactions", dict(headers)[name]
    for more in ([(name, value + "0")], None):
        sent = (
            headers + more if more else [(n, f"{v}, {v}" if n == name else v) for n, v in headers]
        )
        answer = served.http.post(url, content=body, headers=sent)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["field"]) == (400, "repeated_header", name)
    assert served.http.post(url, content=body, headers=[*headers, (name, value)]).status_code == 200


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("content-encoding", "gzip"),
        ("content-encoding", "identity, br"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "text/plain"),
        ("content-type", "application/json; charset=utf-16"),
    ],
)
def test_other_bodies_are_named(served: Api, header: str, value: str) -> None:
    """What is compressed, or not JSON in UTF-8, is a 415 that says so: it is not called forged."""
    answer = served.post(served.engine.program(), [item("e")], headers={header: value})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (415, "unsupported_media", header)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("content-encoding", "identity"),
        ("content-type", None),
        ("content-type", "Application/JSON; charset=UTF-8"),
        ("content-type", "application/cloudevents+json"),
    ],
)
def test_json_by_any_name(served: Api, header: str, value: str | None) -> None:
    """JSON in UTF-8 is read, by whatever right name."""
    answer = served.post(served.engine.program(), [item("e")], headers={header: value})
    assert answer.status_code == 200, answer.text


def test_a_secret_that_has_ended(served: Api) -> None:
    """Who signs with a secret that was revoked or rotated away is told so. Who never had one hears
    the same as before, for the partner with ended secrets and for others."""
    program = served.engine.program()
    served.engine.partner(program, "other")
    old = served.engine.secrets[program.id, "adnet"]

    def code(secret: str, partner: str = "adnet", **changes: object) -> tuple[int, str]:
        answer = served.post(program, [item("e")], partner, secret=secret, **changes)
        return answer.status_code, answer.json()["error"]["code"]

    with served.engine.database.transaction() as session:
        row = partners.get(session, program.id, "adnet")
        partners.rotate(session, row, generate_secret(), 0)
    assert code(old) == (401, "secret_revoked")
    with served.engine.database.transaction() as session:
        partners.revoke(session, partners.get(session, program.id, "adnet"))
    assert code(old) == (401, "secret_revoked")
    assert code(generate_secret()) == code(generate_secret(), "other") == (401, "bad_signature")
    assert code(old, "other") == (401, "bad_signature")
    assert code(old, timestamp=str(now() - 600)) == (401, "stale_timestamp")


def test_a_client_that_goes_away(served: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that ends in the middle of a body is one short line in the log."""
    program, url = served.engine.program(), served.http.base_url
    headers, mine = signed(served, program, b"")
    lines = [f"{name}: {value}" for name, value in [*headers, ("webhook-signature", mine)]]
    path = f"/v1/programs/{program.name}/interactions"
    head = "\r\n".join((f"POST {path} HTTP/1.1", "host: x", "content-length: 99", *lines, "", "{"))
    with capture_logs() as lines:
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall(head.encode())
        deadline = time.monotonic() + 30
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert served.http.get("/healthz").status_code == 200
    assert lines == [{"event": "client_disconnected", "log_level": "info"}]
    assert [record for record in caplog.records if record.exc_info] == []


def test_docs_ask_no_other_host(served: Api) -> None:
    """/docs is one page that loads nothing, and names every route and schema."""
    page = served.http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    loads = ("<script", "<link", "<img", "src=", "http://", "https://")
    assert [mark for mark in loads if mark in page.text] == []
    document = served.http.get("/openapi.json").json()
    for name in (*document["paths"], *document["components"]["schemas"]):
        assert name in page.text
    assert served.http.get("/redoc").status_code == 404


@pytest.mark.parametrize(
    "number", ["1.0", "1_0", "+1", " 1", "0x1", "1e0", "\u0661", "-1", "", "9" * 30]
)
def test_numbers_have_one_form(served: Api, number: str) -> None:
    """A number in a path or a query is decimal digits; anything else is refused by its name."""
    program = served.engine.program()
    answer = served.get(program, "/batches", params={"limit": number})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "limit")
    if number.strip() and "/" not in number:
        answer = served.get(program, f"/batches/{number}/1")
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "bucket")


def test_addresses_in_any_case(served: Api) -> None:
    """An address is the same account in its checksummed and in its one-case forms."""
    program, alice = served.engine.program(), address("alice")
    for text in (alice, alice.lower(), "0x" + alice[2:].upper()):
        assert served.get(program, f"/accounts/{text}").json()["address"] == alice
    for text in ("0X" + alice[2:], alice[2:], alice + "0", alice + "%00", alice.swapcase()):
        answer = served.get(program, f"/accounts/{text}")
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "address"), text
