"""From a batch's state and items to a proof that has been checked."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.errors import GuerdonError
from backend.kit.metrics import PROVE_SECONDS
from prover.circuit import compile_instance, load_instance
from prover.engine import RapidsnarkEngine
from prover.groth16 import Groth16Error, Prover
from prover.keys import KeyFolder
from prover.statement import StatementError, challenged, plan_batch
from prover.wire import Proof
from prover.witness import WitnessError

Pair = tuple[int, int]


class ProofError(Exception):
    """The statement cannot be proven at any attempt: it does not hold, or its proof does not
    verify."""


class ProverFailed(GuerdonError):
    """The prover's process ended or refused to work.

    The fault may be the machine's or the statement's.
    """

    code = "prover_failed"


@dataclass(frozen=True)
class Proven:
    """A verified proof, the public signals that it is over, and how long it took."""

    proof: Proof
    public_signals: tuple[int, int, int, int, int]
    milliseconds: int


class Provers:
    """One loaded prover for each key, kept for the life of the process."""

    def __init__(self, rapidsnark: Path | None = None, zkey: Path | None = None) -> None:
        """With both paths, that executable makes the proofs."""
        self._engine = (
            (lambda key: RapidsnarkEngine(key, rapidsnark, zkey)) if rapidsnark and zkey else None
        )
        self._provers: dict[str, Prover] = {}

    def get(self, key: KeyFolder) -> Prover:
        """The prover of a key's instance, with the key loaded.

        Raises:
            SetupError: the key is of another circuit than the present one.
            ProverFailed: the key cannot be loaded.
        """
        digest = key.verifying_key.digest
        if digest not in self._provers:
            self._provers[digest] = Prover(
                compile_instance(load_instance(key.manifest.instance)), key, self._engine
            )
        prover = self._provers[digest]
        try:
            prover.load()
        except Groth16Error as error:
            raise ProverFailed(str(error)) from error
        return prover

    def close(self) -> None:
        for prover in self._provers.values():
            prover.close()
        self._provers.clear()


def prove(
    provers: Provers,
    key: KeyFolder,
    old: Sequence[Pair],
    items: Sequence[Pair],
    roots: tuple[int, int, int],
    r: int,
) -> Proven:
    """Prove that `items` lead from `old` (slots in use) to the new root, and check the proof with
    the prover's own library.

    Raises:
        ProofError: the items do not fit, the statement's roots are not (old, new, items) `roots`,
        or no proof of the statement verifies.
        ProverFailed: the prover ended or refused to work.
    """
    prover = provers.get(key)
    start = time.monotonic()
    try:
        statement = challenged(plan_batch(prover.circuit.instance, old, items), r)
        if statement.public_signals[:3] != roots:
            raise ProofError(
                f"the statement's roots {statement.public_signals[:3]} are not the batch's {roots}"
            )
        proof = prover.prove(statement)
        seconds = time.monotonic() - start
        PROVE_SECONDS.labels(key.manifest.instance).observe(seconds)
        milliseconds = round(seconds * 1000)
        if not prover.verify(proof, statement.public_signals):
            raise ProofError("the proof does not verify under the prover's own key")
    except (StatementError, WitnessError) as error:
        raise ProofError(str(error)) from error
    except Groth16Error as error:
        raise ProverFailed(str(error)) from error
    return Proven(proof, statement.public_signals, milliseconds)


def prove_control(provers: Provers, key: KeyFolder) -> None:
    """Prove the simplest statement under a key.

    If the prover can do this and fails on another statement, then that statement is at fault.

    Raises:
        ProverFailed: the prover is at fault.
    """
    statement = plan_batch(load_instance(key.manifest.instance), [], [(1, 1)])
    try:
        prove(
            provers,
            key,
            [],
            [(1, 1)],
            (statement.old_root, statement.new_root, statement.items_root),
            2,
        )
    except ProofError as error:
        raise ProverFailed(f"the prover fails on a control statement too: {error}") from error
