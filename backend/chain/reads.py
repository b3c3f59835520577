"""Single reads of a chain: code, the transaction behind a log, and a contract's word on a signature
(EIP-1271)."""

import re
from dataclasses import dataclass
from typing import Any

from eth_abi import encode
from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3Exception
from web3.types import BlockIdentifier

from backend.chain.client import reading
from backend.errors import Unavailable

EIP1271_MAGIC = bytes.fromhex("1626ba7e")
TRACE_TIMEOUT = "20s"

_EXECUTION_FAILED = re.compile(
    r"revert|invalid ?(\w*opcode|jump)|opcode ?not ?found|out ?of ?(gas|offset)"
    r"|stack ?(under|over)flow|write protection"
    r"|gas uint64 overflow|return data out of bounds|vm execution error|bad ?instruction",
    re.IGNORECASE,
)
"""How Geth, Nethermind, Erigon, Besu and Anvil say that a call ran and failed."""


class StateMissing(Unavailable):
    """The node answers, but cannot run a call at the block asked for; most often because it has
    dropped the state of old blocks."""

    code = "state_missing"


@dataclass(frozen=True, slots=True)
class Frame:
    """One call of a transaction, at any depth, that did not fail: `kind` is CALL, DELEGATECALL,
    CREATE, CREATE2, ..."""

    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """What was sent (`to` is checksummed, None to create a contract), and the contract that it
    created itself, if any."""

    to: str | None
    data: bytes
    created: str | None


def code(w3: Web3, address: str, block: BlockIdentifier = "latest") -> bytes:
    """Runtime code at `address`, empty if there is none. Raises Unavailable."""
    return bytes(reading(f"code of {address}", lambda: w3.eth.get_code(address, block)))


def transaction(w3: Web3, tx_hash: bytes) -> Transaction | None:
    """None if the node does not have the transaction. Raises Unavailable."""

    def ask() -> Transaction | None:
        try:
            sent, receipt = w3.eth.get_transaction(tx_hash), w3.eth.get_transaction_receipt(tx_hash)
        except TransactionNotFound:
            return None
        return Transaction(sent.get("to"), bytes(sent["input"]), receipt.get("contractAddress"))

    return reading(f"transaction 0x{tx_hash.hex()}", ask)


def traced(w3: Web3, tx_hash: bytes, to: str) -> list[Frame] | None:
    """What a transaction called at `to`, or created there, in order, without what failed. None
    where the node does not trace it."""
    parameters = ["0x" + tx_hash.hex(), {"tracer": "callTracer", "timeout": TRACE_TIMEOUT}]
    try:
        answer = w3.provider.make_request("debug_traceTransaction", parameters).get("result")
        return None if not answer else _frames(answer, to.lower())
    # Services refuse the method with an HTTP status, and a transaction may be too large to trace in
    # time: the same to whoever asks.
    except (RequestException, Web3Exception, AttributeError, KeyError, TypeError, ValueError):
        return None


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


def accepts_signature(
    w3: Web3, wallet: str, digest: bytes, signature: bytes, block: int | str = "latest"
) -> bool:
    """Whether the contract at `wallet` takes the signature for its own (EIP-1271); False for what
    is no such contract.

    Raises:
        StateMissing: the node cannot say, as it does not have the state of that block.
        Unavailable: the node does not answer.
    """
    data = EIP1271_MAGIC + encode(["bytes32", "bytes"], [digest, signature])
    where = block if isinstance(block, str) else hex(block)
    call = [{"to": wallet, "data": "0x" + data.hex()}, where]
    # Not through web3's eth.call, which takes some answers of a node that lacks the state for a
    # revert.
    answer = reading(f"signature of {wallet}", lambda: w3.provider.make_request("eth_call", call))
    if "result" in answer:
        return bytes.fromhex(str(answer["result"] or "0x")[2:])[:32] == EIP1271_MAGIC.ljust(
            32, b"\0"
        )
    error = answer.get("error")
    said = (
        f"{error.get('message')} {error.get('data') or ''}"
        if isinstance(error, dict)
        else str(error)
    )
    if (isinstance(error, dict) and error.get("code") == 3) or _EXECUTION_FAILED.search(said):
        return False
    raise StateMissing(
        f"the node cannot ask {wallet} for its word on a signature at block {block} "
        f"({said.strip()}): "
        "ask a node that holds the state of that block (an archive node)"
    )
