"""The `deltas` format in Solidity: every rule one by one, and totals and fingerprints of the shared vectors."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.refusal import refused

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "deltas.json").read_text())


@pytest.fixture(scope="module")
def harness(project: Any, deployer: Any) -> Any:
    return deployer.deploy(project.DeltasHarness)


@pytest.mark.parametrize("case", VECTORS["malformed"], ids=lambda case: case["name"])
def test_malformed_deltas_are_refused_by_their_rule(harness: Any, case: dict[str, Any]) -> None:
    """Each malformed vector is refused by the custom error of the rule that it breaks."""
    refused(case["rule"], harness.read, bytes.fromhex(case["data"][2:]), case["opened"], case["slots"], 7)


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_totals_and_fingerprints(harness: Any, case: dict[str, Any]) -> None:
    """Each well-formed vector has the total and, at every challenge, the fingerprint that Python computes."""
    for point in case["fingerprints"]:
        openings, total, fingerprint = harness.read(
            bytes.fromhex(case["data"][2:]), case["opened"], case["slots"], int(point["r"], 16)
        )
        assert openings == len(case["openings"])
        assert total == int(case["total"])
        assert fingerprint == int(point["fingerprint"], 16)
