"""Calls and logs by a compiled contract's ABI: encoded, decoded, addresses checksummed."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from backend.chain.node import Log


class ContractAbi:
    """One contract's functions and events, by name. Overloaded names are not supported."""

    def __init__(self, entries: Sequence[dict[str, Any]]) -> None:
        self._functions = {e["name"]: e for e in entries if e["type"] == "function"}
        self._events = {e["name"]: e for e in entries if e["type"] == "event"}
        self._constructor: dict[str, Any] = next(
            (e for e in entries if e["type"] == "constructor"), {"inputs": []}
        )

    @cached_property
    def events_by_topic(self) -> dict[bytes, str]:
        """Name of each event by its first topic."""
        return {keccak(text=_signature(e)): name for name, e in self._events.items()}

    def call_data(self, function: str, arguments: Sequence[Any] = ()) -> bytes:
        """Calldata of a call."""
        entry = self._functions[function]
        return keccak(text=_signature(entry))[:4] + encode(_types(entry["inputs"]), arguments)

    def constructor_data(self, arguments: Sequence[Any]) -> bytes:
        """What follows the init code."""
        return encode(_types(self._constructor["inputs"]), arguments)

    def results(self, function: str, data: bytes) -> tuple[Any, ...]:
        """The values that a call returned. Raises DecodingError (a ValueError)."""
        types = _types(self._functions[function]["outputs"])
        values = decode(types, data)
        return tuple(_checksummed(t, value) for t, value in zip(types, values, strict=True))

    def event_values(self, event: str, log: Log) -> dict[str, Any]:
        """A log's arguments by name.

        Raises ValueError (DecodingError is one) for a log that does not hold what the event does.
        """
        inputs = self._events[event]["inputs"]
        indexed = [item for item in inputs if item["indexed"]]
        plain = [item for item in inputs if not item["indexed"]]
        if len(log.topics) != len(indexed) + 1:
            raise ValueError(f"expected {len(indexed)} indexed values, got {len(log.topics) - 1}")
        values = dict(
            zip([item["name"] for item in plain], decode(_types(plain), log.data), strict=True)
        )
        for item, topic in zip(indexed, log.topics[1:], strict=True):
            values[item["name"]] = decode([_type(item)], topic)[0]
        return {item["name"]: _checksummed(_type(item), values[item["name"]]) for item in inputs}


def _checksummed(type_name: str, value: Any) -> Any:
    if type_name == "address":
        return to_checksum_address(value)
    if type_name == "address[]":
        return tuple(to_checksum_address(address) for address in value)
    return value


def _signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(_types(entry['inputs']))})"


def _types(items: Sequence[dict[str, Any]]) -> list[str]:
    return [_type(item) for item in items]


def _type(item: dict[str, Any]) -> str:
    """The type's canonical name; a tuple's is that of its components."""
    name: str = item["type"]
    if name.startswith("tuple"):
        return f"({','.join(_types(item['components']))}){name.removeprefix('tuple')}"
    return name
