"""Reported interactions: the values, the JSON body that holds them, and the result of each item.

The body is parsed strictly and item by item: an item that breaks a rule does not affect the others.
This module is pure: the API and the attestors share it, so that what is booked is what is attested.
The one format:

    {"interactions": [{"event_id": "...", "account": "0x...", "amount": "1000000",
                       "occurred_at": 1760000000}]}
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from eth_utils import to_checksum_address

from prover.wire import UINT96_MAX

ITEMS_MAX = 1000
EVENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
AMOUNT = re.compile(r"[1-9][0-9]{0,28}")
OCCURRED_AT_MAX = 2**40
FIELDS = ("event_id", "account", "amount", "occurred_at")


class BodyError(Exception):
    """The body as a whole cannot be read. `field` is a path into it, "body" for all of it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Report:
    """One reported interaction: checksummed account, amount in base units, Unix seconds."""

    event_id: str
    account: str
    amount: int
    occurred_at: int


@dataclass(frozen=True, slots=True)
class ReportError:
    """One item that breaks a rule: the field at fault and what was expected. `event_id` where it
    could be read."""

    field: str
    message: str
    event_id: str | None = None


class ItemOutcome(StrEnum):
    """What became of one item of a delivery."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    HELD = "held"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The result of one item. `state` is the state of the first report of a duplicate; `first` is
    the first report, where another one is in conflict with it."""

    outcome: ItemOutcome
    event_id: str | None
    reason: str | None = None
    field: str | None = None
    message: str | None = None
    state: str | None = None
    first: Report | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as JSON, without the fields that say nothing."""
        value: dict[str, Any] = {"status": self.outcome, "event_id": self.event_id}
        for name in ("reason", "field", "message", "state"):
            if getattr(self, name) is not None:
                value[name] = getattr(self, name)
        if self.first is not None:
            value["first"] = {
                "account": self.first.account,
                "amount": str(self.first.amount),
                "occurred_at": self.first.occurred_at,
            }
        return value


class _DuplicateKeyError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise _DuplicateKeyError(key)
        value[key] = item
    return value


# An unterminated text goes on to the end, so that every match succeeds and the scan stays linear.
# Possessive: nothing is remembered to come back to, which would cost a hundred bytes for each byte
# of a long text.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
DEPTH_MAX = 16
_GZIP = b"\x1f\x8b"


def _require_shallow(body: bytes) -> None:
    """Refuse deep nesting before the parser recurses into it: how deep it can go safely depends on
    the thread's stack, not on us."""
    depth = 0
    for between in _TEXT.split(body):
        for bracket in between.translate(None, _OTHERS):
            depth += 1 if bracket in b"[{" else -1
            if depth > DEPTH_MAX:
                raise BodyError(
                    "body",
                    f"nested more than {DEPTH_MAX} deep: expected an object with a list of objects",
                )


def decoded(body: bytes) -> str:
    """The body's text. Raises BodyError."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        if body.startswith(_GZIP):
            raise BodyError("body", "compressed by gzip: expected JSON as it is") from error
        raise BodyError("body", "expected UTF-8") from error


def parse_body(body: bytes) -> list[Report | ReportError]:
    """All items of a delivery's body, in order.

    Raises:
        BodyError: broken JSON, a wrong outer shape, or not 1 .. 1,000 items.
    """
    text = decoded(body)
    _require_shallow(body)
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except _DuplicateKeyError as error:
        raise BodyError("body", f"the key {str(error)!r} occurs twice in one object") from error
    except (ValueError, RecursionError) as error:
        raise BodyError("body", f"expected JSON: {error}") from error
    if not isinstance(value, dict):
        raise BodyError("body", 'expected an object {"interactions": [...]}')
    if unknown := [key for key in value if key != "interactions"]:
        raise BodyError(_shown(unknown[0]), "unknown field: expected only interactions")
    items = value.get("interactions")
    if not isinstance(items, list):
        raise BodyError("interactions", "expected a list of interactions")
    if not 1 <= len(items) <= ITEMS_MAX:
        raise BodyError("interactions", f"expected 1 to {ITEMS_MAX} interactions, got {len(items)}")
    return [_parse_item(item) for item in items]


def _parse_item(item: Any) -> Report | ReportError:
    if not isinstance(item, dict):
        return ReportError("", "expected an object with event_id, account, amount and occurred_at")
    event_id = item.get("event_id")
    if not isinstance(event_id, str) or not EVENT_ID.fullmatch(event_id):
        return ReportError("event_id", "expected a text of 1 to 128 visible ASCII characters")
    for key in item:
        if key not in FIELDS:
            return ReportError(
                _shown(key), f"unknown field: expected only {', '.join(FIELDS)}", event_id
            )
    account, amount, occurred_at = item.get("account"), item.get("amount"), item.get("occurred_at")
    if not isinstance(account, str):
        return ReportError("account", "expected an address: 0x and 40 hex digits", event_id)
    if message := address_fault(account):
        return ReportError("account", message, event_id)
    if not isinstance(amount, str) or not AMOUNT.fullmatch(amount) or int(amount) > UINT96_MAX:
        expected = (
            "expected a decimal text in token base units, 1 to 2^96-1, with no sign, point or "
            "leading zero"
        )
        return ReportError("amount", expected, event_id)
    if type(occurred_at) is not int or not 0 < occurred_at < OCCURRED_AT_MAX:
        return ReportError("occurred_at", "expected Unix seconds as an integer", event_id)
    return Report(event_id, to_checksum(account), int(amount), occurred_at)


def _shown(key: str) -> str:
    """A key as an answer can hold it: JSON may escape half a surrogate pair, which UTF-8 has no
    form for; and a key can be long."""
    return key.encode(errors="backslashreplace").decode()[:128]


@lru_cache(maxsize=65536)
def to_checksum(account: str) -> str:
    """The EIP-55 form of an address."""
    return to_checksum_address(account)


def address_fault(account: str) -> str | None:
    """What is wrong with an address, None if nothing is."""
    if not ADDRESS.fullmatch(account):
        return "expected an address: 0x and 40 hex digits"
    digits = account[2:]
    if int(digits, 16) == 0:
        return "the zero address cannot earn"
    if digits not in (digits.lower(), digits.upper()) and account != to_checksum(account):
        return f"wrong EIP-55 checksum: expected {to_checksum(account)}, or all lower case"
    return None
