"""backend/proof/service.py: what fails for good, what is the prover's own fault, and which engine
makes the proofs."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.config import Settings
from backend.proof.service import ProofError, Provers, prove, prove_control
from prover.circuit import load_instance
from prover.groth16 import dev_key
from prover.keys import SetupError
from prover.statement import plan_batch

ITEMS = [(7, 10), (8, 20)]
DEV = load_instance("dev")


def roots(old: list[tuple[int, int]], items: list[tuple[int, int]]) -> tuple[int, int, int]:
    statement = plan_batch(DEV, old, items)
    return statement.old_root, statement.new_root, statement.items_root


@pytest.fixture(scope="module")
def provers() -> Provers:
    """Provers that keep the development key loaded for this file."""
    made = Provers()
    yield made
    made.close()


def test_proof_and_control(provers: Provers) -> None:
    """A statement that holds is proven, and so is the control."""
    assert prove(provers, dev_key(DEV), [], ITEMS, roots([], ITEMS), 5).public_signals[:3] == roots(
        [], ITEMS
    )
    prove_control(provers, dev_key(DEV))


@pytest.mark.parametrize(
    ("items", "r", "reason"),
    [
        ([(7, 10), (8, 21)], 5, "are not the batch's"),
        ([(7, 0)], 5, "amount"),
        (ITEMS, 7, "do not satisfy"),
    ],
    ids=["other roots", "bad item", "pole"],
)
def test_fails_for_good(
    provers: Provers, items: list[tuple[int, int]], r: int, reason: str
) -> None:
    """Whatever no prover could prove is a ProofError that says why."""
    with pytest.raises(ProofError, match=reason):
        prove(provers, dev_key(DEV), [], items, roots([], ITEMS), r)


def test_native_prover_that_fails(tmp_path: Path) -> None:
    """With both paths set the proofs come from there: a key that cannot be read is an error that
    names it, not a proof."""
    native = tmp_path / "rapidsnark"
    native.write_text("#!/bin/sh\nexit 1\n")
    native.chmod(0o755)
    provers = Provers(native, tmp_path / "none.zkey")
    with pytest.raises(SetupError, match=r"none\.zkey"):
        prove(provers, dev_key(DEV), [], ITEMS, roots([], ITEMS), 5)


@pytest.mark.parametrize("given", ["rapidsnark", "zkey"])
def test_one_path_without_the_other(given: str) -> None:
    """Half a setting is refused by name when the process starts."""
    with pytest.raises(ValidationError, match="GUERDON_RAPIDSNARK, GUERDON_ZKEY"):
        Settings(**{given: Path("somewhere")})
