"""Who made a post revert.

The Distributor names the attestor whose signature it refused, in its revert data. A receipt does
not hold that, so the node is asked to trace the transaction, or else to run it again at its block
and at its gas price. Where neither tells, each signer that is a contract is suspected: a key cannot
change its mind, and an account with delegated code (EIP-7702) signs with its key.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from backend.chain.calldata import invalid_attestation
from backend.chain.models import OutgoingTransaction
from backend.chain.node import Node
from backend.chain.reverts import explain_revert
from backend.chain.signatures import is_contract
from backend.errors import Unavailable

TOP_CALL = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}


class Blame(NamedTuple):
    """Who refused for certain, and who may have. `reason` is for a person."""

    refused: tuple[str, ...] = ()
    suspected: tuple[str, ...] = ()
    reason: str = ""


def blame(node: Node, row: OutgoingTransaction, signers: Sequence[str]) -> Blame:
    """Who made the reverted post revert. `row` holds its receipt. Raises Unavailable."""
    data = _revert_data(node, row)
    said = explain_revert(data)
    if (refused := _named(data, signers)) and not _ran_out_of_gas(row):
        return Blame((refused,), (), said)
    if not refused and data and not said.startswith("0x"):
        # The contract's own word, and not about a signature: the attestors are not at fault.
        return Blame(reason=said)
    return Blame((), suspects(node, signers, row.block_number), said)


def suspects(node: Node, signers: Sequence[str], block: int | None = None) -> tuple[str, ...]:
    """The signers that can change their mind: contracts now, or around `block`; all of them
    if none is one."""
    blocks: list[int | str] = ["latest", *([] if block is None else [block, max(block - 1, 0)])]
    found = tuple(one for one in signers if any(_is_contract(node, one, at) for at in blocks))
    return found or tuple(signers)


def blame_skipped(
    node: Node, row: OutgoingTransaction, data: bytes, signers: Sequence[str]
) -> Blame:
    """Who made `postBatches` pass over a batch for its attestations. `data` is the postBatch call
    of that batch alone, which names who refuses. Raises Unavailable."""
    for answer in _run_again(node, row, data):
        if refused := _named(answer, signers):
            return Blame((refused,), (), explain_revert(answer))
    return Blame((), suspects(node, signers, row.block_number), "too few attestations held")


def can_change(node: Node, signers: Sequence[str]) -> tuple[str, ...]:
    """The signers that are contracts: they may answer otherwise in a block than in a
    simulation."""
    return tuple(one for one in signers if _is_contract(node, one, "latest"))


def _named(data: bytes, signers: Sequence[str]) -> str | None:
    return next((one for one in signers if data == invalid_attestation(one)), None)


def _ran_out_of_gas(row: OutgoingTransaction) -> bool:
    """Whether the post used most of its gas: then the attestor that the contract names may lack
    gas that another one burned. A signature is refused before the costly part begins."""
    return row.gas_used is not None and row.gas_used * 4 >= row.gas_limit * 3


def _is_contract(node: Node, address: str, block: int | str) -> bool:
    try:
        return is_contract(node.code(address, block))
    except Unavailable:
        return False  # A node without the state of old blocks: the newest block is asked too.


def _revert_data(node: Node, row: OutgoingTransaction) -> bytes:
    """The revert data of the transaction; empty if it has none, or no node can tell."""
    return next((data for data in _answers(node, row) if data), b"")


def _answers(node: Node, row: OutgoingTransaction) -> Iterator[bytes]:
    if row.mined_hash is None or row.block_number is None:
        return
    tx_hash = "0x" + row.mined_hash.hex()
    trace = _ask(node, "debug_traceTransaction", tx_hash, TOP_CALL).get("result")
    yield _bytes(trace.get("output") if isinstance(trace, Mapping) else None)
    yield from _run_again(node, row, row.data)


def _run_again(node: Node, row: OutgoingTransaction, data: bytes) -> Iterator[bytes]:
    """The revert data of a call as `row` made it, at its block and before it."""
    if row.mined_hash is None or row.block_number is None:
        return
    tx_hash = "0x" + row.mined_hash.hex()
    receipt = _ask(node, "eth_getTransactionReceipt", tx_hash).get("result")
    price = receipt.get("effectiveGasPrice") if isinstance(receipt, Mapping) else None
    call = {
        "from": row.sender,
        "to": row.to_address,
        "data": "0x" + data.hex(),
        "gas": hex(row.gas_limit),
    } | ({"gasPrice": price} if price else {})
    for block in (row.block_number, max(row.block_number - 1, 0)):
        error = _ask(node, "eth_call", call, hex(block)).get("error")
        yield _bytes(error.get("data") if isinstance(error, Mapping) else None)


def _ask(node: Node, method: str, *parameters: object) -> Mapping[str, Any]:
    """The node's answer; empty if it has none."""
    try:
        return node.request(method, list(parameters))
    except Unavailable:
        return {}


def _bytes(text: object) -> bytes:
    try:
        return bytes.fromhex(str(text or "").removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return b""
