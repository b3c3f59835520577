"""Groth16 over BN254: setup, prove and verify, by the library's process (`groth16_process`).

Source: eprint 2016/260. Verification here uses the prover's own library. `pairing` holds an
independent implementation.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from prover.cache import cache_root, cached_folder
from prover.circuit import CompiledCircuit, Instance, compile_instance
from prover.engine import LibraryEngine, ProofEngine
from prover.groth16_client import Groth16Error as Groth16Error
from prover.groth16_client import Groth16Process as Groth16Process
from prover.keys import KeyFolder, VerifyingKey, write_manifest
from prover.statement import Challenged
from prover.wire import Proof
from prover.witness import WitnessProgram


def dev_key_path(instance: Instance) -> Path:
    """Return the folder of this circuit's development key. The key may not exist yet."""
    return cache_root() / "keys" / f"{instance.name}-{instance.digest[:16]}"


def dev_key(instance: Instance) -> KeyFolder:
    """Return the cached single-party key of an instance, made on first use.

    Making it takes seconds (dev) or minutes (standard). The key is for development only: the party
    that ran the setup could have kept the trapdoor.

    Raises CircuitError, Groth16Error, SetupError.
    """

    def build(folder: Path) -> None:
        circuit = compile_instance(instance)
        with Groth16Process() as process:
            process.request(
                "setup",
                r1cs=str(circuit.r1cs),
                pk=str(folder / "proving_key.bin"),
                vk=str(folder / "verifying_key.json"),
            )
        write_manifest(folder, instance, "dev")

    return KeyFolder(cached_folder(dev_key_path(instance), build))


def verify(key: VerifyingKey, proof: Proof, public_signals: Sequence[int]) -> bool:
    """Return whether the library accepts the proof.

    Returns False also for coordinates that are not points and signals that are not below p.

    Raises Groth16Error for the wrong number of signals.
    """
    with Groth16Process() as process:
        return _verify(process, key, proof, public_signals)


def _verify(
    process: Groth16Process, key: VerifyingKey, proof: Proof, public_signals: Sequence[int]
) -> bool:
    public = [str(signal) for signal in public_signals]
    return (
        process.request("verify", vk=key.to_snarkjs(), proof=proof.to_bytes().hex(), public=public)
        is True
    )


class Prover:
    """Proves statements of one instance.

    It keeps the witness program loaded, and the key as far as its engine does.
    """

    def __init__(
        self,
        circuit: CompiledCircuit,
        key: KeyFolder,
        engine: Callable[[KeyFolder], ProofEngine] | None = None,
    ) -> None:
        """`engine` constructs the proof engine, by default the library.

        Raises SetupError for a key that is not of this circuit.
        """
        key.require_made_for(circuit.instance)
        self.circuit, self.key = circuit, key
        self._program = WitnessProgram(circuit.wasm)
        self._process = Groth16Process()
        self._engine = engine(key) if engine else LibraryEngine(key, self._process)

    def prove(self, challenged: Challenged) -> Proof:
        """A proof of the statement, not verified yet.

        Raises:
            WitnessError: the statement does not hold.
            Groth16Error: the engine failed.
        """
        with tempfile.TemporaryDirectory(prefix="guerdon-witness-") as folder:
            path = Path(folder) / "batch.wtns"
            self._program.write(challenged.circuit_inputs(), path)
            return self._engine.prove(path)

    def load(self) -> None:
        """Load the proving key now instead of at the first proof.

        Raises Groth16Error, SetupError.
        """
        self._engine.load()

    def verify(self, proof: Proof, public_signals: Sequence[int]) -> bool:
        """As the function `verify`, under this prover's key."""
        return _verify(self._process, self.key.verifying_key, proof, public_signals)

    def close(self) -> None:
        self._engine.close()
        self._process.close()
