"""The encoding of a delivery: as PROTOCOL section 6 has it, and never the same for two."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.partner.evidence import Delivery

CASES = json.loads((Path(__file__).parents[1] / "vectors/evidence.json").read_text())["cases"]

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=4)
DELIVERIES = st.builds(
    Delivery,
    TEXTS,
    TEXTS,
    TEXTS,
    st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
    st.binary(max_size=4),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_shared_vectors(case: dict[str, Any]) -> None:
    """Encoding and hash are those of an implementation that shares no code."""
    headers = tuple((name, value) for name, value in case["headers"])
    body = bytes.fromhex(case["body"][2:])
    delivery = Delivery(case["scheme"], case["method"], case["target"], headers, body)
    assert "0x" + delivery.encode().hex() == case["encoding"]
    assert "0x" + delivery.hash(bytes.fromhex(case["salt"][2:])).hex() == case["evidence"]


@given(DELIVERIES)
def test_encoding_gives_back_the_delivery(delivery: Delivery) -> None:
    """A reader of the bytes finds one delivery and no byte more, so no two share an encoding."""
    assert decode(delivery.encode()) == delivery


@given(DELIVERIES, DELIVERIES)
def test_no_two_deliveries_share_an_encoding(one: Delivery, other: Delivery) -> None:
    """Different deliveries have different encodings."""
    assert (one.encode() == other.encode()) == (one == other)


@given(DELIVERIES, st.data())
def test_moved_bytes_change_the_encoding(delivery: Delivery, data: st.DataObject) -> None:
    """Text that moves over the border between two parts changes the encoding."""
    cut = data.draw(st.integers(0, len(delivery.target)))
    rest, moved = delivery.target[:cut], delivery.target[cut:]
    other = replace(delivery, method=delivery.method + moved, target=rest)
    assert (other.encode() == delivery.encode()) == (moved == "")


def test_not_the_former_encoding() -> None:
    """The version byte tells the encoding from the one before it, which began with a length."""
    former = b"".join(len(part).to_bytes(4, "big") + part for part in (b"id", b"1", b"v1,", b"{}"))
    assert Delivery("s", "POST", "/", (), b"").encode()[0] == 1 != former[0]


def decode(raw: bytes) -> Delivery:
    """Read an encoding from left to right."""
    assert raw[0] == 1
    position = 1

    def number() -> int:
        nonlocal position
        position += 4
        return int.from_bytes(raw[position - 4 : position], "big")

    def part() -> bytes:
        nonlocal position
        size = number()
        position += size
        return raw[position - size : position]

    scheme, method, target = (part().decode() for _ in range(3))
    headers = tuple((part().decode(), part().decode()) for _ in range(number()))
    body = part()
    assert position == len(raw)
    return Delivery(scheme, method, target, headers, body)
