"""Groth16 over BN254: setup, prove and verify, by the library's process (`groth16_process`).

Source: eprint 2016/260. A verification here is by the prover's own library; `pairing` holds an independent second opinion.
"""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prover.cache import cache_root, cached_folder
from prover.circuit import CompiledCircuit, Instance, compile_instance
from prover.keys import KeyFolder, VerifyingKey, write_manifest
from prover.statement import Challenged
from prover.wire import Proof
from prover.witness import WitnessProgram


class Groth16Error(Exception):
    """The library refused a request or its process ended; the message is the library's."""


class Groth16Process:
    """The library's process, started on the first request and restarted after it ends. Requests take turns."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def request(self, do: str, **fields: Any) -> Any:
        """Send one request, return the answer. Raises Groth16Error."""
        with self._lock:
            process = self._started()
            try:
                process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            # A process that dies while it answers leaves half a line.
            if not line.endswith("\n"):
                self.close()
                raise Groth16Error(f"{do}: the Groth16 process ended (killed, or out of memory)")
        answer = json.loads(line)
        if "error" in answer:
            raise Groth16Error(f"{do}: {answer['error']}")
        return answer["ok"]

    def close(self) -> None:
        """End the process; a later request starts a new one."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "prover.groth16_process"]
            cwd = Path(__file__).parent.parent
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd)
        return self._process

    def __enter__(self) -> "Groth16Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def dev_key_path(instance: Instance) -> Path:
    """Where the development key of this very circuit is or will be."""
    return cache_root() / "keys" / f"{instance.name}-{instance.digest[:16]}"


def dev_key(instance: Instance) -> KeyFolder:
    """The cached single-party key of an instance, made on first use (dev seconds, standard minutes). For development only: whoever
    ran the setup could have kept the trapdoor. Raises CircuitError, Groth16Error, SetupError."""

    def build(folder: Path) -> None:
        circuit = compile_instance(instance)
        with Groth16Process() as process:
            process.request(
                "setup", r1cs=str(circuit.r1cs), pk=str(folder / "proving_key.bin"), vk=str(folder / "verifying_key.json")
            )
        write_manifest(folder, instance, "dev")

    return KeyFolder(cached_folder(dev_key_path(instance), build))


def verify(key: VerifyingKey, proof: Proof, public_signals: Sequence[int]) -> bool:
    """Whether the library accepts the proof: False also for points that are none and signals that are not below p.

    Raises Groth16Error for the wrong number of signals.
    """
    with Groth16Process() as process:
        return process.request(
            "verify", vk=key.to_snarkjs(), proof=proof.to_bytes().hex(), public=[str(s) for s in public_signals]
        )


class Prover:
    """Proves statements of one instance. Keeps the witness program and, in the library's process, the key loaded."""

    def __init__(self, circuit: CompiledCircuit, key: KeyFolder) -> None:
        """Raises SetupError for a key that is not of this circuit."""
        key.require_made_for(circuit.instance)
        self.circuit, self.key = circuit, key
        self._program = WitnessProgram(circuit.wasm)
        self._process = Groth16Process()
        self._loaded: object = None

    def prove(self, challenged: Challenged) -> Proof:
        """A proof of the statement, not verified yet.

        Raises:
            WitnessError: the statement does not hold.
            Groth16Error: the library failed.
        """
        with tempfile.TemporaryDirectory(prefix="guerdon-witness-") as folder:
            path = Path(folder) / "batch.wtns"
            self._program.write(challenged.circuit_inputs(), path)
            self.load()
            return Proof.from_bytes(bytes.fromhex(self._process.request("prove", wtns=str(path))))

    def load(self) -> None:
        """Load the proving key now instead of at the first proof."""
        if self._loaded is None or self._loaded is not self._process._process or self._process._process.poll() is not None:
            self._process.request("load", pk=str(self.key.proving_key))
            self._loaded = self._process._process

    def verify(self, proof: Proof, public_signals: Sequence[int]) -> bool:
        """As the function `verify`, under this prover's key."""
        vk = self.key.verifying_key.to_snarkjs()
        return self._process.request("verify", vk=vk, proof=proof.to_bytes().hex(), public=[str(s) for s in public_signals])

    def close(self) -> None:
        self._process.close()
