"""A fast way to thousands of calls: raw JSON-RPC to an Anvil, calldata by ABI, custom errors by
name, and signatures from prepared nonces."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlparse

from eth_abi import decode, encode
from eth_keys.datatypes import PrivateKey
from eth_utils import keccak

from scripts.compile import ARTIFACTS
from tests.support.anvil import anvil

GAS = 30_000_000
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@cache
def artifact(name: str) -> dict[str, Any]:
    """The compiled contract of that name."""
    return json.loads((ARTIFACTS / f"{name}.json").read_text())


def canonical(parameter: dict[str, Any]) -> str:
    """The ABI type of a parameter, tuples written out."""
    if not parameter["type"].startswith("tuple"):
        return parameter["type"]
    inner = ",".join(canonical(part) for part in parameter["components"])
    return f"({inner}){parameter['type'].removeprefix('tuple')}"


class Interface:
    """Encoding and decoding of one contract's calls, errors and events."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.functions: dict[str, tuple[bytes, list[str], list[str]]] = {}
        self.errors: dict[bytes, tuple[str, list[str]]] = {}
        self.events: dict[bytes, tuple[str, list[tuple[str, bool]]]] = {}
        for entry in artifact(name)["abi"]:
            types = [canonical(part) for part in entry.get("inputs", ())]
            selector = keccak(text=f"{entry.get('name')}({','.join(types)})")
            if entry["type"] == "function":
                self.functions[entry["name"]] = (
                    selector[:4],
                    types,
                    [canonical(part) for part in entry["outputs"]],
                )
            elif entry["type"] == "error":
                self.errors[selector[:4]] = (entry["name"], types)
            elif entry["type"] == "event":
                indexed = [part["indexed"] for part in entry["inputs"]]
                self.events[selector] = (entry["name"], list(zip(types, indexed, strict=True)))

    def encode(self, function: str, args: Sequence[Any]) -> bytes:
        selector, types, _ = self.functions[function]
        return selector + encode(types, args)

    def decode(self, function: str, data: bytes) -> tuple[Any, ...]:
        return decode(self.functions[function][2], data)

    def error(self, data: bytes) -> tuple[Any, ...]:
        """(name, arguments...) of revert data. Raises AssertionError for anything but one of the
        contract's custom errors."""
        assert data[:4] in self.errors, (
            f"{self.name} reverted with {data.hex() or 'no data'}, which is none of its errors"
        )
        name, types = self.errors[data[:4]]
        return name, *decode(types, data[4:])

    def event(self, log: dict[str, Any]) -> tuple[Any, ...]:
        """(name, arguments in the order of the declaration...) of a log."""
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        name, parameters = self.events[topics[0]]
        plain = iter(
            decode(
                [kind for kind, indexed in parameters if not indexed],
                bytes.fromhex(log["data"][2:]),
            )
        )
        keyed = iter(topics[1:])
        return name, *(
            decode([kind], next(keyed))[0] if indexed else next(plain)
            for kind, indexed in parameters
        )


class Node:
    """An Anvil whose blocks bear the times that the caller says, and that takes transactions from
    any address for free."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urlparse(url).netloc, timeout=120)

    def _post(self, body: Any) -> Any:
        self._connection.request(
            "POST", "/", json.dumps(body), {"Content-Type": "application/json"}
        )
        return json.loads(self._connection.getresponse().read())

    def rpc(self, method: str, *params: Any) -> Any:
        """Raises RuntimeError with the node's message."""
        answer = self._post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def calls(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """What (contract, calldata) pairs answer, all at the newest block; b"" and revert data are
        prefixed by nothing: see `refusal`."""
        return [result for _, result in self.outcomes([(None, to, data) for to, data in calls])]

    def outcomes(
        self, calls: Sequence[tuple[str | None, str, bytes]], time: int | None = None
    ) -> list[tuple[bool, bytes]]:
        """(went through, returned or revert data) of each (sender, contract, calldata), in a block
        of that time."""
        overrides = [{}, {"time": hex(time)}] if time is not None else []
        body = [
            {
                "jsonrpc": "2.0",
                "id": i,
                "method": "eth_call",
                "params": [_transaction(sender, to, data), "latest", *overrides],
            }
            for i, (sender, to, data) in enumerate(calls)
        ]
        answers = sorted(self._post(body), key=lambda answer: answer["id"])
        return [_outcome(answer) for answer in answers]

    def call_with_gas(self, call: dict[str, str], gas: int) -> tuple[bool, bytes]:
        """(went through, returned or revert data) of a call with so much gas."""
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_call"}
        return _outcome(self._post(body | {"params": [call | {"gas": hex(gas)}, "latest"]}))

    def send(self, sender: str, to: str | None, data: bytes, time: int) -> dict[str, Any]:
        """The receipt of a transaction in a block of its own, of that time."""
        self.rpc("evm_setNextBlockTimestamp", time)
        return self.rpc("eth_sendTransactionSync", _transaction(sender, to, data))

    def deploy(self, creation: bytes, sender: str, time: int) -> str:
        receipt = self.send(sender, None, creation, time)
        assert receipt["status"] == "0x1", "the contract was not deployed"
        return receipt["contractAddress"]

    def set_code(self, address: str, code: str) -> None:
        self.rpc("anvil_setCode", address, "0x" + code)


def _transaction(sender: str | None, to: str | None, data: bytes) -> dict[str, str]:
    fields = {"data": "0x" + data.hex(), "gas": hex(GAS), "gasPrice": "0x0"}
    return fields | ({"from": sender} if sender else {}) | ({"to": to} if to else {})


def _outcome(answer: dict[str, Any]) -> tuple[bool, bytes]:
    if "error" not in answer:
        return True, bytes.fromhex(answer["result"][2:])
    data = answer["error"].get("data")
    assert isinstance(data, str), f"the node failed: {answer['error']}"
    return False, bytes.fromhex(data[2:])


def creation(name: str, types: Sequence[str] = (), args: Sequence[Any] = ()) -> bytes:
    """Creation code of a contract with its constructor's arguments."""
    return bytes.fromhex(artifact(name)["bytecode"][2:]) + encode(types, args)


def place_ideal_verifier(node: Node, address: str) -> None:
    """contracts/mocks/IdealVerifier.sol at `address`. Whoever wants it to accept must know exactly
    what the Distributor passes."""
    node.set_code(address, artifact("IdealVerifier")["deployedBytecode"].removeprefix("0x"))


def ideal_proof(signals: Sequence[int]) -> list[int]:
    """The proof of a statement in the eyes of the ideal verifier."""
    return [
        int.from_bytes(keccak(b"".join(signal.to_bytes(32, "big") for signal in signals)), "big"),
        *[0] * 7,
    ]


@contextmanager
def node() -> Iterator[Node]:
    """A fresh chain for a fuzz."""
    options = {
        "auto_impersonate": True,
        "gas_price": 0,
        "block_base_fee_per_gas": 0,
        "hardfork": "prague",
        "timestamp": 1_800_000_000,
    }
    with anvil(**options, disable_block_gas_limit=True, prune_history=True) as chain:
        yield Node(chain.url)


@cache
def _nonce(index: int) -> tuple[int, int, int]:
    """(k, x of k*G, parity of its y)."""
    k = int.from_bytes(keccak(text=f"nonce {index}"), "big") % CURVE_ORDER
    point = PrivateKey(k.to_bytes(32, "big")).public_key.to_bytes()
    return k, int.from_bytes(point[:32], "big"), point[63] & 1


def sign(digest: bytes, key: int) -> bytes:
    """An ECDSA signature, r || s || v, low s.

    The nonces are a few that are known: fast, and good for keys of tests alone.
    """
    k, x, parity = _nonce(digest[0] & 15)
    r = x % CURVE_ORDER
    s = pow(k, -1, CURVE_ORDER) * (int.from_bytes(digest, "big") + r * key) % CURVE_ORDER
    if s > CURVE_ORDER // 2:
        s, parity = CURVE_ORDER - s, parity ^ 1
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + parity])
