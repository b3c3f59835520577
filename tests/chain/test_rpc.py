"""backend/chain/rpc.py and web3_node.py against a real HTTP server that answers what no node
should: only errors of ours come out, and none of them holds the URL's key."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.chain import rpc
from backend.chain.decode import Malformed, block, frames, logs, receipt, transaction
from backend.chain.fees import FeePolicy
from backend.chain.finality import final_block
from backend.chain.node import BadAnswer, NodeRefused, RateLimited, TooMuchAsked
from backend.chain.web3_node import Web3Node, connect
from backend.errors import Invalid, Unavailable
from tests.support.program import account

ADDRESS, HASH = account("x").address, b"\x01" * 32
KEY = "s3cr3tkey0123456789"
Answer = Callable[[dict[str, Any]], bytes]


class _Server(ThreadingHTTPServer):
    """A node that answers with `answer(question)`, a status and headers."""

    daemon_threads = True
    answer: Answer
    status = 200
    headers: tuple[tuple[str, str], ...] = ()
    asked = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked += 1
        body = self.server.answer(question)
        self.send_response(self.server.status)
        for name, value in self.server.headers:
            self.send_header(name, value)
        if not any(name == "content-length" for name, _ in self.server.headers):
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def node(server: _Server) -> Web3Node:
    _say(server, result("0x1"))
    port = server.server_address[1]
    return connect(f"http://user:{KEY}@127.0.0.1:{port}/v3/{KEY}?token={KEY}")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "BACKOFF_SECONDS", 0)
    monkeypatch.setattr(rpc, "ATTEMPTS", 3)


def _say(server: _Server, answer: Answer, status: int = 200, **headers: str) -> None:
    server.answer, server.status, server.asked = answer, status, 0
    server.headers = tuple((name.replace("_", "-"), value) for name, value in headers.items())


def raw(body: bytes) -> Answer:
    return lambda _: body


def result(value: Any) -> Answer:
    return lambda question: json.dumps(
        {"jsonrpc": "2.0", "id": question["id"], "result": value}
    ).encode()


def failed(message: Any, code: Any = -32000, **more: Any) -> Answer:
    return lambda question: json.dumps(
        {
            "jsonrpc": "2.0",
            "id": question["id"],
            "error": {"code": code, "message": message, **more},
        }
    ).encode()


METHODS: dict[str, Callable[[Web3Node], object]] = {
    "chain_id": lambda node: node.chain_id(),
    "block_number": lambda node: node.block_number(),
    "block": lambda node: node.block("latest"),
    "block by hash": lambda node: node.block("0x" + HASH.hex()),
    "code": lambda node: node.code(ADDRESS, 7),
    "balance": lambda node: node.balance(ADDRESS),
    "transaction_count": lambda node: node.transaction_count(ADDRESS),
    "call": lambda node: node.call(ADDRESS, b"\x01"),
    "estimate_gas": lambda node: node.estimate_gas(ADDRESS, b"", sender=ADDRESS),
    "logs": lambda node: node.logs(ADDRESS, [HASH, None], 1, 9),
    "receipt": lambda node: node.receipt(HASH),
    "transaction": lambda node: node.transaction(HASH),
    "fee_history": lambda node: node.fee_history(4),
    "priority_fee": lambda node: node.priority_fee(),
    "gas_price": lambda node: node.gas_price(),
    "send_raw": lambda node: node.send_raw(b"\x02"),
    "quote": lambda node: FeePolicy(10**12).quote(node),
    "final": lambda node: final_block(node, "12"),
}
DEEP = b"[" * 100_000
NO_ANSWERS: dict[str, Answer] = {
    "a web page": raw(b"<!DOCTYPE html><html><title>Sign in</title></html>"),
    "a list": raw(b"[]"),
    "null": raw(b"null"),
    "a number": raw(b"7"),
    "a text": raw(b'"ok"'),
    "nothing": raw(b""),
    "an empty object": raw(b"{}"),
    "no JSON": raw(b"upstream connect error"),
    "bytes": raw(bytes(range(256))),
    "UTF-16": raw('{"result": "0x1"}'.encode("utf-16")),
    "half an answer": lambda question: result("0x1")(question)[:-3],
    "very deep": raw(DEEP),
    "deep inside": lambda question: (
        b'{"id":%d,"result":%s%s}' % (question["id"], DEEP, b"]" * len(DEEP))
    ),
    "a huge number": lambda question: b'{"id":%d,"result":%s}' % (question["id"], b"9" * 5000),
    "another id": lambda question: json.dumps({"id": question["id"] + 1, "result": "0x1"}).encode(),
    "no id": raw(b'{"jsonrpc":"2.0","result":"0x1"}'),
    "a batch": lambda question: b"[" + result("0x1")(question) + b"]",
    "neither": lambda question: json.dumps({"jsonrpc": "2.0", "id": question["id"]}).encode(),
    "a key of ours": raw(f"unknown key {KEY}".encode()),
}


def _refuses(node: Web3Node, method: str) -> Unavailable:
    """The error of a method; nothing but a house error comes out, and it holds no key."""
    with pytest.raises(Unavailable) as caught:
        METHODS[method](node)
    message = str(caught.value)
    assert KEY not in message
    assert message.isprintable()
    assert len(message) < 900
    return caught.value


STATUSES = (200, 400, 401, 403, 404, 429, 500, 503)


@pytest.mark.parametrize(
    ("kind", "status"),
    [(kind, 200) for kind in NO_ANSWERS] + [("a web page", status) for status in STATUSES],
)
def test_what_is_no_answer_is_one_clear_error(
    server: _Server, node: Web3Node, kind: str, status: int
) -> None:
    """Whatever answers in a node's place, with whatever status: every method raises Unavailable,
    which names the host and the status; a trace is none."""
    _say(server, NO_ANSWERS[kind], status, retry_after="99")
    for method in METHODS:
        message = str(_refuses(node, method))
        assert f"127.0.0.1:{server.server_address[1]}" in message, method
        assert f"HTTP {status}" in message, method
    assert node.trace(HASH, ADDRESS) is None


RESULTS = [
    None, True, 7.5, -1, "", "0x", "0xzz", "ff", "0x" + "f" * 65, "0x1", "0x01", [], [None], [[]],
    [{}], {}, {"number": None}, {"number": "0x1", "hash": "0x12", "timestamp": "0x1"},
    {"baseFeePerGas": ["x"]}, {"baseFeePerGas": 5}, {"baseFeePerGas": ["0x1"], "reward": [7]},
    {"baseFeePerGas": {"a": 1}}, {"blockHash": "0x1"}, {"input": 7}, {"logs": 1},
]  # fmt: skip


@pytest.mark.parametrize("value", RESULTS, ids=str)
def test_a_result_of_the_wrong_form_is_one_clear_error(
    server: _Server, node: Web3Node, value: Any
) -> None:
    """A true JSON-RPC answer with any result: each method reads it, or raises an error of ours."""
    _say(server, result(value))
    for ask in METHODS.values():
        with suppress(Unavailable):
            ask(node)
    node.trace(HASH, ADDRESS)


FIELDS = [
    "number", "hash", "timestamp", "address", "topics", "data", "blockNumber", "blockHash",
    "transactionHash", "logIndex", "removed", "status", "gasUsed", "contractAddress", "logs", "to",
    "input", "calls", "type", "error",
]  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("0x" + "ab" * 32),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(value=_JSON)
@settings(max_examples=150)
def test_no_result_breaks_a_reader(value: Any) -> None:
    """Any JSON is read, or Malformed."""
    for read in (block, logs, receipt, transaction, lambda it: frames(it, ADDRESS)):
        with suppress(Malformed):
            read(value)


@pytest.mark.parametrize(
    "answer",
    [
        failed("x" * 5000),
        failed("\x1b[31mred\r\nTraceback"),
        failed({"nested": [1]}),
        failed(None, "no number", data={"a": 1}),
        failed(f"key {KEY} is blocked"),
        failed("no", data=f"see https://node.example/{KEY}"),
        lambda question: json.dumps({"id": question["id"], "error": f"bad {KEY}"}).encode(),
        lambda question: json.dumps({"id": None, "error": {"message": "Parse error"}}).encode(),
        lambda question: json.dumps({"id": question["id"], "error": ["x"]}).encode(),
    ],
)
def test_a_nodes_own_error_is_told_in_one_bounded_line(
    server: _Server, node: Web3Node, answer: Answer
) -> None:
    """Its words, without control characters and without the key of the URL."""
    _say(server, answer)
    for method in METHODS:
        if method != "priority_fee":
            _refuses(node, method)
    assert node.priority_fee() is None


def test_a_long_and_a_slow_answer_have_a_bound(
    server: _Server, node: Web3Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer beyond the bytes is cut: for logs this means to ask for fewer blocks."""
    monkeypatch.setattr(rpc, "ANSWER_BYTES_MAX", 200_000)
    _say(server, result("0x" + "ab" * 150_000))
    assert isinstance(_refuses(node, "code"), BadAnswer)
    assert isinstance(_refuses(node, "logs"), TooMuchAsked)
    monkeypatch.setattr(rpc, "ANSWER_SECONDS_MAX", -1)
    _say(server, result("0x01"))
    assert "not finished" in str(_refuses(node, "code"))


def test_a_truncated_answer_is_no_answer(server: _Server, node: Web3Node) -> None:
    """A connection that ends before the announced length."""
    _say(server, result("0x1"), content_length="5000", connection="close")
    _refuses(node, "chain_id")


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_is_told(server: _Server, node: Web3Node, status: int) -> None:
    """It is not followed: the URL with its key would be told to a stranger."""
    _say(server, raw(b""), status, location="http://127.0.0.1:9/elsewhere")
    assert "leads elsewhere" in str(_refuses(node, "chain_id"))


def test_reads_are_tried_again_and_broadcasts_are_not(server: _Server, node: Web3Node) -> None:
    """A node that recovers is not an error; what may have been broadcast is said to be unknown."""
    answers = iter([503, 502, 200])

    def recovering(question: dict[str, Any]) -> bytes:
        server.status = next(answers)
        return result("0x5")(question) if server.status == 200 else b"overloaded"

    _say(server, recovering)
    assert node.block_number() == 5
    _say(server, raw(b"down"), 503)
    assert "outcome unknown" in str(_refuses(node, "send_raw"))
    assert server.asked == 1


def test_a_node_asked_too_often_is_asked_again_later(
    server: _Server, node: Web3Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 waits as long as Retry-After says, at most PATIENCE_SECONDS; it never halves a range."""
    waits: list[float] = []
    monkeypatch.setattr(rpc.time, "sleep", waits.append)
    statuses = iter([429, 429, 200])

    def patient(question: dict[str, Any]) -> bytes:
        server.status = next(statuses)
        return result([])(question)

    _say(server, patient, retry_after="7")
    assert node.logs(ADDRESS, [], 1, 9) == []
    assert waits == [7, 7]
    _say(server, raw(b"slow down"), 429, retry_after="3600")
    error = _refuses(node, "logs")
    assert isinstance(error, RateLimited)
    assert error.retry_after_seconds == 3600
    assert waits == [7, 7]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "expected http"),
        ("ws://127.0.0.1:1", "expected http"),
        ("127.0.0.1:8545", "expected http"),
        ("http://", "expected http"),
        ("http://[::1", "expected http"),
        ("http://127.0.0.1:99999", "expected http"),
        ("http://127.0.0.1:x", "expected http"),
    ],
)
def test_a_url_that_is_none_is_told(url: str, said: str) -> None:
    """Before anything is asked."""
    with pytest.raises(Invalid, match=said):
        connect(url)


def test_nothing_there_is_told_with_the_host_alone() -> None:
    """Where nothing listens, and where the name is unknown."""
    for host in ("127.0.0.1:9", "no-such-name.invalid"):
        with pytest.raises(Unavailable, match=re.escape(f"answers at {host}")) as caught:
            connect(f"http://{host}/v3/{KEY}")
        assert KEY not in str(caught.value)


def test_a_refusal_keeps_its_kind(server: _Server, node: Web3Node) -> None:
    """With an HTTP status too: an error of JSON-RPC is what the node said."""
    for status in (200, 400, 403, 500):
        _say(server, failed("missing trie node", -32000), status)
        assert type(_refuses(node, "code")) is NodeRefused
