"""Bad requests through the real API: each gets a 4xx that names the field, valid neighbours are
booked, nothing is lost."""

import gzip
import json
from typing import Any

import pytest

from backend.partner.schemes.standard_webhooks import generate_secret
from tests.support.engine import Api, address, item, now, signature


def refused(answer: Any, status: int, field: str, code: str | None = None) -> dict[str, Any]:
    """The error of a refused request, whose shape is checked."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "field", "retryable", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    assert (error["field"], error["retryable"]) == (field, status >= 500)
    assert error["message"]
    assert code is None or error["code"] == code
    return error


def bad_item(event: str = "bad", **changes: Any) -> dict[str, Any]:
    """A well-formed item with fields replaced; None takes one away."""
    return {
        key: value for key, value in (item(event, "mallory") | changes).items() if value is not None
    }


WRONG_CHECKSUM = address("mallory")[:2] + address("mallory")[2:].swapcase()

BAD_ITEMS: dict[str, tuple[Any, str]] = {
    "amount 0": (bad_item(amount="0"), "amount"),
    "amount 00": (bad_item(amount="00"), "amount"),
    "amount negative": (bad_item(amount="-5"), "amount"),
    "amount with plus": (bad_item(amount="+5"), "amount"),
    "amount fractional": (bad_item(amount="1.5"), "amount"),
    "amount whole fraction": (bad_item(amount="1.0"), "amount"),
    "amount exponent": (bad_item(amount="1e5"), "amount"),
    "amount hex": (bad_item(amount="0x10"), "amount"),
    "amount leading zero": (bad_item(amount="01"), "amount"),
    "amount with space": (bad_item(amount=" 1"), "amount"),
    "amount with newline": (bad_item(amount="1\n"), "amount"),
    "amount with separators": (bad_item(amount="1_000"), "amount"),
    "amount in other digits": (bad_item(amount="١٢"), "amount"),
    "amount superscript": (bad_item(amount="5²"), "amount"),
    "amount empty": (bad_item(amount=""), "amount"),
    "amount 2^96": (bad_item(amount=str(2**96)), "amount"),
    "amount 2^96 + 1": (bad_item(amount=str(2**96 + 1)), "amount"),
    "amount 2^256": (bad_item(amount=str(2**256)), "amount"),
    "amount of 5,000 digits": (bad_item(amount="9" * 5000), "amount"),
    "amount number": (bad_item(amount=5), "amount"),
    "amount float": (bad_item(amount=5.0), "amount"),
    "amount true": (bad_item(amount=True), "amount"),
    "amount list": (bad_item(amount=["5"]), "amount"),
    "amount object": (bad_item(amount={"value": "5"}), "amount"),
    "amount NaN": (bad_item(amount=float("nan")), "amount"),
    "amount Infinity": (bad_item(amount=float("inf")), "amount"),
    "amount missing": (bad_item(amount=None), "amount"),
    "account short": (bad_item(account="0x1234"), "account"),
    "account long": (bad_item(account="0x" + "1" * 41), "account"),
    "account without 0x": (bad_item(account="1" * 40), "account"),
    "account not hex": (bad_item(account="0x" + "g" * 40), "account"),
    "account wrong checksum": (bad_item(account=WRONG_CHECKSUM), "account"),
    "account zero": (bad_item(account="0x" + "0" * 40), "account"),
    "account name": (bad_item(account="alice.eth"), "account"),
    "account with newline": (bad_item(account=address("x").lower() + "\n"), "account"),
    "account number": (bad_item(account=1), "account"),
    "account missing": (bad_item(account=None), "account"),
    "event_id empty": (bad_item(event_id=""), "event_id"),
    "event_id of 129": (bad_item(event_id="e" * 129), "event_id"),
    "event_id with space": (bad_item(event_id="a b"), "event_id"),
    "event_id unicode": (bad_item(event_id="évent"), "event_id"),
    "event_id emoji": (bad_item(event_id="\U0001f600"), "event_id"),
    "event_id lone surrogate": (bad_item(event_id="\ud800"), "event_id"),
    "event_id NUL": (bad_item(event_id="a\0"), "event_id"),
    "event_id number": (bad_item(event_id=7), "event_id"),
    "event_id missing": (bad_item(event_id=None), "event_id"),
    "occurred_at float": (bad_item(occurred_at=float(now())), "occurred_at"),
    "occurred_at bool": (bad_item(occurred_at=True), "occurred_at"),
    "occurred_at text": (bad_item(occurred_at=str(now())), "occurred_at"),
    "occurred_at 0": (bad_item(occurred_at=0), "occurred_at"),
    "occurred_at negative": (bad_item(occurred_at=-1), "occurred_at"),
    "occurred_at huge": (bad_item(occurred_at=2**63), "occurred_at"),
    "occurred_at in the future": (bad_item(occurred_at=now() + 86_400), "occurred_at"),
    "occurred_at milliseconds": (bad_item(occurred_at=now() * 1000), "occurred_at"),
    "occurred_at missing": (bad_item(occurred_at=None), "occurred_at"),
    "unknown field": (bad_item(user_id="u-1"), "user_id"),
    "unknown field lone surrogate": (bad_item(**{"\ud800": 1}), "\\ud800"),
    "unknown field NUL": (bad_item(**{"a\0": 1}), "a\0"),
    "not an object": ("bad", ""),
    "null": (None, ""),
    "a list": ([], ""),
    "empty object": ({}, "event_id"),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_bad_item_between_good_ones(api: Api, name: str) -> None:
    """A bad item is refused by its field; its neighbours are booked; nothing of it is in the
    ledger."""
    bad, field = BAD_ITEMS[name]
    program = api.engine.program(funded=10_000)
    answer = api.post(program, [item("before", "alice", 10), bad, item("after", "bob", 20)])
    assert answer.status_code == 207, answer.text
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["accepted", "rejected", "accepted"]
    assert results[1]["field"] == ("interactions[1]" + (f".{field}" if field else ""))
    assert results[1]["reason"] == "invalid"
    assert results[1]["message"]
    owed = [api.engine.owed(program, address(who)) for who in ("alice", "bob", "mallory")]
    assert (owed, api.engine.budget(program)) == ([10, 20, 0], 10_000 - 30)


@pytest.mark.parametrize(
    "name", ["amount 0", "account wrong checksum", "unknown field lone surrogate", "not an object"]
)
def test_only_bad_items(api: Api, name: str) -> None:
    """A request of which nothing could be booked is a 422, with an answer an item all the same, and
    leaves no row."""
    program = api.engine.program(funded=10_000)
    answer = api.post(program, [BAD_ITEMS[name][0]] * 3)
    assert answer.status_code == 422
    assert [result["status"] for result in answer.json()["results"]] == ["rejected"] * 3
    assert api.engine.budget(program) == 10_000


def test_edges_that_are_good(api: Api) -> None:
    """The largest amount, the longest and strangest event ids, and any one-case address are
    taken."""
    program, alice = api.engine.program(), address("alice")
    ids = ["e" * 128, "a/b/c", "//", "../..", "%2F", "?#&=+", '"\\', "~!@$^*()[]{}|;:'<>,.`"]
    items = [item(event, amount=1) for event in ids]
    items += [
        item("most", amount=2**96 - 1),
        item("lower", account=alice.lower()),
        item("upper", account="0x" + alice[2:].upper()),
    ]
    items += [
        item("now", occurred_at=now()),
        item("clock ahead".replace(" ", "-"), occurred_at=now() + 200),
    ]
    answer = api.post(program, items)
    assert answer.status_code == 200, answer.text
    assert {result["status"] for result in answer.json()["results"]} == {"accepted"}
    assert [result["event_id"] for result in answer.json()["results"]][: len(ids)] == ids
    assert api.engine.owed(program, alice) == len(ids) + 2**96 - 1 + 4 * 1000


BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "body"),
    "broken": (b'{"interactions": [', "body"),
    "not UTF-8": (b'{"interactions": ["\xff"]}', "body"),
    "UTF-16": ('{"interactions": []}'.encode("utf-16"), "body"),
    "gzip": (gzip.compress(b'{"interactions": []}'), "body"),
    "byte order mark": (b"\xef\xbb\xbf" + b'{"interactions": []}', "body"),
    "trailing text": (b'{"interactions": []} x', "body"),
    "two documents": (b'{"interactions": []}{"interactions": []}', "body"),
    "single quotes": (b"{'interactions': []}", "body"),
    "number": (b"5", "body"),
    "NaN": (b"NaN", "body"),
    "a list": (b"[]", "body"),
    "null": (b"null", "body"),
    "no list": (b"{}", "interactions"),
    "object for the list": (b'{"interactions": {}}', "interactions"),
    "null for the list": (b'{"interactions": null}', "interactions"),
    "Infinity for the list": (b'{"interactions": Infinity}', "interactions"),
    "1e5 for the list": (b'{"interactions": 1e5}', "interactions"),
    "empty list": (b'{"interactions": []}', "interactions"),
    "1,001 items": (json.dumps({"interactions": [{}] * 1001}).encode(), "interactions"),
    "unknown outer field": (b'{"interactions": [{}], "partner": "x"}', "partner"),
    "unknown outer lone surrogate": (b'{"interactions": [{}], "\\ud800": 1}', "\\ud800"),
    "outer key twice": (b'{"interactions": [{}], "interactions": [{}]}', "body"),
    "item key twice": (b'{"interactions": [{"amount": "1", "amount": "2"}]}', "body"),
    "surrogate key twice": (b'{"interactions": [{"\\ud800": "1", "\\ud800": "2"}]}', "body"),
    "number of 5,000 digits": (b'{"interactions": [' + b"9" * 5000 + b"]}", "body"),
    "deep list": (b'{"interactions": ' + b"[" * 200_000, "body"),
    "deep object": (b'{"interactions": ' + b'{"a":' * 100_000, "body"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_body(api: Api, name: str) -> None:
    """A body that cannot be read as a whole is a 4xx that names what is at fault, and books
    nothing."""
    body, field = BAD_BODIES[name]
    program = api.engine.program(funded=10_000)
    answer = api.send(program, body)
    refused(answer, 422, field, "invalid")
    assert api.engine.budget(program) == 10_000


def test_huge_body(api: Api) -> None:
    """More bytes than allowed is a 413, before signature and JSON are looked at; the largest
    allowed body is read."""
    program = api.engine.program()
    limit = api.http.app.state.resources.settings.request_bytes_max
    refused(api.send(program, b" " * (limit + 1)), 413, "body", "too_large")
    refused(api.send(program, b" " * limit), 422, "body")
    full = {"interactions": [item(f"{i:0128d}", i) for i in range(1000)]}
    assert len(json.dumps(full, indent=4)) < limit
    assert api.send(program, json.dumps(full, indent=4).encode()).status_code == 200


@pytest.mark.parametrize(
    "name", ["guerdon-partner", "webhook-id", "webhook-timestamp", "webhook-signature"]
)
@pytest.mark.parametrize("value", [None, "", "x" * 1025])
def test_missing_or_oversized_header(api: Api, name: str, value: str | None) -> None:
    """Each of the four headers must be there, and be short; the answer names the one that is
    not."""
    answer = api.post(api.engine.program(), [item("e")], headers={name: value})
    refused(answer, 400 if value and len(value) > 1000 else 401, name)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-signature"])
def test_evidence_headers_are_printable_ascii(api: Api, name: str) -> None:
    """A header that the evidence holds is refused with other characters, though the signature is
    right: each would be six bytes in what the attestors are sent, and a batch more than they take.
    """
    program, body, stamp = api.engine.program(), json.dumps([]).encode(), str(now())
    identity = "msg_\xe9" if name == "webhook-id" else "msg_1"
    honest = signature(api.engine.secrets[program.id, "adnet"], identity, stamp, body)
    value = identity if name == "webhook-id" else honest + " v1,\xe9"
    answer = api.send(
        program, body, message_id=identity, timestamp=stamp, headers={name: value.encode("latin-1")}
    )
    assert "expected printable ASCII" in refused(answer, 401, name, "bad_signature")["message"]


BAD_SIGNATURES: dict[str, Any] = {
    "no v1": "abc",
    "another version": "v2,AAAA",
    "v1 without a comma": "v1",
    "empty v1": "v1,",
    "garbage base64": "v1,%%%not base64%%%",
    "non-ASCII": "v1,é".encode(),
    "not UTF-8": b"v1,\xff\xfe",
    "spaces": "   ",
    "right length": "v1," + "A" * 43 + "=",
    "asymmetric version": "v1a,AAAA",
    "hex": "v1," + "0" * 64,
}


@pytest.mark.parametrize("name", BAD_SIGNATURES)
def test_malformed_signature(api: Api, name: str) -> None:
    """Whatever stands in the signature header, the answer is a 401 that names it, and nothing is
    booked."""
    program = api.engine.program(funded=10_000)
    answer = api.post(program, [item("e")], headers={"webhook-signature": BAD_SIGNATURES[name]})
    refused(
        answer, 401, "webhook-signature", "bad_signature" if BAD_SIGNATURES[name] != "   " else None
    )
    assert api.engine.budget(program) == 10_000


def test_wrong_secret(api: Api) -> None:
    """A signature by another secret is refused; the same body under the right one is booked
    afterwards: nothing is lost."""
    program = api.engine.program()
    refused(
        api.post(program, [item("e")], secret=generate_secret()),
        401,
        "webhook-signature",
        "bad_signature",
    )
    assert api.post(program, [item("e")]).json()["results"][0]["status"] == "accepted"


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp"])
def test_signature_of_something_else(api: Api, changed: str) -> None:
    """The signature covers id, timestamp and body: one changed afterwards, by whoever carries it,
    is refused."""
    program, stamp = api.engine.program(), str(now())
    body = json.dumps({"interactions": [item("e")]}).encode()
    honest = signature(api.engine.secrets[program.id, "adnet"], "msg_1", stamp, body)
    headers = {"webhook-signature": honest}
    if changed == "body":
        answer = api.send(program, body.replace(b"1000", b"9000"), timestamp=stamp, headers=headers)
    elif changed == "webhook-id":
        answer = api.send(program, body, timestamp=stamp, headers=headers | {"webhook-id": "msg_2"})
    else:
        answer = api.send(
            program,
            body,
            timestamp=stamp,
            headers=headers | {"webhook-timestamp": str(int(stamp) + 1)},
        )
    refused(answer, 401, "webhook-signature", "bad_signature")
    assert api.send(program, body, timestamp=stamp, headers=headers).status_code == 200


def test_body_is_verified_as_received(api: Api) -> None:
    """The bytes are what is signed: spacing, key order and escapes survive, and JSON that is merely
    equal does not pass."""
    program, stamp = api.engine.program(), str(now())
    loose = (
        b' {\n "interactions" :[ '
        + json.dumps(item("\u0065-1", "alice")).replace("e-1", "\\u0065-1").encode()
        + b"\t]}  \r\n"
    )
    assert api.send(program, loose).json()["results"][0]["event_id"] == "e-1"
    equal = json.dumps(json.loads(loose)).encode()
    headers = {
        "webhook-signature": signature(
            api.engine.secrets[program.id, "adnet"], "msg_1", stamp, loose
        )
    }
    refused(api.send(program, equal, timestamp=stamp, headers=headers), 401, "webhook-signature")


@pytest.mark.parametrize("offset_seconds", [-301, -86_400, 301, 86_400])
def test_stale_or_future_timestamp(api: Api, offset_seconds: int) -> None:
    """Correctly signed, but more than five minutes ago or ahead: 401 on the timestamp; sign again
    and it is booked."""
    program = api.engine.program()
    refused(
        api.post(
            program, [item("e")], timestamp=str(now() + offset_seconds + (offset_seconds > 0))
        ),
        401,
        "webhook-timestamp",
    )
    assert (
        api.post(
            program, [item("e")], timestamp=str(now() + (290 if offset_seconds > 0 else -290))
        ).status_code
        == 200
    )


@pytest.mark.parametrize(
    "stamp",
    [
        "-1",
        "1.5",
        "1e9",
        "now",
        "9" * 12,
        "9" * 13,
        "9" * 300,
        "²",
        "١٧٦٠٠٠٠٠٠٠",
        " 1",
        "1_0",
        "0x10",
        "00{now}",
        "+{now}",
    ],
)
def test_malformed_timestamp(api: Api, stamp: str) -> None:
    """Only plain Unix seconds are a timestamp, in their one form: what is signed is the header as
    it was sent."""
    text = stamp.format(now=now())
    answer = api.post(
        api.engine.program(),
        [item("e")],
        timestamp=text,
        headers={"webhook-timestamp": text.encode()},
    )
    refused(answer, 401, "webhook-timestamp")


@pytest.mark.parametrize(
    "name", ["nobody", "adnet2", "ADNET", "é", "a b", "' OR 1=1 --", "x" * 200]
)
def test_unknown_partner(api: Api, name: str) -> None:
    """A partner that the program does not have is a 404 that names the field."""
    answer = api.post(api.engine.program(), [item("e")], headers={"guerdon-partner": name.encode()})
    refused(answer, 404, "partner", "unknown_partner")


def test_partner_of_another_program(api: Api) -> None:
    """A partner of one program is nobody in the next, and its secret opens nothing there."""
    first, second = api.engine.program(), api.engine.program()
    api.engine.partner(first, "gamehouse")
    secret = api.engine.secrets[first.id, "gamehouse"]
    refused(api.post(second, [item("e")], "gamehouse", secret=secret), 404, "partner")
    refused(api.post(second, [item("e")], "adnet", secret=secret), 401, "webhook-signature")
    refused(api.post(first, [item("e")], "adnet", secret=secret), 401, "webhook-signature")


@pytest.mark.parametrize("name", ["nowhere", "%00", "0x" + "1" * 40, "x" * 500, "%F0%9F%98%80"])
def test_unknown_program(api: Api, name: str) -> None:
    """A program that is not there is a 404 that names the field, whoever signs."""
    refused(api.send(name, b"{}"), 404, "program", "unknown_program")


def test_unknown_path_and_method(api: Api) -> None:
    """No such path, or not with this method, is answered in the one shape of errors."""
    program = api.engine.program()
    refused(api.http.get("/v1/nothing"), 404, "path")
    refused(api.http.put(f"/v1/programs/{program.name}/interactions", content=b""), 405, "method")


def test_target_too_long(api: Api) -> None:
    """A target that no attestor would take as evidence is a 400, whatever is signed."""
    program = api.engine.program()
    url = f"/v1/programs/{program.name}/interactions?{'x' * 2048}"
    answer = api.http.post(url, content=b"{}", headers={"guerdon-partner": "adnet"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "target")
