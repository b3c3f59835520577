"""Questions to a node over HTTP (JSON-RPC 2.0), as a provider of web3.

What comes back is an answer of JSON-RPC's form, or an error of ours. The error names the node's
host, says what came back and what to do. It never holds the rest of the URL, where API keys are.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.exceptions import ReadTimeout, RequestException
from urllib3.exceptions import HTTPError
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from backend.chain.node import BadAnswer, RateLimited, TooMuchAsked
from backend.chain.refusals import LOGS, is_too_often, retry_after, shown
from backend.errors import Invalid, Unavailable
from backend.kit.proxies import SOCKS_ADVICE, is_near

TIMEOUT_SECONDS = 30
ANSWER_SECONDS_MAX = 120
"""For a whole answer, however slowly it drips."""
ANSWER_BYTES_MAX = 128 * 2**20
ATTEMPTS = 5
BACKOFF_SECONDS = 0.1
PATIENCE_SECONDS = 30
"""How long one question waits in all for a node that was asked too often."""
SENT_ONCE = ("eth_sendRawTransaction",)
"""A broadcast is repeated by whoever knows what became of the first."""
_HEADERS = {"content-type": "application/json", "accept": "application/json"}
_SECRET_CHARACTERS_MIN = 6


class _Passing(Unavailable):
    """No answer now. The next attempt may get one."""


class RpcProvider(JSONBaseProvider):
    """Asks the node at `url`. Reads are tried several times. For any number of threads."""

    def __init__(
        self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS, attempts: int = ATTEMPTS
    ) -> None:
        """With one attempt nothing is waited for either. Raises Invalid if `url` is not an HTTP(S)
        URL."""
        super().__init__()
        self._timeout_seconds, self._attempts = timeout_seconds, attempts
        self._url, self.where = url, _host(url)
        self._secrets = _secrets(url)
        self._local = threading.local()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """The answer, with a `result` or an `error`.

        Raises Unavailable, RateLimited, BadAnswer, TooMuchAsked.
        """
        question = self.encode_rpc_request(method, params)
        waited_seconds: float = 0
        for attempt in count(1):
            once = method in SENT_ONCE or self._attempts == 1
            last = once or attempt >= self._attempts
            delay_seconds = BACKOFF_SECONDS * 2**attempt
            try:
                return self._ask(method, question)
            except _Passing:
                if last:
                    raise
            except RateLimited as error:
                delay_seconds = max(delay_seconds, error.retry_after_seconds or 0)
                waited_seconds += delay_seconds
                if once or waited_seconds > PATIENCE_SECONDS:
                    raise
            time.sleep(delay_seconds)
        raise AssertionError("unreachable")

    def _ask(self, method: str, question: bytes) -> RPCResponse:
        asking = f"{method}: the node at {self.where}"
        try:
            with self._session().post(
                self._url,
                data=question,
                headers=_HEADERS,
                timeout=self._timeout_seconds,
                stream=True,
                allow_redirects=False,
            ) as response:
                body = _body(response)
                status, wait = response.status_code, response.headers.get("retry-after")
        except _TooLong as found:
            message = f"{asking} {found}"
            raise TooMuchAsked(message) if method == LOGS else BadAnswer(message) from None
        except (RequestException, HTTPError, ValueError, OSError) as found:
            raise self._silence(method, asking, found) from None
        answer = _answer(body, json.loads(question)["id"])
        error = answer.get("error") if answer else None
        named = error if isinstance(error, Mapping) else None
        if status == 429 or (named and is_too_often(method, named)):
            said = f": {self._clean(named.get('message'))}" if named else ""
            raise RateLimited(
                f"{asking} was asked too often (HTTP {status}){said}: ask less, or use a node with "
                "a higher limit",
                retry_after(wait, named),
            )
        if status == 413 and method == LOGS:
            raise TooMuchAsked(f"{asking} finds the answer too large (HTTP 413)")
        if answer is not None and (status == 200 or (error and status not in (502, 503, 504))):
            return cast(RPCResponse, self._redacted(answer))
        raise self._strange(asking, status, body)

    def _session(self) -> requests.Session:
        """This thread's session: a session is not made for several."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = not is_near(self._url)
        return session

    def _silence(self, method: str, asking: str, error: Exception) -> Unavailable:
        # The text of an HTTP client's error holds the URL, and URLs hold API keys.
        if "SOCKS" in str(error):
            return Unavailable(f"{asking} was not asked: {SOCKS_ADVICE}")
        if "Proxy URL" in str(error) or isinstance(error, requests.exceptions.InvalidURL):
            return Unavailable(
                f"{asking} was not asked: its URL, or a proxy of the environment (ALL_PROXY, "
                "HTTP_PROXY or HTTPS_PROXY), is no URL of the form http://host:port: correct it, "
                "or unset the variable"
            )
        through = " by the proxy" if isinstance(error, requests.exceptions.ProxyError) else ""
        silence = f"{asking} does not answer{through} ({type(error).__name__})"
        if isinstance(error, ReadTimeout) and method == LOGS:
            return TooMuchAsked(f"{silence}: fewer blocks may take less long")
        return _Passing(silence)

    def _strange(self, asking: str, status: int, body: bytes) -> Unavailable:
        said = f"{asking} answered HTTP {status} with {self._described(body)}"
        if status >= 500 or status in (408, 425):
            return _Passing(f"{said}: it may be down or overloaded")
        if status in (401, 402, 403):
            return BadAnswer(f"{said}: it refuses access; check the key in the node's URL")
        if 300 <= status < 400:
            return BadAnswer(f"{said}: it leads elsewhere; use the URL that it leads to")
        return BadAnswer(
            f"{said}, which is no answer of an Ethereum node: check that the URL is that of its "
            "JSON-RPC"
        )

    def _described(self, body: bytes) -> str:
        text = body[:2000].decode(errors="replace").strip()
        if not text:
            return "nothing"
        if text.startswith("<"):
            return "a web page"
        return f"`{self._clean(text[:80])}`"

    def _clean(self, said: Any) -> str:
        """What the node said, without what only its URL may hold."""
        text = shown(said)
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    def _redacted(self, answer: dict[str, Any]) -> dict[str, Any]:
        error = answer.get("error")
        if isinstance(error, dict):
            told = {
                name: self._clean(value)
                for name, value in error.items()
                # Revert data is long, and is data.
                if isinstance(value, str) and not (name == "data" and "0x" in value)
            }
            return {**answer, "error": error | told}
        return {**answer, "error": self._clean(error)} if isinstance(error, str) else answer


class _TooLong(Exception):
    """An answer beyond a bound, which the text names."""


def _body(response: requests.Response) -> bytes:
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    body = bytearray()
    for part in cast(Iterator[bytes], response.iter_content(1 << 16)):
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            raise _TooLong(f"answers with more than {ANSWER_BYTES_MAX} bytes")
        if time.monotonic() > deadline:
            raise _TooLong(f"has not finished its answer after {ANSWER_SECONDS_MAX} s")
    return bytes(body)


def _answer(body: bytes, number: int) -> dict[str, Any] | None:
    """The JSON-RPC answer to question `number` in `body`, or None if there is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    answers = answer.get("id") in (number, str(number)) or (
        # A node that could not read the question answers without its number.
        answer.get("id") is None and error is not None
    )
    return answer if answers and (error is not None or "result" in answer) else None


def _host(url: str) -> str:
    """`host:port`: all of a URL that may be shown. Raises Invalid."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise Invalid("rpc_url: expected http(s)://host[:port][/path]", field="rpc_url")
    return f"{host}:{port}" if port else host


def _secrets(url: str) -> list[str]:
    """The parts of a URL that may be keys, longest first: user, password, path, query."""
    parts = urlsplit(url)
    words = [parts.username or "", parts.password or "", *parts.path.split("/")]
    words += [value for _, value in parse_qsl(parts.query)]
    return sorted({word for word in words if len(word) >= _SECRET_CHARACTERS_MIN}, key=len)[::-1]
