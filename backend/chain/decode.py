"""A node's results as typed values. What has not the form that Ethereum's JSON-RPC says is refused.

The shapes of Ethereum's execution API; anything else raises Malformed, which says what was expected
and what came.
"""

from collections.abc import Mapping
from typing import Any

from eth_utils.address import to_checksum_address

from backend.chain.node import Block, FeeHistory, Frame, Log, Receipt, Transaction
from backend.chain.refusals import shown

QUANTITY_MAX = 2**256 - 1
_HEX = frozenset("0123456789abcdefABCDEF")


class Malformed(ValueError):
    """A result of another form than expected. The message is fit for a log."""


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _malformed(what, "an object", value)
    return value


def sequence(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _malformed(what, "a list", value)
    return value


def quantity(value: Any, what: str) -> int:
    """A number in hexadecimal. Some nodes send a plain number, which can be read in one way."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif _is_hex(value) and 2 < len(value) <= 66:
        number = int(value, 16)
    else:
        raise _malformed(what, "a number in hexadecimal", value)
    if not 0 <= number <= QUANTITY_MAX:
        raise _malformed(what, "a number of 256 bits", value)
    return number


def data(value: Any, what: str, size: int | None = None) -> bytes:
    """Bytes in hexadecimal, of `size` if given."""
    if not _is_hex(value) or len(value) % 2:
        raise _malformed(what, "bytes in hexadecimal", value)
    found = bytes.fromhex(value[2:])
    if size is not None and len(found) != size:
        raise _malformed(what, f"{size} bytes in hexadecimal", value)
    return found


def address(value: Any, what: str) -> str:
    return to_checksum_address(data(value, what, 20))


def block(value: Any) -> Block:
    found = mapping(value, "block")
    return Block(
        quantity(found.get("number"), "number"),
        data(found.get("hash"), "hash", 32),
        quantity(found.get("timestamp"), "timestamp"),
    )


def log(value: Any) -> Log:
    found = mapping(value, "log")
    return Log(
        address(found.get("address"), "address"),
        tuple(data(topic, "topic", 32) for topic in sequence(found.get("topics"), "topics")),
        data(found.get("data"), "data"),
        quantity(found.get("blockNumber"), "blockNumber"),
        data(found.get("blockHash"), "blockHash", 32),
        data(found.get("transactionHash"), "transactionHash", 32),
        quantity(found.get("logIndex"), "logIndex"),
    )


def logs(value: Any) -> list[Log]:
    """All but those that a reorg removed."""
    found = [mapping(one, "log") for one in sequence(value, "logs")]
    return [log(one) for one in found if not one.get("removed")]


def receipt(value: Any) -> Receipt | None:
    """None for a transaction that no block holds."""
    if value is None:
        return None
    found = mapping(value, "receipt")
    if found.get("blockHash", "") is None:
        return None  # some nodes give a receipt of a pending transaction
    created = found.get("contractAddress")
    status = quantity(found.get("status"), "status")
    if status > 1:
        raise _malformed("status", "0 or 1", found.get("status"))
    return Receipt(
        data(found.get("transactionHash"), "transactionHash", 32),
        quantity(found.get("blockNumber"), "blockNumber"),
        data(found.get("blockHash"), "blockHash", 32),
        status,
        quantity(found.get("gasUsed"), "gasUsed"),
        None if created is None else address(created, "contractAddress"),
        tuple(log(one) for one in sequence(found.get("logs"), "logs")),
    )


def transaction(value: Any) -> Transaction | None:
    """None for a transaction that the node does not know."""
    if value is None:
        return None
    found = mapping(value, "transaction")
    to, number = found.get("to"), found.get("blockNumber")
    return Transaction(
        None if to is None else address(to, "to"),
        data(found.get("input", found.get("data")), "input"),
        None if number is None else quantity(number, "blockNumber"),
        None if (sender := found.get("from")) is None else address(sender, "from"),
    )


def frames(value: Any, to: str) -> list[Frame]:
    """What callTracer saw of calls at `to`, or creations there, without what failed."""
    found: list[Frame] = []
    pending = [value]
    while pending:
        call = mapping(pending.pop(), "call")
        # What is inside a failed call is undone with it.
        if call.get("error"):
            continue
        where = call.get("to")
        if isinstance(where, str) and where.lower() == to.lower():
            kind = call.get("type")
            if not isinstance(kind, str):
                raise _malformed("type", "a text", kind)
            sender = call.get("from")
            found.append(
                Frame(
                    kind.upper(),
                    data(call.get("input", "0x"), "input"),
                    None if sender is None else address(sender, "from"),
                )
            )
        pending.extend(reversed(sequence(call.get("calls") or [], "calls")))
    return found


def fee_history(value: Any) -> FeeHistory | None:
    """None where no base fee is named: a chain without them."""
    found = mapping(value, "fee history")
    base_fees = sequence(found.get("baseFeePerGas") or [], "baseFeePerGas")
    if base_fees[-1:] in ([], [None]):
        return None
    rewards = [
        sequence(of_block, "reward") for of_block in sequence(found.get("reward") or [], "rewards")
    ]
    return FeeHistory(
        quantity(base_fees[-1], "baseFeePerGas"),
        tuple(quantity(of_block[0], "reward") for of_block in rewards if of_block),
    )


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and value[:2] in ("0x", "0X") and _HEX.issuperset(value[2:])


def _malformed(what: str, expected: str, value: Any) -> Malformed:
    return Malformed(f"{what}: expected {expected}, got {shown(value)[:80]}")
