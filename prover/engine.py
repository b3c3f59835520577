"""Engines that make a proof from a witness file: the library of a wheel, or a native prover.

The native prover is rapidsnark's command line, `rapidsnark KEY.zkey WITNESS.wtns PROOF.json
PUBLIC.json`, a separate program that the operator installs. The library verifies each proof of
either engine before the proof is used.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Protocol

from prover.groth16_client import ANSWER_SECONDS_MAX, Groth16Error, Groth16Process
from prover.keys import KeyFolder, SetupError
from prover.wire import Proof
from prover.zkey import read_zkey

REASON_CHARACTERS_MAX = 300


class ProofEngine(Protocol):
    """Proves statements of one circuit under one key."""

    def load(self) -> None:
        """Load the key now instead of at the first proof. Raises SetupError, Groth16Error."""

    def prove(self, wtns: Path) -> Proof:
        """A proof of the witness, not verified yet. Raises SetupError, Groth16Error."""

    def close(self) -> None:
        """Give up what is loaded."""


class LibraryEngine:
    """The library's process: the key stays loaded in it from one proof to the next."""

    def __init__(self, key: KeyFolder, process: Groth16Process) -> None:
        self._key, self._process = key, process
        self._loaded_in: subprocess.Popen[str] | None = None

    def load(self) -> None:
        if not self._process.is_running(self._loaded_in):
            self._process.request("load", pk=str(self._key.proving_key))
            self._loaded_in = self._process.running

    def prove(self, wtns: Path) -> Proof:
        self.load()
        return Proof.from_bytes(bytes.fromhex(self._process.request("prove", wtns=str(wtns))))

    def close(self) -> None:
        self._process.close()


class RapidsnarkEngine:
    """rapidsnark, or any program with its command line. It reads the key again for each proof."""

    def __init__(
        self, key: KeyFolder, executable: Path, zkey: Path, seconds_max: int = ANSWER_SECONDS_MAX
    ) -> None:
        self._key, self._executable, self._zkey, self._seconds_max = (
            key,
            executable,
            zkey,
            seconds_max,
        )
        self._checked = False

    def load(self) -> None:
        """Check that the zkey belongs to the deployed verifier's key. There is nothing to load."""
        if self._checked:
            return
        if not self._executable.is_file():
            raise SetupError(
                f"GUERDON_RAPIDSNARK: expected the path of an executable, got {self._executable}"
            )
        if read_zkey(self._zkey).verifying_key != self._key.verifying_key:
            raise SetupError(
                f"GUERDON_ZKEY: {self._zkey} is another key than {self._key.path}, which the "
                "proofs are for"
            )
        self._checked = True

    def prove(self, wtns: Path) -> Proof:
        self.load()
        with tempfile.TemporaryDirectory(prefix="guerdon-proof-") as folder:
            proof, public = Path(folder) / "proof.json", Path(folder) / "public.json"
            command = [str(self._executable), str(self._zkey), str(wtns), str(proof), str(public)]
            try:
                run = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                    timeout=self._seconds_max,
                )
                if run.returncode:
                    raise Groth16Error(
                        f"{self._executable.name} ended with {run.returncode}: "
                        f"{_last_line(run.stderr or run.stdout)}"
                    )
                return Proof.from_snarkjs(json.loads(proof.read_text()))
            except subprocess.TimeoutExpired:
                raise Groth16Error(
                    f"{self._executable.name} has not ended after {self._seconds_max} s"
                ) from None
            except (OSError, ValueError) as error:
                raise Groth16Error(f"{self._executable.name}: {error}") from error

    def close(self) -> None:
        """Do nothing: the engine keeps nothing loaded."""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:REASON_CHARACTERS_MAX] if lines else "it said nothing"
