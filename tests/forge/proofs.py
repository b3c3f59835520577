"""Real proofs for the forge suite: the batches of tests/vectors/batch_dev.json under this machine's
development key, and the Merkle paths of their states.

Run it with `python -m tests.forge.proofs`; it writes build/forge/batch_dev.json. Proofs are kept in
the user's cache folder, so only the first run proves.
"""

import json
from contextlib import closing
from typing import Any

from prover.circuit import compile_instance
from prover.groth16 import Prover, dev_key
from prover.statement import Pair, plan_batch
from prover.tree import Tree
from scripts.compile import ROOT, install_compiler
from tests.contracts.program import DEV, ProofCache

VECTORS = ROOT / "tests" / "vectors" / "batch_dev.json"
OUTPUT = ROOT / "build" / "forge" / "batch_dev.json"


def pairs_of(shown: list[list[str]]) -> list[Pair]:
    """(account, amount) of each pair of a vector."""
    return [(int(account, 16), int(amount)) for account, amount in shown]


def words(values: list[int]) -> list[str]:
    """Each value as 32 bytes of hex."""
    return [f"{value:#066x}" for value in values]


def proven(batch: dict[str, Any], proofs: ProofCache) -> dict[str, Any]:
    """The proof of a batch, the siblings of each slot and those of all slots together."""
    statement = plan_batch(DEV, pairs_of(batch["old"]), pairs_of(batch["items"]))
    pairs = pairs_of(batch["new"])
    tree = Tree(DEV.levels, [element for pair in pairs for element in pair])
    assert tree.root == statement.new_root == int(batch["envelope"]["newRoot"], 16)
    return {
        "proof": words(proofs.prove(statement, int(batch["r"], 16)).to_words()),
        "siblings": [words(tree.siblings(slot)) for slot in range(len(pairs))],
        "allSiblings": words(tree.multi_siblings(range(len(pairs)))),
    }


def main() -> None:
    """Write the file, and put the compiler where foundry.toml looks for it."""
    install_compiler()
    key = dev_key(DEV)
    with closing(Prover(compile_instance(DEV), key)) as prover:
        proofs = ProofCache(prover)
        batches = json.loads(VECTORS.read_text())["batches"]
        content = {
            "key": words(key.verifying_key.to_words()),
            "batches": [proven(batch, proofs) for batch in batches],
        }
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
