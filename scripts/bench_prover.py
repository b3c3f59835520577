"""The default prover and snarkjs on the same circuit and witness.

Each runs as one process and as two at once, on a full batch of the dev instance. The default prover
makes a proof on one core, so it takes a process per core; snarkjs spreads one proof over all cores.
snarkjs is run by its command line. Its start-up time is measured apart and subtracted.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from prover import ceremony
from prover.cache import cache_root, cached_folder
from prover.circuit import CompiledCircuit, Instance, compile_instance
from prover.groth16 import Groth16Process, dev_key
from prover.statement import Challenged
from prover.witness import WitnessProgram
from scripts.rehearsal_ptau import rehearsal_ptau

ROUNDS = 5
PROCESSES = {"one_process": 1, "two_processes": 2}
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Run:
    """`proofs` proofs in `seconds` of wall time and `cpu_seconds` of all processes together; the
    memory is of the largest process."""

    proofs: int
    seconds: float
    cpu_seconds: float
    memory_bytes: int

    def figures(self, name: str, circuit: CompiledCircuit, processes: int) -> dict[str, float]:
        return {
            f"prover_{name}_constraints_per_second": round(
                circuit.constraints * self.proofs / self.seconds
            ),
            f"prover_{name}_items_per_core_second": round(
                circuit.instance.items * self.proofs / self.cpu_seconds, 1
            ),
            f"prover_{name}_proof_seconds": round(self.seconds * processes / self.proofs, 2),
            f"prover_{name}_memory_megabytes": round(self.memory_bytes / 2**20),
        }


def measure(statement: Challenged) -> dict[str, float]:
    """All figures, for one full batch of the dev instance."""
    instance = statement.statement.instance
    circuit = compile_instance(instance)
    zkey = snarkjs_key(instance)
    figures: dict[str, float] = {}
    rates: dict[str, list[float]] = {"default": [], "snarkjs": []}
    with tempfile.TemporaryDirectory(prefix="guerdon-bench-") as folder:
        wtns = Path(folder) / "batch.wtns"
        WitnessProgram(circuit.wasm).write(statement.circuit_inputs(), wtns)
        start = _snarkjs_start()
        for label, processes in PROCESSES.items():
            runs = {
                "default": default_run(instance, wtns, processes),
                "snarkjs": snarkjs_run(zkey, wtns, processes, start),
            }
            for name, run in runs.items():
                figures |= run.figures(f"{name}_{label}", circuit, processes)
                rates[name].append(run.proofs / run.seconds)
            figures[f"prover_default_over_snarkjs_{label}_ratio"] = round(
                rates["default"][-1] / rates["snarkjs"][-1], 2
            )
            figures[f"prover_default_over_snarkjs_{label}_cpu_ratio"] = round(
                runs["snarkjs"].cpu_seconds
                / runs["default"].cpu_seconds
                * runs["default"].proofs
                / runs["snarkjs"].proofs,
                2,
            )
    best = {name: max(found) for name, found in rates.items()}
    return figures | {
        "prover_snarkjs_start_seconds": round(start.seconds, 2),
        "prover_default_over_snarkjs_ratio": round(best["default"] / best["snarkjs"], 2),
    }


def snarkjs_key(instance: Instance) -> Path:
    """A throw-away key in snarkjs' format, made once and kept in the cache folder."""

    def build(folder: Path) -> None:
        ptau = rehearsal_ptau(ceremony.required_power(instance))
        ceremony.init(instance, ptau, folder / "initial.zkey")
        ceremony.contribute(folder / "initial.zkey", folder / "key.zkey", "bench")
        (folder / "initial.zkey").unlink()

    return (
        cached_folder(cache_root() / "bench" / f"{instance.name}-{instance.digest[:16]}", build)
        / "key.zkey"
    )


def default_run(instance: Instance, wtns: Path, processes: int) -> Run:
    """Proofs by the library's process, the key loaded before the clock starts."""
    key = dev_key(instance)
    provers = [Groth16Process() for _ in range(processes)]
    try:
        for prover in provers:
            prover.request("load", pk=str(key.proving_key))
            prover.request("prove", wtns=str(wtns))
        before = [prover.request("usage") for prover in provers]
        seconds = _at_once(processes, lambda i: provers[i].request("prove", wtns=str(wtns)))
        after = [prover.request("usage") for prover in provers]
    finally:
        for prover in provers:
            prover.close()
    cpu = sum(
        new["cpu_seconds"] - old["cpu_seconds"] for old, new in zip(before, after, strict=True)
    )
    return Run(ROUNDS * processes, seconds, cpu, max(usage["memory_bytes"] for usage in after))


def snarkjs_run(zkey: Path, wtns: Path, processes: int, start: Run) -> Run:
    """Proofs by `snarkjs groth16 prove`, less what its mere start takes."""
    usages = []

    def prove(i: int) -> None:
        out = wtns.with_suffix(f".{i}.json")
        usages.append(
            _measured(
                [
                    str(ceremony.SNARKJS),
                    "groth16",
                    "prove",
                    str(zkey),
                    str(wtns),
                    str(out),
                    str(out) + ".public",
                ]
            )
        )

    seconds = _at_once(processes, prove)
    proofs = ROUNDS * processes
    return Run(
        proofs,
        seconds - ROUNDS * start.seconds,
        sum(usage.cpu_seconds for usage in usages) - proofs * start.cpu_seconds,
        max(usage.memory_bytes for usage in usages),
    )


def _snarkjs_start() -> Run:
    runs = [_measured([str(ceremony.SNARKJS), "--version"], ok=(0, 99)) for _ in range(ROUNDS)]
    return min(runs, key=lambda run: run.seconds)


def _measured(command: list[str], ok: tuple[int, ...] = (0,)) -> Run:
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ok:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Run(
        1,
        time.monotonic() - start,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * _MAXRSS_BYTES,
    )


def _at_once(processes: int, prove: Callable[[int], object]) -> float:
    """Seconds until each of `processes` has made ROUNDS proofs."""

    def work(i: int) -> None:
        for _ in range(ROUNDS):
            prove(i)

    start = time.monotonic()
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(work, range(processes)))
    return time.monotonic() - start
