"""Solidity, the prover and the model read the same bytes as the same `deltas`, and refuse the same
bytes."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.contracts_fuzz.deltas import Case, case, compare
from tests.contracts_fuzz.node import Node, creation, node
from tests.contracts_fuzz.runner import DEPLOYER, START

CASES, AT_ONCE = 20_000, 100


@pytest.fixture(scope="module")
def harness() -> Iterator[tuple[Node, str]]:
    with node() as fresh:
        yield fresh, fresh.deploy(creation("DeltasHarness"), DEPLOYER, START)


def test_three_readers_agree_on_what_is_almost_well_formed(harness: tuple[Node, str]) -> None:
    """Damaged encodings are taken by all three or by none, refused by the very record's error, and
    summed up to the same."""
    rng = random.Random("deltas")
    found: Counter = Counter()
    for _ in range(CASES // AT_ONCE):
        found += compare(*harness, [case(rng) for _ in range(AT_ONCE)])
    assert sum(found.values()) == CASES
    rules = {
        "DeltasLength",
        "BucketFull",
        "SlotNotOpen",
        "SlotsNotAscending",
        "ZeroDelta",
        "ZeroAddress",
    }
    assert set(found) == rules | {"taken"}
    assert min(found.values()) > 100, found


def test_a_difference_is_found(harness: tuple[Node, str]) -> None:
    """The comparison sees what it is for: asked about a bucket with one slot more in use, the
    contract disagrees."""
    node, address = harness
    data = bytes.fromhex("0001" + "0003" + "00" * 11 + "01")
    assert compare(node, address, [Case(data, 4, 8, 5), Case(data, 3, 8, 5)]) == {
        "taken": 1,
        "SlotNotOpen": 1,
    }

    class Lenient(Node):
        def outcomes(self, calls, time=None):  # type: ignore[no-untyped-def]
            return [(True, bytes(96)) for _ in calls]

    with pytest.raises(AssertionError, match="takes what the prover refuses by SlotNotOpen"):
        compare(
            Lenient(f"http://{node._connection.host}:{node._connection.port}"),
            address,
            [Case(data, 3, 8, 5)],
        )
