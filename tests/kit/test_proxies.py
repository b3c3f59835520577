"""backend/kit/proxies.py: no proxy of the environment stands before a near server; before a far one
it does."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from backend.attestation.client import open_client
from backend.chain.web3_node import connect
from backend.client.partner_client import PartnerClient, Reported
from backend.errors import Unavailable
from backend.kit.proxies import async_client, is_near, sync_client

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
FAR = "http://far.example"


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://127.0.0.1:8545", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80/x", True),
        ("http://LOCALHOST:1", True),
        ("http://localhost.:1", True),
        ("http://api.localhost", True),
        ("http://0.0.0.0:8000", True),
        ("http://attestor-0:8700", True),
        ("http://anvil", True),
        ("https://mainnet.example.org/v3/key", False),
        ("http://10.0.0.1", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://user:127.0.0.1@far.example", False),
    ],
)
def test_near_is_the_own_machine_and_names_without_a_dot(url: str, near: bool) -> None:
    """A name that only begins like a near one is far."""
    assert is_near(url) is near


class Server(ThreadingHTTPServer):
    """Answers every POST with `body`, under the question's id, and keeps the request lines."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body, self.asked = body, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(self.path)
        body = self.server.body.replace(b"ID", str(question.get("id")).encode())
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(body: bytes) -> Iterator[Server]:
    server = Server(body)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


CHAIN_ID = b'{"jsonrpc": "2.0", "id": ID, "result": "0x1"}'
RESULTS = b'{"results": [{"status": "accepted"}]}'


def ask_node(url: str) -> None:
    assert connect(url).chain_id() == 1


def ask_api(url: str) -> None:
    client = PartnerClient(url, "main", "adnet", "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert client.report([Reported("e", "0x" + "11" * 20, 1, 1)]) == {"accepted": 1}
    client.close()


def ask_attestor(url: str) -> None:
    async def go() -> None:
        async with open_client("token", [url]) as http:
            assert (await http.post(url, content=b"{}")).status_code == 200

    asyncio.run(go())


CALLS = [(ask_node, CHAIN_ID), (ask_api, RESULTS), (ask_attestor, b"{}")]


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense://x", "http://[::1"]
)
@pytest.mark.parametrize(("call", "body"), CALLS)
def test_a_near_server_is_asked_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[str], None], body: bytes, proxy: str
) -> None:
    """Node, API and attestor on this machine answer whatever proxy the environment names."""
    for name in VARIABLES:
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(body) as server:
        call(server.url)
        assert server.asked


@pytest.mark.parametrize(("call", "body"), CALLS)
def test_a_far_server_is_asked_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[str], None], body: bytes
) -> None:
    """A host elsewhere is asked as the environment says."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with serving(body) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        call(FAR)
        assert proxy.asked
        assert all(path.startswith(FAR) for path in proxy.asked)


@pytest.mark.parametrize(
    ("proxy", "said"),
    [("socks5://me:hidden@127.0.0.1:9", r"SOCKS.*pip install"), ("odd://hidden@x", "correct it")],
)
def test_a_proxy_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, proxy: str, said: str
) -> None:
    """What to install or to correct, and no password: for the node, the API and attestors."""
    for name in VARIABLES:
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for call in (
        lambda: connect(FAR),
        lambda: sync_client(FAR, timeout_seconds=1),
        lambda: async_client([FAR], headers={}, timeout=httpx.Timeout(1)),
    ):
        with pytest.raises(Unavailable, match=said) as caught:
            call()
        assert "hidden" not in str(caught.value)
