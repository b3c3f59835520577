"""From a batch's state and items to a proof that has been checked."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from prover.circuit import compile_instance, load_instance
from prover.groth16 import Prover, dev_key
from prover.statement import challenged, plan_batch
from prover.wire import Proof

Pair = tuple[int, int]


class ProofError(Exception):
    """A proof could not be made, or did not verify."""


@dataclass(frozen=True)
class Proven:
    """A verified proof, the public signals that it is over, and how long it took."""

    proof: Proof
    public_signals: tuple[int, int, int, int, int]
    milliseconds: int


class Provers:
    """One loaded prover an instance, kept for the life of the process."""

    def __init__(self) -> None:
        self._provers: dict[str, Prover] = {}

    def get(self, instance_name: str, chain_id: int) -> Prover:
        """The prover of an instance with its key. Raises SetupError for a development key on a chain that is not local."""
        if instance_name not in self._provers:
            instance = load_instance(instance_name)
            self._provers[instance_name] = Prover(compile_instance(instance), dev_key(instance))
        prover = self._provers[instance_name]
        prover.key.require_allowed_on(chain_id)
        return prover

    def close(self) -> None:
        for prover in self._provers.values():
            prover.close()
        self._provers.clear()


def prove(
    provers: Provers, instance_name: str, chain_id: int, old: Sequence[Pair], items: Sequence[Pair], roots: tuple[int, int, int], r: int
) -> Proven:
    """Prove that `items` lead from `old` (slots in use) to the new root, and check the proof with the prover's own library.

    Raises:
        ProofError: the statement's roots are not (old, new, items) `roots`, or the proof does not verify.
    """
    prover = provers.get(instance_name, chain_id)
    prover.load()
    start = time.monotonic()
    statement = challenged(plan_batch(prover.circuit.instance, old, items), r)
    if statement.public_signals[:3] != roots:
        raise ProofError(f"the statement's roots {statement.public_signals[:3]} are not the batch's {roots}")
    proof = prover.prove(statement)
    milliseconds = round((time.monotonic() - start) * 1000)
    if not prover.verify(proof, statement.public_signals):
        raise ProofError("the proof does not verify under the prover's own key")
    return Proven(proof, statement.public_signals, milliseconds)
