"""backend/chain/refusals.py: the words of providers and nodes, as they send them."""

from typing import Any

import pytest

from backend.chain.refusals import LOGS, is_too_much, is_too_often, retry_after, shown

TOO_MUCH = {
    "Infura": (-32005, "query returned more than 10000 results. Try with this range [0x1, 0x2]."),
    "Alchemy, response": (
        -32602,
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range "
        "and no limit on the response size, or you can request any block range with a cap of 10K "
        "logs in the response.",
    ),
    "Alchemy, free": (
        -32600,
        "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range.",
    ),
    "Alchemy, timeout": (-32000, "Query timeout exceeded. Consider reducing your block range."),
    "QuickNode": (-32614, "eth_getLogs is limited to a 10,000 range"),
    "QuickNode, old": (-32602, "eth_getLogs and others are limited to a 10,000 blocks range"),
    "Ankr": (-32600, "block range is too wide"),
    "Ankr, results": (-32062, "Block range is too large"),
    "Chainstack": (-32000, "Block range limit exceeded. See more details at https://docs.example"),
    "public node": (-32701, "exceed maximum block range: 50000"),
    "Binance": (-32005, "limit exceeded"),
    "Cloudflare": (-32047, "Max range of 1000 blocks exceeded: block range too large"),
    "Avalanche": (-32000, "requested too many blocks from 1 to 4000, maximum is set to 2048"),
    "Base": (-32000, "query exceeds max results 20000, retry with the range 1-2000"),
    "reth": (-32602, "query exceeds max block range 100000"),
    "Besu": (-32005, "Requested range exceeds maximum range limit of 5000"),
    "Erigon": (-32000, "query exceeds limit of 10000 logs"),
    "Nethermind": (-32005, "Too many logs requested. Max logs per response is 20000."),
    "drpc": (30, "exceeds the range: ranges over 10000 blocks are not supported on freetier"),
    "Blast": (-32602, "max block range is 500, but got 1000"),
    "Polygon": (-32000, "Block range is too large"),
    "Arbitrum": (-32000, "logs matched by query exceeds limit of 10000"),
    "OnFinality": (-32600, "Result set too large, please narrow down your filter"),
    "a proxy": (-32008, "Response is too big"),
    "a proxy, body": (-32003, "response body exceeded limit"),
}  # fmt: skip
TOO_OFTEN = {
    "Infura": (-32005, "daily request count exceeded, request rate limited"),
    "Infura, project": (-32005, "project ID request rate exceeded"),
    "Alchemy": (
        429,
        "Your app has exceeded its compute units per second capacity. If you have retries enabled, "
        "you can safely ignore this message.",
    ),
    "Alchemy, month": (-32600, "Monthly capacity limit exceeded. Visit the dashboard to upgrade."),
    "QuickNode": (-32007, "50/second request limit reached - reduce calls per second"),
    "QuickNode, day": (-32003, "daily request limit reached - upgrade your account"),
    "Ankr": (-32005, "Too many requests. Please apply an OAuth key to increase your limit"),
    "Chainstack": (-32005, "You've exceeded the RPS limit available on the current plan."),
    "Base": (-32016, "over rate limit"),
    "drpc": (-32090, "Too many requests, reason: call rate limit exhausted, retry in 10s"),
    "Cloudflare": (-32029, "Too many requests."),
    "Blast": (-32098, "exceeded the quota usage"),
    "LlamaNodes": (-32099, "rate-limited"),
    "Tenderly": (-32004, "rate limit exceeded"),
    "throttled": (-32000, "request was throttled"),
}
NEITHER = {
    "pruned": (-32000, "missing trie node 5f1d (path ) state 0x5f1d is not available"),
    "pruned history": (4444, "pruned history unavailable"),
    "beyond the head": (-32000, "header not found"),
    "no method": (-32601, "the method eth_getLogs does not exist/is not available"),
    "bad question": (-32602, "invalid argument 0: json: cannot unmarshal hex string"),
    "access": (-32600, "API key is not allowed to access blockchain"),
    "revert": (3, "execution reverted: rate limit of withdrawals"),
}


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


@pytest.mark.parametrize("who", TOO_MUCH)
def test_too_much_at_once(who: str) -> None:
    """A range or an answer that is too large is no rate limit, and only logs have a range."""
    said = error(*TOO_MUCH[who])
    assert is_too_much(LOGS, said)
    assert not is_too_often(LOGS, said)
    assert not is_too_much("eth_call", said)


@pytest.mark.parametrize("who", TOO_OFTEN)
@pytest.mark.parametrize("method", [LOGS, "eth_call"])
def test_too_often(who: str, method: str) -> None:
    """A rate limit is no range: fewer blocks would be more questions."""
    said = error(*TOO_OFTEN[who])
    assert is_too_often(method, said)
    assert not is_too_much(method, said)


@pytest.mark.parametrize("who", NEITHER)
def test_neither(who: str) -> None:
    """Other refusals stay what they are."""
    said = error(*NEITHER[who])
    assert not is_too_much(LOGS, said)
    assert not is_too_often(LOGS, said)


@pytest.mark.parametrize(
    ("header", "said", "seconds"),
    [
        ("7", None, 7),
        (" 12 ", None, 12),
        ("0", None, 0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None, None),
        ("-1", None, None),
        ("\u0661", None, None),
        (None, None, None),
        (None, {"data": {"rate": {"backoff_seconds": 30}}}, 30),
        (None, {"data": {"rate": {"backoff_seconds": -3}}}, None),
        (None, {"message": "call rate limit exhausted, retry in 10s"}, 10),
        (None, {"message": "retry in 1500ms"}, 2),
        (None, {"message": "retry after 2m"}, 120),
        (None, {"message": 7, "data": "x"}, None),
    ],
)
def test_when_to_ask_again(header: str | None, said: dict[str, Any] | None, seconds: int) -> None:
    """From the header, else from the error; never from a date, which is another clock's."""
    assert retry_after(header, said) == seconds


def test_what_is_shown_is_one_bounded_line() -> None:
    """No control characters, no endless text, whatever comes."""
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for said in ("a\x1b[31m\r\nb\u2028c", "x" * 10_000, deep, None, {"a": 1}):
        assert shown(said).isprintable()
        assert len(shown(said)) <= 301
