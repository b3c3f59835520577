"""`make bench`: measure, print, and write build/bench.json.

The file is a flat object of name to number; names end in the unit.

    python -m scripts.bench [circuit] [prover] [gas] [intake] [buckets] [sparse]

measures these sections only; the default is all.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from prover.circuit import compile_instance, load_instance
from prover.groth16 import Prover, dev_key
from prover.statement import BatchStatement, challenged, plan_batch
from scripts import bench_prover
from scripts.bench_buckets import measure as measure_buckets
from scripts.bench_gas import measure as measure_gas
from scripts.bench_intake import measure as measure_intake
from scripts.bench_sparse import measure as measure_sparse
from scripts.bench_sparse import table as sparse_table

RESULTS = Path(__file__).parent.parent / "build" / "bench.json"
Figures = dict[str, float]

RIVAL_GAS = {
    # 20 siblings, about a million leaves, one token. None of them proves its roots, bounds the sum
    # of the leaves by the reserve, or puts the leaves on chain; each holds a million leaves under
    # one root, Guerdon 512 accounts a bucket.
    "Morpho URD": {"claim_first_gas": 98_321, "claim_repeat_gas": 64_145, "post_1_gas": 136_359},
    "EigenLayer RewardsCoordinator": {
        "claim_first_gas": 130_222,
        "claim_repeat_gas": 96_058,
        "post_1_gas": 88_959,
    },
    "Merkl": {"claim_first_gas": 142_327, "claim_repeat_gas": 91_009, "post_1_gas": 58_794},
    "Uniswap MerkleDistributor": {"claim_first_gas": 95_256},
}


def full_batch(name: str) -> BatchStatement:
    """A batch of the instance that touches every slot and uses every item.

    Half of the accounts occupy slots already.
    """
    instance = load_instance(name)
    accounts = [(10**40 + 7919 * s, 10**18 + s) for s in range(instance.slots)]
    items = [(accounts[j % instance.slots][0], 10**15 + j) for j in range(instance.items)]
    return plan_batch(instance, accounts[: instance.slots // 2], items)


def measure_circuit() -> Figures:
    """Constraints and proof time of both instances: witness included, key loaded."""
    figures: Figures = {}
    for name in ("dev", "standard"):
        instance = load_instance(name)
        circuit = compile_instance(instance)
        prover = Prover(circuit, dev_key(instance))
        prover.load()
        statement = challenged(full_batch(name), 2**253 // 3)
        seconds = []
        for _ in range(3 if name == "dev" else 1):
            start = time.monotonic()
            proof = prover.prove(statement)
            seconds.append(time.monotonic() - start)
        if not prover.verify(proof, statement.public_signals):
            raise SystemExit(f"{name}: the proof does not verify")
        prover.close()
        figures |= {
            f"constraints_{name}_count": circuit.constraints,
            f"prove_{name}_seconds": round(min(seconds), 3),
        }
        figures[f"prove_{name}_constraints_per_second"] = round(circuit.constraints / min(seconds))
    return figures


def measure_prover() -> Figures:
    """The default prover and snarkjs on one full batch of the dev instance."""
    return bench_prover.measure(challenged(full_batch("dev"), 2**253 // 3))


SECTIONS: dict[str, Callable[[], Mapping[str, float]]] = {
    "circuit": measure_circuit,
    "prover": measure_prover,
    "gas": measure_gas,
    "intake": measure_intake,
    "buckets": measure_buckets,
    "sparse": measure_sparse,
}


def show(figures: Figures, console: Console) -> None:
    """Print every figure, and gas beside the figures of others."""
    table = Table(title="Measured", title_justify="left", show_header=False)
    for name, value in figures.items():
        if "_per_account_1" not in name or name == "sparse_gas_per_account_1m_10pct":
            table.add_row(name, f"{value:,}")
    console.print(table)
    if "sparse_gas_per_account_1m_10pct" in figures:
        console.print(sparse_table(figures))
    if "claim_first_gas" in figures:
        columns = ("claim_first_gas", "claim_repeat_gas", "post_1_gas")
        table = Table(
            "",
            *columns,
            title="Gas next to others (theirs: a million leaves, neither proven nor on chain)",
            title_justify="left",
        )
        table.add_row("Guerdon, 512 accounts a bucket", *(f"{figures[name]:,}" for name in columns))
        for rival, gas in RIVAL_GAS.items():
            table.add_row(
                rival,
                *(
                    f"{gas[name]:,} ({figures[name] / gas[name]:.2f}x)" if name in gas else "-"
                    for name in columns
                ),
            )
        console.print(table)


def main(names: list[str]) -> int:
    if unknown := set(names) - set(SECTIONS):
        print(
            f"unknown section {', '.join(unknown)}: expected {', '.join(SECTIONS)}", file=sys.stderr
        )
        return 2
    console = Console()
    figures: Figures = {}
    for name in names or SECTIONS:
        with console.status(f"Measuring {name}"):
            figures |= SECTIONS[name]()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures, console)
    console.print(f"Written to {RESULTS.relative_to(RESULTS.parent.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
