"""Single reads of a chain: code, the calldata behind a log, and a contract's word on a signature (EIP-1271)."""

from typing import Any

from eth_abi import encode
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3Exception
from web3.types import BlockIdentifier

from backend.chain.client import reading

EIP1271_MAGIC = bytes.fromhex("1626ba7e")


def code(w3: Web3, address: str, block: BlockIdentifier = "latest") -> bytes:
    """Runtime code at `address`, empty if there is none. Raises Unavailable."""
    return bytes(reading(f"code of {address}", lambda: w3.eth.get_code(address, block)))


def transaction_input(w3: Web3, tx_hash: bytes) -> bytes:
    """A transaction's calldata; empty if the node does not have the transaction. Raises Unavailable."""

    def ask() -> bytes:
        try:
            return bytes(w3.eth.get_transaction(tx_hash)["input"])
        except TransactionNotFound:
            return b""

    return reading(f"transaction 0x{tx_hash.hex()}", ask)


def traced_inputs(w3: Web3, tx_hash: bytes, to: str) -> list[bytes]:
    """Calldata of every call to `to` that a transaction made and that did not fail, in order; none where the node does not trace.

    Raises Unavailable if the node does not answer at all.
    """
    parameters = ["0x" + tx_hash.hex(), {"tracer": "callTracer"}]
    answer = reading("trace", lambda: w3.provider.make_request("debug_traceTransaction", parameters))
    inputs: list[bytes] = []
    pending: list[dict[str, Any]] = [answer.get("result") or {}]
    while pending:
        call = pending.pop()
        if call.get("error"):
            continue
        if str(call.get("to", "")).lower() == to.lower():
            inputs.append(bytes.fromhex(str(call.get("input", "0x")).removeprefix("0x")))
        pending.extend(reversed(call.get("calls", [])))
    return inputs


def accepts_signature(w3: Web3, wallet: str, digest: bytes, signature: bytes, block: BlockIdentifier = "latest") -> bool:
    """Whether the contract at `wallet` takes the signature for its own (EIP-1271); False for what is no such contract, or has no state
    at that block on this node."""
    data = EIP1271_MAGIC + encode(["bytes32", "bytes"], [digest, signature])
    try:
        return bytes(w3.eth.call({"to": wallet, "data": data}, block))[:32] == EIP1271_MAGIC.ljust(32, b"\0")
    except Web3Exception:
        return False
