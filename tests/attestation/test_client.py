"""The lead's client: whatever an attestor answers, or does not, becomes a typed outcome."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from backend.attestation.client import Attested, MissingLeaves, NotYet, Refused, request_attestation, send_leaves
from backend.attestor.errors import AlreadyLanded, Halted, OtherDigestSigned, StateBehind
from backend.attestor.errors import MissingLeaves as MissingLeavesError
from backend.attestor.errors import Refused as RefusedError
from backend.errors import TooLarge, Unauthorized
from backend.signer import keystore

DIGEST = b"\7" * 32


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return keystore.create(tmp_path_factory.mktemp("key") / "key.json", "x", scrypt_n=2)


@contextmanager
def answering(status, body, seen=None):
    """A server on a port of its own that gives one answer to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            sent = self.rfile.read(int(self.headers["content-length"]))
            if seen is not None:
                seen.append((self.path, self.headers.get("authorization"), json.loads(sent)))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            if status != 204:
                self.send_header("content-length", str(len(data)))
            self.end_headers()
            if status != 204:
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(status, body, digest=DIGEST):
    with answering(status, body) as url:
        return request_attestation(url, None, {"a": 1}, digest=digest, timeout=5)


def signed(signer, digest=DIGEST, **changes):
    return {
        "attestor": signer.address, "digest": "0x" + digest.hex(), "signature": "0x" + signer.sign_digest(digest).hex(), **changes
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RefusedError("home", "m", item=3), Refused("refused", "m", "home", 3, "items")),
        (Unauthorized("m", field="authorization"), Refused("unauthorized", "m", None, None, "authorization")),
        (TooLarge("m", field="body"), Refused("too_large", "m", None, None, "body")),
        (StateBehind("m"), NotYet("state_behind", "m")),
        (OtherDigestSigned("m"), NotYet("other_digest_signed", "m")),
        (AlreadyLanded("m"), NotYet("already_landed", "m")),
        (Halted("m"), NotYet("halted", "m")),
        (MissingLeavesError([(0, 1), (2, 3)]), MissingLeaves(((0, 1), (2, 3)))),
    ],
)
def test_errors(error, outcome):
    """Each error of an attestor has its outcome."""
    assert ask(error.status, error.to_json()) == outcome


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 1}', b'{"error": {"code": "missing_leaves"}}'])
def test_unreadable_errors(body):
    """A proxy's 502 is worth asking again; another answer that cannot be read is not."""
    assert ask(502, body).code == "bad_answer"
    assert isinstance(ask(502, body), NotYet)
    assert isinstance(ask(404, body), Refused)


@pytest.mark.parametrize("body", [b"", b"[]", {}, {"attestor": 1}, {"attestor": "0x12", "digest": "0x", "signature": "0x"}])
def test_unreadable_attestation(body):
    """A 200 that holds no attestation is refused."""
    assert ask(200, body) == Refused("bad_answer", "the answer is not an attestation")


def test_unreachable():
    """No connection, no answer: ask again later."""
    with answering(200, {}) as url:
        pass
    assert request_attestation(url, None, {}, timeout=1) == NotYet("unreachable", "ConnectError")
    assert isinstance(send_leaves(url, None, {}, timeout=1), NotYet)


def test_another_digest(signer):
    """A signature over anything but what the lead computed is worthless."""
    assert ask(200, signed(signer, b"\x08" * 32)).field == "digest"


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: {"attestor": "0x" + "11" * 20},
        lambda answer: {"signature": "0x"},
        lambda answer: {"signature": "0x" + "00" * 65},
        lambda answer: {"signature": "0x" + "ff" * 64 + "1b"},
        lambda answer: {"signature": answer["signature"][:-2] + "00"},
    ],
)
def test_bad_signature(signer, change):
    """A signature that does not recover to the attestor would revert the batch: it is refused here."""
    answer = signed(signer)
    outcome = ask(200, {**answer, **change(answer)})
    assert (outcome.code, outcome.field) == ("bad_answer", "signature")


def test_attested(signer):
    """An honest answer comes back as bytes, with or without a digest to compare; the token and the payload are sent."""
    expected = Attested(signer.address, DIGEST, signer.sign_digest(DIGEST))
    assert ask(200, signed(signer), None) == expected
    seen = []
    with answering(200, signed(signer), seen) as url:
        assert request_attestation(url + "/", "t0ken", {"a": 1}, digest=DIGEST) == expected
    assert seen == [("/v1/attestations", "Bearer t0ken", {"a": 1})]


def test_leaves():
    """204 is None, a refusal is a refusal, and missing leaves make no sense here."""
    seen = []
    with answering(204, b"", seen) as url:
        assert send_leaves(url, None, {"b": 2}) is None
    assert seen == [("/v1/leaves", None, {"b": 2})]
    for error, code in ((RefusedError("interactions_root", "m"), "refused"), (MissingLeavesError([(0, 1)]), "bad_answer")):
        with answering(error.status, error.to_json()) as url:
            assert send_leaves(url, None, {}).code == code
