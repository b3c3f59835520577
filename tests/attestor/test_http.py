"""The attestor over HTTP: every bad request names its field, sizes are limited, and nothing that is
evidence is logged."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from backend.attestor.app import create_app
from backend.attestor.config import AttestorConfig
from backend.attestor.errors import LEAVES_ASKED_MAX, MissingLeaves
from tests.attestor.world import DISTRIBUTOR, account, changed, report


@pytest.fixture
def app(world):
    """The app on the world's files and chain."""
    return create_app(world.config, {DISTRIBUTOR: world.chain})


@pytest.fixture
def client(app):
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def batch(world):
    return world.coordinator.batch(
        0,
        [
            world.coordinator.deliver(
                [report("secret-event-id", account(1)), report("b", account(2))]
            )
        ],
    )


def change(payload, path, value):
    """A copy of `payload` with the value at a dotted path replaced; a value of ... removes the
    key."""
    changed = copy.deepcopy(payload)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    at = changed
    for key in parents:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return changed


BAD_VALUES = [
    ("chain_id", "31337"),
    ("chain_id", 0),
    ("chain_id", ...),
    ("distributor", "0x12"),
    ("distributor", "0xD1d1d1D1d1d1D1d1D1D1D1d1d1D1D1D1d1D1d1D1"),
    ("distributor", 5),
    ("bucket", -1),
    ("bucket", 2**32),
    ("bucket", True),
    ("bucket", 0.0),
    ("sequence", 0),
    ("sequence", 2**63),
    ("sequence", "1"),
    ("new_root", 5),
    ("new_root", "0x5"),
    ("new_root", "-1"),
    ("new_root", "01"),
    ("new_root", str(2**256)),
    ("new_root", "21888242871839275222246405745257275088548364400416034343698204186575808495617"),
    ("items_root", "1e3"),
    ("items_root", " 1"),
    ("items_root", "\uff11"),
    ("interactions_root", "0x"),
    ("interactions_root", "11" * 32),
    ("ledger_head", "0x" + "1" * 63),
    ("ledger_head", None),
    ("attestor_epoch", -1),
    ("attestor_epoch", 2**64),
    ("valid_until", "soon"),
    ("deltas", "0x1"),
    ("deltas", "zz"),
    ("deltas", []),
    ("deliveries", []),
    ("deliveries", {}),
    ("deliveries.0.partner", 1),
    ("deliveries.0.partner", "x" * 4097),
    ("deliveries.0.scheme", ...),
    ("deliveries.0.method", 5),
    ("deliveries.0.target", None),
    ("deliveries.0.target", "/" * 4097),
    ("deliveries.0.headers", {}),
    ("deliveries.0.headers", [["a", "b"]] * 17),
    ("deliveries.0.headers.0", ["webhook-id"]),
    ("deliveries.0.headers.1", ["webhook-timestamp", 5]),
    ("deliveries.0.headers.2", "ab"),
    ("deliveries.0.body", "%%%"),
    ("deliveries.0.body", "YQ"),
    ("deliveries.0.salt", "0x00"),
    ("deliveries.0.extra", 1),
    ("items", []),
    ("items", "x"),
    ("items.0.delivery", -1),
    ("items.1.position", 2**32),
    ("items.1.amount", 7),
    ("items.0.amount", "0"),
    ("items.0.amount", str(2**96)),
    ("items.0.amount", "1.0"),
    ("unknown", 1),
]


@pytest.mark.parametrize(("path", "value"), BAD_VALUES)
def test_bad_field(client, batch, path, value):
    """A value of the wrong kind, out of range, missing or unknown is a 422 that names the field and
    does not repeat its content."""
    answer = client.post("/v1/attestations", json=change(batch.payload, path, value))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "invalid", path)
    assert error["message"]
    assert str(batch.payload["deliveries"][0]["salt"]) not in answer.text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("items", []),
        ("items.0.partner", "0x"),
        ("items.0.event_id", ...),
        ("items.0.account", "0x" + "00" * 20),
        ("items.0.amount", "0"),
        ("items.1.item_amount", str(2**96)),
        ("items.0.occurred_at", 0),
        ("items.0.evidence", "x"),
        ("items.0.note", "x"),
        ("sequence", 0),
    ],
)
def test_bad_leaves(client, batch, path, value):
    """The same for leaves."""
    answer = client.post("/v1/leaves", json=change(batch.leaves_payload, path, value))
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, path)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'"\\ud800"'])
def test_broken_json(client, body):
    """What is not JSON is a 400."""
    answer = client.post("/v1/attestations", content=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "body")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"bucket"', '"bucket": 1, "bucket"', 1),
        lambda text: text.replace('"salt"', '"salt": "0x00", "salt"', 1),
        lambda text: text.replace('"bucket": 0', '"bucket": NaN'),
        lambda text: text.replace('"bucket": 0', '"bucket": ' + "9" * 5000),
        lambda text: text.replace('"bucket": 0', '"bucket": ' + "[" * 100_000),
        lambda text: "\ufeff" + text,
        lambda text: text + "{}",
    ],
    ids=["key twice", "inner key twice", "NaN", "huge number", "deep", "byte order mark", "two"],
)
def test_json_with_two_readings(client, batch, change):
    """JSON that readers take differently is refused, whatever else is right."""
    text = json.dumps(batch.payload)
    assert change(text) != text
    answer = client.post("/v1/attestations", content=change(text).encode())
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["field"] in ("body", "bucket")


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"content-encoding": "gzip"}, "content-encoding"),
        ({"content-type": "text/plain"}, "content-type"),
    ],
)
def test_other_bodies(client, headers, field):
    """What is compressed or not JSON is a 415 that says so."""
    answer = client.post("/v1/attestations", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["field"]) == (415, field)


def test_methods_and_slashes(client):
    """HEAD beside GET, the methods by name, no redirects, and no pages that need another host."""
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (client.head(path).status_code, client.head(path).content) == (200, b"")
    for path, allowed in (("/v1/leaves", "POST, OPTIONS"), ("/healthz", "GET, HEAD, OPTIONS")):
        assert client.delete(path).headers["allow"] == allowed
        assert client.options(path).headers["allow"] == allowed
        answer = client.post(path + "/", follow_redirects=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        asked = {"origin": "https://a.example", "access-control-request-method": "GET"}
        assert "access-control-allow-origin" not in client.options(path, headers=asked).headers
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("body", [b"[]", b"null", b"1"])
def test_json_of_another_shape(client, body):
    """JSON that is no object is refused as such."""
    assert client.post("/v1/attestations", content=body).status_code == 422


class TestLimits:
    """Sizes and tokens are checked before anything is read."""

    @pytest.fixture
    def client(self, world, tmp_path):
        (tmp_path / "token").write_text("s3cret-token\n")
        config = AttestorConfig(
            **(dict(world.config) | {"body_bytes_max": 4096, "token_file": tmp_path / "token"})
        )
        return TestClient(create_app(config, {DISTRIBUTOR: world.chain}))

    @pytest.mark.parametrize(
        "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret-token"}]
    )
    @pytest.mark.parametrize("path", ["/v1/attestations", "/v1/leaves"])
    def test_token(self, client, path, headers):
        """Without the token there is a 401 that says where it belongs."""
        answer = client.post(path, content=b"x" * 8192, headers=headers)
        assert (answer.status_code, answer.json()["error"]["field"]) == (401, "authorization")
        assert "s3cret" not in answer.text

    @pytest.mark.parametrize("content", [b"x" * 4097, iter([b"x" * 4000] * 3)])
    def test_size(self, client, content):
        """A body beyond the limit is a 413, whether or not it says its size."""
        answer = client.post(
            "/v1/attestations", content=content, headers={"authorization": "Bearer s3cret-token"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")

    def test_right_token(self, client):
        """With the token a small body is read."""
        answer = client.post(
            "/v1/attestations", content=b"{", headers={"authorization": "bearer s3cret-token"}
        )
        assert answer.status_code == 400

    def test_metrics_need_the_token(self, client):
        """The token opens the metrics, and nothing else does; they count answers by code."""
        client.post("/v1/attestations", content=b"{")
        assert client.get("/metrics").status_code == 401
        answer = client.get("/metrics", headers={"authorization": "Bearer s3cret-token"})
        assert answer.status_code == 200
        assert 'guerdon_attestor_answers_total{code="unauthorized"}' in answer.text

    def test_health_needs_no_token(self, client):
        """Whoever watches over it needs no token."""
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 200


def test_refusal_has_reason_and_item(client, world, batch):
    """A refusal is a 422 with the reason's word and the item."""
    batch = world.coordinator.batch(0, list(batch.deliveries), [(0, 0), (0, 0)])
    error = client.post("/v1/attestations", json=batch.payload).json()["error"]
    assert (error["code"], error["reason"], error["item"], error["retryable"]) == (
        "refused",
        "repeated_event",
        1,
        False,
    )


def test_signed_then_behind_then_landed(client, world, batch):
    """200 with the signature, 409 state_behind for what comes after, 409 already_landed once it is
    there."""
    answer = client.post("/v1/attestations", json=batch.payload)
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"attestor", "digest", "signature"}
    assert (body["attestor"], len(body["signature"])) == (world.attestor.address, 132)
    behind = client.post("/v1/attestations", json={**batch.payload, "sequence": 2})
    assert (
        behind.status_code,
        behind.json()["error"]["code"],
        behind.json()["error"]["retryable"],
    ) == (409, "state_behind", True)
    world.land(batch)
    landed = client.post("/v1/attestations", json=batch.payload)
    assert (
        landed.status_code,
        landed.json()["error"]["code"],
        landed.json()["error"]["retryable"],
    ) == (409, "already_landed", False)


def test_missing_leaves_over_http(client, world, batch):
    """409 names the batches; 204 takes their leaves; then the question is answered. Foreign leaves
    stay out."""
    world.land(batch)
    nxt = world.coordinator.batch(0, [world.coordinator.deliver([report("c", account(1))])])
    missing = client.post("/v1/attestations", json=nxt.payload)
    assert missing.status_code == 409
    assert missing.json()["error"]["code"] == "missing_leaves"
    assert missing.json()["error"]["batches"] == [{"bucket": 0, "sequence": 1}]
    foreign = client.post("/v1/leaves", json=change(batch.leaves_payload, "items.0.amount", "1"))
    assert (foreign.status_code, foreign.json()["error"]["reason"]) == (422, "interactions_root")
    assert client.post("/v1/leaves", json=batch.leaves_payload).status_code == 204
    assert client.post("/v1/attestations", json=nxt.payload).status_code == 200


def test_missing_leaves_are_asked_for_in_parts():
    """However many are missing, the answer stays one that a coordinator will read."""
    error = MissingLeaves(DISTRIBUTOR, [(0, sequence) for sequence in range(1, 10_001)]).to_json()[
        "error"
    ]
    assert error["batches"] == [
        {"bucket": 0, "sequence": sequence} for sequence in range(1, LEAVES_ASKED_MAX + 1)
    ]
    assert "10000" in error["message"]


def test_not_found_and_unexpected(client, world, batch, monkeypatch):
    """Unknown paths, unknown programs and errors of our own have the one shape too."""
    assert client.get("/nothing").json()["error"]["code"] == "not_found"
    other = client.post("/v1/attestations", json={**batch.payload, "chain_id": 1})
    assert (other.status_code, other.json()["error"]["field"]) == (404, "chain_id")
    monkeypatch.setattr(world.chain, "final", lambda: 1 / 0)
    answer = client.post("/v1/attestations", json=batch.payload)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")


def test_broken_pins(client, world, batch):
    """Pins that cannot be read stop the signing until they are mended, and nothing of them is
    shown."""
    good = world.config.pins.read_text()
    for text in ("{", json.dumps({DISTRIBUTOR: {"adnet": {"scheme": "md5", "secrets": ["hush"]}}})):
        world.config.pins.write_text(text)
        answer = client.post("/v1/attestations", json=batch.payload)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "pins")
        assert "hush" not in answer.text
        assert client.get("/readyz").status_code == 503
    world.config.pins.write_text(good)
    assert client.post("/v1/attestations", json=batch.payload).status_code == 200


def test_readiness(client, world):
    """200 with what was seen; 503 with the reason."""
    assert client.get("/readyz").json()["programs"][DISTRIBUTOR]["ready"] is True
    world.chain.down = True
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)


def test_logs_hold_no_evidence(client, world, batch):
    """Signed or refused: event ids, bodies, salts, signatures and secrets are not in the log."""
    with capture_logs() as logs:
        assert client.post("/v1/attestations", json=batch.payload).status_code == 200
        sent = replace(
            batch.deliveries[0],
            delivery=changed(batch.deliveries[0].delivery, "webhook-id", "secret-message-id"),
        )
        assert (
            client.post(
                "/v1/attestations", json=replace(batch, deliveries=(sent,)).payload
            ).status_code
            == 422
        )
        client.post("/v1/attestations", json=change(batch.payload, "deliveries.0.extra", "secret"))
    text = json.dumps(logs)
    assert [entry["event"] for entry in logs] == [
        "batch_signed",
        "request_refused",
        "request_refused",
    ]
    assert {entry.get("reason") for entry in logs} == {None, "signature"}
    sent = batch.deliveries[0]
    secrets = [
        *world.coordinator.secrets.values(),
        sent.delivery.header("webhook-signature"),
        sent.delivery.header("webhook-id"),
        sent.salt.hex(),
        "secret-",
        account(1),
    ]
    assert not [secret for secret in secrets if secret in text]


def test_ready_while_a_slow_signer_signs(client, app, world, batch, monkeypatch):
    """Readiness is answered while the key signs, however long that takes."""
    signing, done = Event(), Event()
    signer = app.state.attestor._signer
    sign = signer.sign_digest

    def slow(digest):
        signing.set()
        assert done.wait(30)
        return sign(digest)

    monkeypatch.setattr(signer, "sign_digest", slow)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/v1/attestations", json=batch.payload)
        try:
            assert signing.wait(30)
            assert client.get("/readyz").status_code == 200
            assert not asked.done()
        finally:
            done.set()
        assert asked.result(30).status_code == 200
