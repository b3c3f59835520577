"""A Node over JSON-RPC, by web3."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlsplit

from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import RequestTimedOut, TransactionNotFound, Web3Exception
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import BlockIdentifier, FilterParams, LogReceipt, RPCEndpoint

from backend.chain.node import (
    Block,
    BlockId,
    CallReverted,
    FeeHistory,
    Frame,
    Log,
    NodeRefused,
    Receipt,
    Transaction,
)
from backend.errors import Invalid, Unavailable

TIMEOUT_SECONDS = 30
TRACE_TIMEOUT = "20s"
CACHED: dict[str, Any] = {"cache_allowed_requests": True, "cacheable_requests": {"eth_chainId"}}
"""Options of an HTTPProvider: web3 asks for the chain id before every call, and a chain keeps its
id."""

_EXECUTION_FAILED = re.compile(
    r"revert|invalid ?(\w*opcode|jump)|opcode ?not ?found|out ?of ?(gas|offset)"
    r"|stack ?(under|over)flow|write protection"
    r"|gas uint64 overflow|return data out of bounds|vm execution error|bad ?instruction",
    re.IGNORECASE,
)
"""How Geth, Nethermind, Erigon, Besu and Anvil say that a call ran and failed."""


def connect(rpc_url: str) -> "Web3Node":
    """The node at an HTTP(S) URL; reads are tried five times.

    Raises:
        Invalid: not an HTTP(S) URL.
        Unavailable: nothing answers there, or not as an Ethereum node.
    """
    parts = urlsplit(rpc_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid("rpc_url: expected http(s)://host[:port][/path]", field="rpc_url")
    retries = ExceptionRetryConfiguration(errors=(RequestException,), retries=5, backoff_factor=0.1)
    provider = Web3.HTTPProvider(
        rpc_url, {"timeout": TIMEOUT_SECONDS}, exception_retry_configuration=retries, **CACHED
    )
    w3 = Web3(provider)
    # Chains with a proof-of-authority history put more than 32 bytes in extraData, which web3
    # refuses by default.
    w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    # Credentials and API keys are in the path, in the query or before the @: only the host is ever
    # shown.
    where = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    try:
        w3.eth.chain_id  # noqa: B018 - the question is whether it answers
    except (RequestException, Web3Exception, ValueError) as error:
        raise Unavailable(
            f"no Ethereum node answers at {where}: {type(error).__name__}", field="rpc_url"
        ) from None
    return Web3Node(w3)


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Inside, a node that does not answer `what`, or answers with an error, is Unavailable."""
    try:
        yield
    except RequestException as error:
        # The text of an HTTP client's error holds the URL, and URLs hold API keys.
        raise Unavailable(f"{what}: the node does not answer ({type(error).__name__})") from error
    except Web3Exception as error:
        raise NodeRefused(f"{what}: {error}") from error


class Web3Node:
    """Implements Node. `w3` is the client underneath, for tests."""

    def __init__(self, w3: Web3) -> None:
        self.w3 = w3

    def chain_id(self) -> int:
        with _asking("chain id"):
            return self.w3.eth.chain_id

    def block_number(self) -> int:
        with _asking("head"):
            return self.w3.eth.block_number

    def block(self, which: BlockId) -> Block:
        with _asking(f"block {which}"):
            header = self.w3.eth.get_block(_block_id(which))
        return Block(header["number"], bytes(header["hash"]), header["timestamp"])

    def code(self, address: str, block: BlockId = "latest") -> bytes:
        with _asking(f"code of {address}"):
            return bytes(self.w3.eth.get_code(_address(address), _block_id(block)))

    def balance(self, address: str) -> int:
        with _asking("balance"):
            return self.w3.eth.get_balance(_address(address))

    def transaction_count(self, address: str, block: BlockId = "latest") -> int:
        with _asking("transaction count"):
            return self.w3.eth.get_transaction_count(_address(address), _block_id(block))

    def call(
        self,
        to: str | None,
        data: bytes,
        block: BlockId = "latest",
        *,
        sender: str | None = None,
        value: int = 0,
    ) -> bytes:
        where = block if isinstance(block, str) else hex(block)
        answer = self._run("eth_call", [_call(to, data, sender, value), where])
        try:
            return bytes.fromhex(str(answer or "0x").removeprefix("0x"))
        except ValueError as error:
            raise NodeRefused("eth_call: the answer is not hexadecimal") from error

    def estimate_gas(self, to: str | None, data: bytes, *, sender: str, value: int = 0) -> int:
        answer = self._run("eth_estimateGas", [_call(to, data, sender, value), "latest"])
        try:
            return int(str(answer), 16)
        except ValueError as error:
            raise NodeRefused("eth_estimateGas: the answer is not a number") from error

    def logs(
        self, address: str, topics: Sequence[bytes | None], first_block: int, last_block: int
    ) -> list[Log]:
        criteria: FilterParams = {
            "address": _address(address),
            "fromBlock": cast(BlockIdentifier, first_block),
            "toBlock": cast(BlockIdentifier, last_block),
        }
        if topics:
            criteria["topics"] = [None if topic is None else HexBytes(topic) for topic in topics]
        with _asking(f"logs of blocks {first_block} to {last_block}"):
            found = self.w3.eth.get_logs(criteria)
        return [_log(log) for log in found if not log.get("removed")]

    def receipt(self, tx_hash: bytes) -> Receipt | None:
        with _asking("receipt"):
            try:
                found = self.w3.eth.get_transaction_receipt(HexBytes(tx_hash))
            except TransactionNotFound:
                return None
        return Receipt(
            bytes(found["transactionHash"]),
            found["blockNumber"],
            bytes(found["blockHash"]),
            found["status"],
            found["gasUsed"],
            found.get("contractAddress"),
            tuple(_log(log) for log in found["logs"]),
        )

    def transaction(self, tx_hash: bytes) -> Transaction | None:
        with _asking(f"transaction 0x{tx_hash.hex()}"):
            try:
                sent = self.w3.eth.get_transaction(HexBytes(tx_hash))
            except TransactionNotFound:
                return None
        return Transaction(sent.get("to"), bytes(sent["input"]), sent.get("blockNumber"))

    def trace(self, tx_hash: bytes, to: str) -> list[Frame] | None:
        parameters = ["0x" + tx_hash.hex(), {"tracer": "callTracer", "timeout": TRACE_TIMEOUT}]
        try:
            answer = self._raw("debug_traceTransaction", parameters).get("result")
            return None if not answer else _frames(answer, to.lower())
        # Services refuse the method with an HTTP status, and a transaction may be too large to
        # trace in time: the same to the caller.
        except (RequestException, Web3Exception, AttributeError, KeyError, TypeError, ValueError):
            return None

    def fee_history(self, blocks: int) -> FeeHistory:
        with _asking("fee history"):
            history = self.w3.eth.fee_history(blocks, "latest", [50])
        return FeeHistory(
            history["baseFeePerGas"][-1],
            tuple(int(reward[0]) for reward in history.get("reward") or ()),
        )

    def send_raw(self, raw: bytes) -> None:
        try:
            self.w3.eth.send_raw_transaction(HexBytes(raw))
        except (RequestException, Web3Exception, ValueError) as error:
            answer = getattr(error, "rpc_response", None)
            if isinstance(error, RequestTimedOut) or not answer:
                raise Unavailable(f"outcome unknown ({type(error).__name__})") from error
            said = str(answer["error"].get("message"))[:300]
            raise NodeRefused(f"refused ({said})") from error

    def request(self, method: str, parameters: Sequence[Any]) -> Mapping[str, Any]:
        with _asking(method):
            return self._raw(method, parameters)

    def _raw(self, method: str, parameters: Sequence[Any]) -> Mapping[str, Any]:
        answer = self.w3.provider.make_request(RPCEndpoint(method), parameters)
        return cast(Mapping[str, Any], answer)

    def _run(self, method: str, parameters: Sequence[Any]) -> Any:
        """The result of a call that runs code.

        Not through web3's eth.call, which takes some answers of a node that lacks the state for a
        revert.
        """
        answer = self.request(method, parameters)
        # The error first: some proxies send `"result": null` beside it.
        error = answer.get("error")
        if error is None and "result" in answer:
            return answer["result"]
        if not isinstance(error, Mapping):
            raise NodeRefused(f"{method}: {error}")
        message, data = str(error.get("message")), error.get("data")
        said = f"{message} {data or ''}".strip()
        if error.get("code") == 3 or _EXECUTION_FAILED.search(said):
            raise CallReverted(method, _revert_data(data), message)
        raise NodeRefused(f"{method}: {said}")


def _address(address: str) -> ChecksumAddress:
    return to_checksum_address(address)


def _block_id(block: BlockId) -> BlockIdentifier:
    return cast(BlockIdentifier, block)


def _call(to: str | None, data: bytes, sender: str | None, value: int) -> dict[str, str]:
    call = {"data": "0x" + data.hex()}
    if to is not None:
        call["to"] = to
    if sender is not None:
        call |= {"from": sender, "value": hex(value)}
    return call


def _log(log: LogReceipt) -> Log:
    return Log(
        log["address"],
        tuple(bytes(topic) for topic in log["topics"]),
        bytes(log["data"]),
        log["blockNumber"],
        bytes(log["blockHash"]),
        bytes(log["transactionHash"]),
        log["logIndex"],
    )


def _frames(outermost: dict[str, Any], to: str) -> list[Frame]:
    frames: list[Frame] = []
    pending = [outermost]
    while pending:
        call = pending.pop()
        # What is inside a failed call is undone with it.
        if call.get("error"):
            continue
        if str(call.get("to")).lower() == to:
            frames.append(Frame(call["type"].upper(), bytes.fromhex(call.get("input", "0x")[2:])))
        pending.extend(reversed(call.get("calls") or []))
    return frames


def _revert_data(data: Any) -> bytes:
    """Revert data in the shapes that nodes give it: hex, hex after a word, or nothing."""
    text = data if isinstance(data, str) else ""
    try:
        return bytes.fromhex(text.removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return b""
