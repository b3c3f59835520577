"""The JSON that an attestor reads, checked field by field. Amounts and roots are decimal texts,
bytes are 0x-prefixed hex."""

import base64
import binascii
import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from backend.attestor.rules import ItemClaim, SaltedDelivery
from backend.attestor.service import AttestationRequest
from backend.attestor.store import StoredLeaf
from backend.errors import BadRequest, Invalid
from backend.kit.strict_json import loads_once
from backend.partner.evidence import HEADERS_MAX, Delivery
from backend.partner.report import ADDRESS, OCCURRED_AT_MAX, to_checksum
from prover.field import P
from prover.wire import UINT96_MAX

_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}")
_STORED_MAX = 2**63 - 1
"""Of a uint64, what the store's integers hold."""
TEXT_MAX = 4096
LEAVES_MAX = 2**16

Model = TypeVar("Model", bound=BaseModel)


def _bytes(length: int | None) -> BeforeValidator:
    expected = (
        "0x and an even number of hex digits"
        if length is None
        else f"0x and {2 * length} hex digits"
    )

    def parse(value: Any) -> bytes:
        if (
            not isinstance(value, str)
            or not _HEX.fullmatch(value)
            or (length is not None and len(value) != 2 + 2 * length)
        ):
            raise ValueError(f"expected {expected}")
        return bytes.fromhex(value[2:])

    return BeforeValidator(parse)


def _decimal(low: int, high: int, expected: str) -> BeforeValidator:
    def parse(value: Any) -> int:
        if (
            not isinstance(value, str)
            or not _DECIMAL.fullmatch(value)
            or not low <= int(value) <= high
        ):
            raise ValueError(f"expected a decimal text, {expected}")
        return int(value)

    return BeforeValidator(parse)


def _address(value: Any) -> str:
    if not isinstance(value, str) or not ADDRESS.fullmatch(value):
        raise ValueError("expected an address: 0x and 40 hex digits")
    checksummed = to_checksum(value)
    if value[2:] not in (value[2:].lower(), value[2:].upper(), checksummed[2:]):
        raise ValueError("wrong EIP-55 checksum")
    return checksummed


def _account(value: Any) -> str:
    account = _address(value)
    if int(account, 16) == 0:
        raise ValueError("the zero address cannot earn")
    return account


def _base64(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("expected base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("expected base64") from None


def _header(value: Any) -> tuple[str, str]:
    pair = value if isinstance(value, list) and len(value) == 2 else (None, None)
    name, text = pair
    if not isinstance(name, str) or not isinstance(text, str) or len(name + text) > TEXT_MAX:
        raise ValueError(f"expected a list of name and value, at most {TEXT_MAX} characters")
    return name, text


Address = Annotated[str, BeforeValidator(_address)]
Account = Annotated[str, BeforeValidator(_account)]
Bytes32 = Annotated[bytes, _bytes(32)]
AnyBytes = Annotated[bytes, _bytes(None)]
Element = Annotated[int, _decimal(0, P - 1, "a field element")]
PositiveAmount = Annotated[int, _decimal(1, UINT96_MAX, "1 to 2^96-1")]
Index = Annotated[int, Field(ge=0, lt=2**32)]
Sequence64 = Annotated[int, Field(ge=1, le=_STORED_MAX)]
Counter64 = Annotated[int, Field(ge=0, le=_STORED_MAX)]
ChainId = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(max_length=TEXT_MAX)]
Header = Annotated[tuple[str, str], BeforeValidator(_header)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class DeliveryIn(_Strict):
    """One delivery as received. `headers` is [name, value] each, `body` is base64."""

    partner: Text
    scheme: Text
    method: Text
    target: Text
    headers: Annotated[list[Header], Field(max_length=HEADERS_MAX)]
    body: Annotated[bytes, BeforeValidator(_base64)]
    salt: Bytes32


class ItemIn(_Strict):
    """One item: where its report stands, and its amount."""

    delivery: Index
    position: Index
    amount: PositiveAmount


class AttestationIn(_Strict):
    """The body of POST /v1/attestations."""

    chain_id: ChainId
    distributor: Address
    bucket: Index
    sequence: Sequence64
    new_root: Element
    items_root: Element
    interactions_root: Bytes32
    ledger_head: Bytes32
    attestor_epoch: Counter64
    valid_until: Counter64
    deltas: AnyBytes
    deliveries: Annotated[list[DeliveryIn], Field(min_length=1, max_length=LEAVES_MAX)]
    items: Annotated[list[ItemIn], Field(min_length=1, max_length=LEAVES_MAX)]

    def question(self) -> AttestationRequest:
        values = {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name not in ("deliveries", "items")
        }
        deliveries = tuple(
            SaltedDelivery(
                d.partner, Delivery(d.scheme, d.method, d.target, tuple(d.headers), d.body), d.salt
            )
            for d in self.deliveries
        )
        return AttestationRequest(
            **values,
            deliveries=deliveries,
            items=tuple(ItemClaim(i.delivery, i.position, i.amount) for i in self.items),
        )


class LeafIn(_Strict):
    """One item of a landed batch: hashes of partner and event, not the texts."""

    partner: Bytes32
    event_id: Bytes32
    account: Account
    amount: PositiveAmount
    occurred_at: Annotated[int, Field(gt=0, lt=OCCURRED_AT_MAX)]
    evidence: Bytes32
    item_amount: PositiveAmount

    def leaf(self) -> StoredLeaf:
        return StoredLeaf(**dict(self))


class LeavesIn(_Strict):
    """The body of POST /v1/leaves."""

    chain_id: ChainId
    distributor: Address
    bucket: Index
    sequence: Sequence64
    items: Annotated[list[LeafIn], Field(min_length=1, max_length=LEAVES_MAX)]


def parse(model: type[Model], body: bytes) -> Model:
    """`body` as `model`. Raises BadRequest for broken JSON, Invalid for the first field that breaks
    a rule; neither repeats the input."""
    try:
        found = model.model_validate_json(body)
        loads_once(body)
        return found
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    except ValueError:
        raise BadRequest("expected each key once in an object", field="body") from None
    field = ".".join(map(str, first["loc"])) or None
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        raise BadRequest("expected JSON in UTF-8", field="body")
    raise Invalid(message, field=field)
