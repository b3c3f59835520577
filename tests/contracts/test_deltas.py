"""The `deltas` format in Solidity: every rule one by one, and totals and fingerprints of the shared
vectors."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from prover.field import P
from prover.wire import Deltas, DeltasError
from tests.contracts.refusal import refusal, refused

RECORD_RULES = {"SlotNotOpen", "SlotsNotAscending", "ZeroDelta", "ZeroAddress"}
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "deltas.json").read_text())


@pytest.fixture(scope="module")
def harness(project: Any, deployer: Any) -> Any:
    return deployer.deploy(project.DeltasHarness)


@pytest.mark.parametrize("case", VECTORS["malformed"], ids=lambda case: case["name"])
def test_malformed_deltas_are_refused_by_their_rule(harness: Any, case: dict[str, Any]) -> None:
    """Each malformed vector is refused by the custom error of the rule that it breaks."""
    refused(
        case["rule"],
        harness.read,
        bytes.fromhex(case["data"][2:]),
        case["opened"],
        case["slots"],
        7,
    )


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_totals_and_fingerprints(harness: Any, case: dict[str, Any]) -> None:
    """Each well-formed vector has the total and, at every challenge, the fingerprint that Python
    computes."""
    for point in case["fingerprints"]:
        openings, total, fingerprint = harness.read(
            bytes.fromhex(case["data"][2:]), case["opened"], case["slots"], int(point["r"], 16)
        )
        assert openings == len(case["openings"])
        assert total == int(case["total"])
        assert fingerprint == int(point["fingerprint"], 16)


def _random_deltas(rng: random.Random, opened: int, slots: int) -> bytes:
    """Runs of neighbours, gaps and openings, of small and of the largest deltas."""
    density = rng.choice((0.1, 0.5, 0.9, 1.0))
    delta = lambda: rng.choice((1, rng.randrange(1, 2**64), 2**96 - 1))  # noqa: E731
    existing = tuple((slot, delta()) for slot in range(opened) if rng.random() < density)
    openings = tuple(
        (rng.randrange(1, 2**160), delta())
        for _ in range(rng.randrange(min(4, slots - opened + 1)))
    )
    return Deltas(existing, openings).encode()


def test_agrees_with_python_on_random_and_damaged_deltas(harness: Any) -> None:
    """Solidity and Python take the same bytes for deltas, sum them up to the same, and refuse
    damaged ones by the same rule."""
    rng = random.Random("deltas")
    taken = set()
    for _ in range(150):
        opened = rng.choice((0, 1, 2, 3, 17, 32))
        data = bytearray(_random_deltas(rng, opened, 32))
        if rng.random() < 0.6 and len(data) > 2:
            record = 2 + 14 * rng.randrange(max(1, (len(data) - 2) // 14))
            damage = rng.choice((b"\0" * 12, b"\0\0", b"\0\1", b"\xff\xff", bytes(data[2:16])))
            place = record + (2 if len(damage) == 12 else 0)
            data[place : place + len(damage)] = damage[: max(0, len(data) - place)]
        r = rng.randrange(P)
        expected, rule = _by_python(bytes(data), opened)
        if expected is None:
            # Solidity reads backwards: where several records are at fault it may name another's
            # rule.
            found = refusal(harness.read, bytes(data), opened, 32, r)[0]
            assert found == rule or {found, rule} <= RECORD_RULES
            taken.add(found)
        else:
            openings, total, fingerprint = harness.read(bytes(data), opened, 32, r)
            assert (openings, total) == (len(expected.opened), expected.total)
            assert fingerprint == expected.fingerprint(r, opened, 32)
            taken.add("taken")
    assert {"taken", "SlotNotOpen", "SlotsNotAscending", "ZeroDelta"} <= taken


def _by_python(data: bytes, opened: int) -> tuple[Deltas | None, str]:
    """(what Python reads, "") or (None, the rule that it finds broken)."""
    try:
        return Deltas.decode(data, opened, 32), ""
    except DeltasError as error:
        return None, error.rule
