"""Whole batches of the shared vectors in Solidity: roots, totals and fingerprints as in Python and
in the circuit."""

import json
from pathlib import Path
from typing import Any

import pytest

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "batch_dev.json").read_text())
SHAPE = VECTORS["instance"]
EMPTY = (f"{0:#042x}", "0")


@pytest.fixture(scope="module")
def harness(project: Any, deployer: Any) -> Any:
    return deployer.deploy(project.DeltasHarness)


@pytest.mark.parametrize(
    "batch", VECTORS["batches"], ids=lambda batch: f"sequence {batch['sequence']}"
)
def test_roots(hasher: Any, batch: dict[str, Any]) -> None:
    """The old state, the new state and the items fold to the batch's three roots."""
    for pairs, levels, root in (
        (batch["old"], SHAPE["levels"], batch["envelope"]["oldRoot"]),
        (batch["new"], SHAPE["levels"], batch["envelope"]["newRoot"]),
        (batch["items"], SHAPE["itemLevels"], batch["envelope"]["itemsRoot"]),
    ):
        slots = 4**levels // 2
        padded = [*pairs, *[EMPTY] * (slots - len(pairs))]
        payouts = [(slot, address, int(amount)) for slot, (address, amount) in enumerate(padded)]
        assert hasher.root(payouts, [], levels) == int(root, 16)


@pytest.mark.parametrize(
    "batch", VECTORS["batches"], ids=lambda batch: f"sequence {batch['sequence']}"
)
def test_deltas(harness: Any, batch: dict[str, Any]) -> None:
    """The batch's deltas have its total and, at the challenge of its digest, its fingerprint."""
    openings, total, fingerprint = harness.read(
        bytes.fromhex(batch["deltas"][2:]), batch["opened"], SHAPE["slots"], int(batch["r"], 16)
    )
    assert openings == len(batch["new"]) - len(batch["old"])
    assert total == int(batch["total"])
    assert fingerprint == int(batch["fingerprint"], 16)
