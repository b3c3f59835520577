"""The strict parser that the API and the attestors share, as a function."""

import contextlib
import json
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.partner.report import (
    BodyError,
    Report,
    ReportError,
    address_fault,
    parse_body,
    to_checksum,
)
from tests.support.engine import address, item

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
fields = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("event_id", "account", "amount", "occurred_at", "more"), json_values),
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Whatever the bytes, the parser returns items or raises BodyError with a field that UTF-8 can
    hold."""
    try:
        assert 1 <= len(parse_body(body)) <= 1000
    except BodyError as error:
        error.field.encode()


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(fields | json_values, min_size=1, max_size=5), st.integers(0, 5))
def test_any_items(bad: list, at: int) -> None:
    """Whatever stands beside it, a good item is read; every answer's field can be sent back as
    UTF-8."""
    items = [*bad[:at], item("good"), *bad[at:]]
    parsed = parse_body(json.dumps({"interactions": items}).encode())
    assert len(parsed) == len(items)
    assert isinstance(parsed[min(at, len(bad))], Report)
    for one in parsed:
        if isinstance(one, ReportError):
            one.field.encode()
            assert one.message


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 2**96 - 1),
    st.integers(1, 2**160 - 1),
    st.integers(1, 2**40 - 1),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128),
)
def test_every_good_item(amount: int, account: int, occurred_at: int, event_id: str) -> None:
    """All that the format allows is read, exactly."""
    text = f"0x{account:040x}"
    body = json.dumps(
        {
            "interactions": [
                {
                    "event_id": event_id,
                    "account": text,
                    "amount": str(amount),
                    "occurred_at": occurred_at,
                }
            ]
        }
    )
    assert parse_body(body.encode()) == [Report(event_id, to_checksum(text), amount, occurred_at)]


def test_checksum() -> None:
    """EIP-55 and either single case are addresses; any other mixed case is told the right form."""
    alice = address("alice")
    assert [address_fault(text) for text in (alice, alice.lower(), "0x" + alice[2:].upper())] == [
        None
    ] * 3
    for at, letter in enumerate(alice[2:], start=2):
        if letter.isalpha():
            assert alice in address_fault(alice[:at] + letter.swapcase() + alice[at + 1 :])


@pytest.mark.parametrize("count", [1, 1000])
def test_list_limits(count: int) -> None:
    """1 and 1,000 items are read; 0 and 1,001 are refused on `interactions`."""
    assert len(parse_body(json.dumps({"interactions": [item("e")] * count}).encode())) == count
    for wrong in (0, 1001):
        with pytest.raises(BodyError) as caught:
            parse_body(json.dumps({"interactions": [item("e")] * wrong}).encode())
        assert caught.value.field == "interactions"


LARGEST = 2 * 2**20
"""Bytes of the largest body that the API takes by default."""
COSTLY = {
    "one text": b'{"a":"' + b"x" * (LARGEST - 10) + b'"}',
    "one text of escapes": b'{"a":"' + b"\\n" * (LARGEST // 2 - 10) + b'"}',
    "an open text": b'"' + b'\\"' * (LARGEST // 2 - 10),
    "quotes": b'"' * LARGEST,
    "empty texts": b'"",' * (LARGEST // 3),
    "brackets": b"[]" * (LARGEST // 2),
    "backslashes": b"\\" * LARGEST,
    "keys": json.dumps({"interactions": [{f"k{i}": 1 for i in range(150_000)}]}).encode(),
    "keys, the last one twice": json.dumps({f"k{i}": 1 for i in range(150_000)}).encode()[:-1]
    + b',"k149999":1}',
}


@pytest.mark.parametrize("name", COSTLY)
def test_the_largest_body_costs_little(name: str) -> None:
    """No body of the largest size takes long to read or refuse, whatever is in it: time grows with
    the bytes."""
    assert len(COSTLY[name]) <= LARGEST
    start_seconds = time.process_time()
    with contextlib.suppress(BodyError):
        parse_body(COSTLY[name])
    assert time.process_time() - start_seconds < 5


@pytest.mark.slow
def test_the_nesting_check_takes_no_memory() -> None:
    """Looking for deep nesting takes a few bytes of memory for each byte of the body at most, in a
    process of its own."""
    program = """
import resource, sys
from backend.partner import report
from tests.partner.test_report import COSTLY
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for body in COSTLY.values():
    report._require_shallow(body)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(run.stdout) < 64 * 1024, "kilobytes"
