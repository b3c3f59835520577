"""The lead's client: whatever an attestor answers, or does not, becomes a typed outcome."""

import asyncio
import gzip
import time

import pytest

from backend.attestation.client import (
    ANSWER_BYTES_MAX,
    SIGNATURE_BYTES_MAX,
    AskAgain,
    Attested,
    LeavesAsked,
    Refusal,
    open_client,
    request_attestation,
    send_leaves,
)
from backend.attestor.errors import (
    AlreadyLanded,
    Halted,
    MissingLeaves,
    OtherDigestSigned,
    Refused,
    StateBehind,
)
from backend.errors import TooLarge, Unauthorized
from tests.attestation.servers import answering, drip_body, drip_head, hang, serving
from tests.support.patience import idle_seconds

DIGEST = b"\7" * 32
ATTESTOR = "0x" + "11" * 20
GOOD = {"attestor": ATTESTOR, "digest": "0x" + DIGEST.hex(), "signature": "0x" + "22" * 65}


def run(url, *, body=b"{}", digest=DIGEST, token=None, seconds=5, leaves=False):
    """One request with a client of its own."""

    async def go():
        async with open_client(token, [url]) as http:
            if leaves:
                return await send_leaves(http, url, body, seconds=seconds)
            return await request_attestation(http, url, body, digest, seconds=seconds)

    return asyncio.run(go())


def ask(status, body):
    with answering(status, body) as server:
        return run(server.url)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Refused("home", "m", item=3), Refusal("refused", "m", "home", 3, "items")),
        (
            Unauthorized("m", field="authorization"),
            Refusal("unauthorized", "m", None, None, "authorization"),
        ),
        (TooLarge("m", field="body"), Refusal("too_large", "m", None, None, "body")),
        (StateBehind("m"), AskAgain("state_behind", "m")),
        (OtherDigestSigned("m"), AskAgain("other_digest_signed", "m")),
        (AlreadyLanded("m"), AskAgain("already_landed", "m")),
        (Halted("m"), AskAgain("halted", "m")),
        (MissingLeaves(ATTESTOR, [(0, 1), (2, 3)]), LeavesAsked(((0, 1), (2, 3)), ATTESTOR)),
    ],
)
def test_errors(error, outcome):
    """Each error of an attestor has its outcome."""
    assert ask(error.status, error.to_json()) == outcome


def missing(place):
    return (
        b'{"error":{"code":"missing_leaves","message":"","retryable":false,"batches":[%s]}}' % place
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"\xff",
        b'{"error": 1}',
        b'{"error": {"code": "missing_leaves"}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"error":{"code":"missing_leaves","message":"","retryable":false}}',
        missing(b'{"bucket":Infinity,"sequence":1}'),
        missing(b'{"bucket":1e999,"sequence":1}'),
        missing(b'{"bucket":-1,"sequence":1}'),
        missing(b'{"bucket":0,"sequence":9223372036854775808}'),
        missing(b'{"bucket":0,"sequence":%s}' % (b"9" * 5000)),
        missing(b'{"bucket":"0","sequence":true}'),
        missing(b"[0,1]"),
    ],
)
def test_unreadable_errors(body):
    """A proxy's 502 is worth asking again; another answer that cannot be read is not."""
    assert ask(502, body).code == "bad_answer"
    assert isinstance(ask(502, body), AskAgain)
    assert isinstance(ask(404, body), Refusal)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        {},
        {"attestor": 1},
        {"attestor": "0x12", "digest": "0x", "signature": "0x"},
        {**GOOD, "digest": "zz"},
    ],
)
def test_unreadable_attestation(body):
    """A 200 that holds no attestation is refused."""
    assert ask(200, body) == Refusal("bad_answer", "the answer is not an attestation")


def test_words_are_cut_and_cleaned():
    """What an attestor says ends in a log and in PostgreSQL, which takes no NUL: it is short and
    can be printed."""
    body = {
        "error": {
            "code": "c\0d\n",
            "message": "m" * 10_000,
            "retryable": False,
            "reason": "\u2028\x1b[2J",
            "item": 1,
        }
    }
    outcome = ask(422, body)
    assert (outcome.code, outcome.message, outcome.reason) == (
        "c\ufffdd\ufffd",
        "m" * 300,
        "\ufffd\ufffd[2J",
    )


def test_unreachable():
    """No connection, no answer, no URL: ask again later."""
    with answering(200, {}) as server:
        pass
    assert run(server.url) == AskAgain("unreachable", "ConnectError")
    assert isinstance(run(server.url, leaves=True), AskAgain)
    for url in ("http://[", "ftp://localhost", "localhost", ""):
        assert run(url).code == "unreachable"


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("respond", [hang, drip_head, drip_body])
def test_deadline(respond, leaves):
    """The deadline is for the whole answer: one that comes a byte at a time does not push it
    off."""
    with serving(respond) as server:
        started = time.monotonic()
        assert run(server.url, seconds=0.5, leaves=leaves) == AskAgain(
            "timeout", "no whole answer within 0.5 s"
        )
        assert idle_seconds(started) < 3


@pytest.mark.parametrize(
    "body", [b" " * (ANSWER_BYTES_MAX + 1), b" " * 50 * 2**20], ids=["a byte", "50 MB"]
)
def test_long_answers(body):
    """An answer is read up to its limit, no further."""
    assert ask(200, body) == Refusal(
        "bad_answer", f"the answer is longer than {ANSWER_BYTES_MAX} bytes"
    )


def test_compressed_answers_stay_so():
    """Few bytes that would unpack to many are not unpacked."""

    def respond(path, payload, write):
        data = gzip.compress(b" " * 10 * ANSWER_BYTES_MAX)
        write(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(data)
            + data
        )

    with serving(respond) as server:
        assert run(server.url) == Refusal("bad_answer", "the answer is not an attestation")


def test_another_digest():
    """A signature over anything but what the lead computed is worthless."""
    assert ask(200, {**GOOD, "digest": "0x" + "08" * 32}).field == "digest"


def test_signature_s_size():
    """A contract's signature may be longer than a key's, up to a limit: every byte of it is paid
    for."""
    long = "0x" + "22" * SIGNATURE_BYTES_MAX
    assert ask(200, {**GOOD, "signature": long}) == Attested(
        ATTESTOR, DIGEST, b"\x22" * SIGNATURE_BYTES_MAX
    )
    outcome = ask(200, {**GOOD, "signature": long + "22"})
    assert (outcome.code, outcome.field) == ("bad_answer", "signature")


def test_attested():
    """An answer comes back as bytes; the token and the payload are sent."""
    with answering(200, GOOD) as server:
        assert run(server.url + "/", body=b'{"a":1}', token="t0ken") == Attested(
            ATTESTOR, DIGEST, b"\x22" * 65
        )
    assert server.seen == [("/v1/attestations", "Bearer t0ken", {"a": 1})]


def test_leaves():
    """204 is None, a refusal is a refusal, and missing leaves make no sense here."""
    with answering(204, None) as server:
        assert run(server.url, body=b'{"b":2}', leaves=True) is None
    assert server.seen == [("/v1/leaves", None, {"b": 2})]
    for error, code in (
        (Refused("interactions_root", "m"), "refused"),
        (MissingLeaves(ATTESTOR, [(0, 1)]), "bad_answer"),
    ):
        with answering(error.status, error.to_json()) as server:
            assert run(server.url, leaves=True).code == code
