"""A Node over JSON-RPC, by a provider of web3."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from eth_utils.address import to_checksum_address
from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from backend.chain import decode
from backend.chain.node import (
    BadAnswer,
    Block,
    BlockId,
    CallReverted,
    FeeHistory,
    Frame,
    Log,
    NodeRefused,
    Receipt,
    TooMuchAsked,
    Transaction,
)
from backend.chain.refusals import is_too_much, shown
from backend.chain.rpc import RpcProvider
from backend.errors import Unavailable

TRACE_TIMEOUT = "20s"
HURRIED: dict[str, Any] = {"timeout_seconds": 2, "attempts": 1}
"""For a request of somebody who waits for an answer."""

_EXECUTION_FAILED = re.compile(
    r"revert|invalid ?(\w*opcode|jump)|opcode ?not ?found|out ?of ?(gas|offset)|\w+oog\b"
    r"|stack ?(under|over)flow|write protection"
    r"|gas uint64 overflow|return data out of bounds|vm execution error|bad ?instruction",
    re.IGNORECASE,
)
"""How Geth, Nethermind, Erigon, Besu and Anvil say that a call ran and failed."""

Value = TypeVar("Value")


def connect(rpc_url: str, *, hurried: bool = False) -> "Web3Node":
    """The node at an HTTP(S) URL; reads are tried five times, or once for two seconds if `hurried`.

    Raises:
        Invalid: not an HTTP(S) URL.
        Unavailable: nothing answers there, or not as an Ethereum node.
    """
    provider = RpcProvider(rpc_url, **HURRIED) if hurried else RpcProvider(rpc_url)
    node = Web3Node(Web3(provider))
    try:
        node.chain_id()
    except Unavailable as error:
        raise Unavailable(
            f"no Ethereum node answers at {provider.where}: {error.message}", field="rpc_url"
        ) from None
    return node


class Web3Node:
    """Implements Node. `w3` is the client underneath, for tests."""

    def __init__(self, w3: Web3) -> None:
        self.w3 = w3

    def chain_id(self) -> int:
        return self._ask("chain id", "eth_chainId", [], lambda it: decode.quantity(it, "chain id"))

    def block_number(self) -> int:
        return self._ask("head", "eth_blockNumber", [], lambda it: decode.quantity(it, "head"))

    def block(self, which: BlockId) -> Block:
        by_hash = isinstance(which, str) and which.startswith("0x")
        method = "eth_getBlockByHash" if by_hash else "eth_getBlockByNumber"
        found = self._ask(f"block {which}", method, [_block_id(which), False], _or_none)
        if found is None:
            raise NodeRefused(f"block {which}: the node knows no such block")
        return self._decoded(f"block {which}", found, decode.block)

    def code(self, address: str, block: BlockId = "latest") -> bytes:
        parameters = [to_checksum_address(address), _block_id(block)]
        return self._ask(
            f"code of {address}", "eth_getCode", parameters, lambda it: decode.data(it, "code")
        )

    def balance(self, address: str) -> int:
        parameters = [to_checksum_address(address), "latest"]
        return self._ask(
            "balance", "eth_getBalance", parameters, lambda it: decode.quantity(it, "balance")
        )

    def transaction_count(self, address: str, block: BlockId = "latest") -> int:
        parameters = [to_checksum_address(address), _block_id(block)]
        what = "transaction count"
        return self._ask(
            what, "eth_getTransactionCount", parameters, lambda it: decode.quantity(it, what)
        )

    def call(
        self,
        to: str | None,
        data: bytes,
        block: BlockId = "latest",
        *,
        sender: str | None = None,
        value: int = 0,
        gas: int | None = None,
    ) -> bytes:
        call = _call(to, data, sender, value) | ({} if gas is None else {"gas": hex(gas)})
        answer = self._run("eth_call", [call, _block_id(block)])
        # Some nodes answer null where the code returned nothing.
        return self._decoded("eth_call", answer or "0x", lambda it: decode.data(it, "the result"))

    def estimate_gas(self, to: str | None, data: bytes, *, sender: str, value: int = 0) -> int:
        answer = self._run("eth_estimateGas", [_call(to, data, sender, value), "latest"])
        return self._decoded("eth_estimateGas", answer, lambda it: decode.quantity(it, "gas"))

    def logs(
        self, address: str, topics: Sequence[bytes | None], first_block: int, last_block: int
    ) -> list[Log]:
        criteria: dict[str, Any] = {
            "address": to_checksum_address(address),
            "fromBlock": hex(first_block),
            "toBlock": hex(last_block),
        }
        if topics:
            criteria["topics"] = [None if topic is None else _hex(topic) for topic in topics]
        what = f"logs of blocks {first_block} to {last_block}"
        return self._ask(what, "eth_getLogs", [criteria], decode.logs)

    def receipt(self, tx_hash: bytes) -> Receipt | None:
        return self._ask("receipt", "eth_getTransactionReceipt", [_hex(tx_hash)], decode.receipt)

    def transaction(self, tx_hash: bytes) -> Transaction | None:
        what = f"transaction {_hex(tx_hash)}"
        return self._ask(what, "eth_getTransactionByHash", [_hex(tx_hash)], decode.transaction)

    def trace(self, tx_hash: bytes, to: str) -> list[Frame] | None:
        parameters = [_hex(tx_hash), {"tracer": "callTracer", "timeout": TRACE_TIMEOUT}]
        try:
            answer = self._raw("trace", "debug_traceTransaction", parameters).get("result")
            return None if not answer else decode.frames(answer, to)
        # Services refuse the method with an HTTP status, and a transaction may be too large to
        # trace in time: the same to the caller.
        except (Unavailable, decode.Malformed):
            return None

    def fee_history(self, blocks: int) -> FeeHistory | None:
        parameters = [hex(blocks), "latest", [50]]
        try:
            history = self._ask("fee history", "eth_feeHistory", parameters, decode.fee_history)
        except NodeRefused:
            history = None  # the method came with EIP-1559, and some nodes lack it
        if history is not None and history.next_base_fee > 0:
            return history
        # Nodes of older chains may say 0 for want of a base fee: the newest block tells.
        newest = self._ask("newest block", "eth_getBlockByNumber", ["latest", False], _base)
        return newest and (history or newest)

    def priority_fee(self) -> int | None:
        try:
            return self._ask("priority fee", "eth_maxPriorityFeePerGas", [], _quantity)
        except NodeRefused:
            return None

    def gas_price(self) -> int:
        return self._ask("gas price", "eth_gasPrice", [], _quantity)

    def send_raw(self, raw: bytes) -> None:
        try:
            answer = self._raw("broadcast", "eth_sendRawTransaction", [_hex(raw)])
        except Unavailable as found:
            raise Unavailable(f"outcome unknown ({found.message})") from found
        if (error := answer.get("error")) is not None:
            raise NodeRefused(f"refused ({_said(error)})")
        if not isinstance(answer.get("result"), str):
            raise Unavailable("outcome unknown (the node names no transaction)")

    def request(self, method: str, parameters: Sequence[Any]) -> Mapping[str, Any]:
        return self._raw(method, method, parameters)

    def _ask(
        self, what: str, method: str, parameters: Sequence[Any], read: Callable[[Any], Value]
    ) -> Value:
        """The result of a question, as `read` takes it."""
        answer = self._raw(what, method, parameters)
        # The error first: some proxies send `"result": null` beside it.
        error = answer.get("error")
        if error is not None:
            if isinstance(error, Mapping) and is_too_much(method, error):
                raise TooMuchAsked(f"{what}: {_said(error)}")
            raise NodeRefused(f"{what}: {_said(error)}")
        return self._decoded(what, answer.get("result"), read)

    def _decoded(self, what: str, result: Any, read: Callable[[Any], Value]) -> Value:
        try:
            return read(result)
        except decode.Malformed as error:
            raise BadAnswer(
                f"{what}: the node's answer cannot be read: {error}; use another node"
            ) from error

    def _raw(self, what: str, method: str, parameters: Sequence[Any]) -> Mapping[str, Any]:
        with _asking(what):
            answer = self.w3.provider.make_request(RPCEndpoint(method), list(parameters))
        if not isinstance(answer, Mapping):
            raise BadAnswer(f"{what}: the node's answer is no object: {shown(answer)[:80]}")
        return answer

    def _run(self, method: str, parameters: Sequence[Any]) -> Any:
        """The result of a call that runs code.

        Not through web3's eth.call, which takes some answers of a node that lacks the state for a
        revert.
        """
        answer = self._raw(method, method, parameters)
        # The error first: some proxies send `"result": null` beside it.
        error = answer.get("error")
        if error is None and "result" in answer:
            return answer["result"]
        if not isinstance(error, Mapping):
            raise NodeRefused(f"{method}: {shown(error)}")
        message, data = shown(error.get("message")), error.get("data")
        said = f"{message} {shown(data) if data else ''}".strip()
        if error.get("code") == 3 or _EXECUTION_FAILED.search(said):
            raise CallReverted(method, _revert_data(data), message)
        raise NodeRefused(f"{method}: {said}")


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Inside, a provider that does not answer `what` is Unavailable."""
    try:
        yield
    except RequestException as error:
        # The text of an HTTP client's error holds the URL, and URLs hold API keys.
        raise Unavailable(f"{what}: the node does not answer ({type(error).__name__})") from error
    except Web3Exception as error:
        raise NodeRefused(f"{what}: {shown(str(error))}") from error


def _or_none(result: Any) -> Any:
    return result


def _quantity(result: Any) -> int:
    return decode.quantity(result, "the result")


def _base(header: Any) -> FeeHistory | None:
    """What a block's header says of the next base fee: at most an eighth more. None without one."""
    base_fee = decode.mapping(header, "block").get("baseFeePerGas")
    if base_fee is None:
        return None
    return FeeHistory(-(-decode.quantity(base_fee, "baseFeePerGas") * 9 // 8), ())


def _said(error: Any) -> str:
    """A node's error in its own words."""
    return shown(error.get("message") if isinstance(error, Mapping) else error)


def _block_id(block: BlockId) -> str:
    return block if isinstance(block, str) else hex(block)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _call(to: str | None, data: bytes, sender: str | None, value: int) -> dict[str, str]:
    call = {"data": _hex(data)}
    if to is not None:
        call["to"] = to
    if sender is not None:
        call |= {"from": sender, "value": hex(value)}
    return call


def _revert_data(data: Any) -> bytes:
    """Revert data in the shapes that nodes give it: hex, hex after a word, or nothing."""
    text = data if isinstance(data, str) else ""
    try:
        return bytes.fromhex(text.removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return b""
