"""The program's state as the final chain alone gives it, followed block by block."""

from dataclasses import dataclass

from backend.attestor.chain import AttestorSet, ChainView
from backend.attestor.config import ProgramConfig
from backend.attestor.errors import Halted
from backend.attestor.store import Landed, Store
from backend.chain.node import Block
from backend.errors import Unavailable
from prover.state import ProgramState, StateError
from prover.wire import DeltasError


@dataclass(frozen=True)
class FinalChain:
    """The final chain as last read: its newest block, the state after it and the attestors at
    it."""

    block: Block
    state: ProgramState
    attestors: AttestorSet
    version: str
    """The Distributor's edition."""


class Tracker:
    """Follows one program. `look` is for any thread; for `sync` the caller holds a lock."""

    def __init__(
        self, key: str, chain_id: int, config: ProgramConfig, view: ChainView, store: Store
    ) -> None:
        self._key = key
        self._chain_id = chain_id
        self._config = config
        self._view = view
        self._store = store
        self._version: str | None = None
        self._state: ProgramState | None = None
        self._state_at: tuple[int, bytes] | None = None
        """The block that `_state` is the state after, as the store's progress has it."""
        self._attestors: tuple[bytes, AttestorSet] | None = None
        self._broken: str | None = None

    def look(self) -> tuple[Block, AttestorSet]:
        """The newest final block and the attestors at it: a few questions to the node, however long
        the log is. Raises as `sync`."""
        _, final, attestors = self._look()
        return final, attestors

    def sync(self) -> FinalChain:
        """Read on to the newest final block. The state that is returned changes with the next call.

        Raises:
            Unavailable: the node does not answer, is behind what was read before, or its head
            changed meanwhile.
            Halted: a block that was final has changed, the log does not give the roots, or the
            program is not the pinned one.
        """
        # All that the node must say comes first: one that is down costs no replay, and does no harm
        # to the state.
        progress, final, attestors = self._look()
        fresh = self._read(progress, final)
        if self._state is None or self._state_at != progress:
            self._state, self._state_at = self._replay_stored(), progress
        if progress is None or final.number > progress[0]:
            self._book(fresh, final)
        # Where accounts are open does not depend on the families; where new ones belong does.
        self._state.families = attestors.families
        return FinalChain(final, self._state, attestors, self._version or "")

    def _look(self) -> tuple[tuple[int, bytes] | None, Block, AttestorSet]:
        if self._broken is not None:
            raise Halted(self._broken)
        if self._version is None:
            self._check_shape()
        progress = self._store.progress(self._key)
        final = self._view.final()
        if progress is not None:
            self._check_final(progress, final)
        known = self._attestors
        if known is None or known[0] != final.hash:
            known = (final.hash, self._view.attestors(final.number))
            self._check_unchanged(final)
            self._attestors = known
        return progress, final, known[1]

    def _check_shape(self) -> None:
        shape, instance = self._view.shape(), self._config.sizes
        pinned = {"chain_id": self._chain_id, "levels": instance.levels, "slots": instance.slots}
        for name, expected in pinned.items():
            if getattr(shape, name) != expected:
                raise Halted(
                    f"{name}: the configuration says {expected}, the chain says "
                    f"{getattr(shape, name)}"
                )
        self._version = shape.version

    def _check_final(self, progress: tuple[int, bytes], final: Block) -> None:
        number, block_hash = progress
        known = final if final.number == number else self._view.block(number)
        if known.hash != block_hash:
            raise Halted(
                f"block {number} was final and has changed: nothing is signed until the chain "
                "is read again"
            )
        if final.number < number:
            raise Unavailable(
                f"the node's final block is {final.number}, block {number} was final before"
            )

    def _check_unchanged(self, final: Block) -> None:
        if self._view.block(final.number).hash != final.hash:
            raise Unavailable(f"block {final.number} changed while it was read")

    def _read(self, progress: tuple[int, bytes] | None, final: Block) -> list[Landed]:
        first_block = self._config.first_block if progress is None else progress[0] + 1
        if first_block > final.number:
            return []
        batches = self._view.batches(first_block, final.number)
        self._check_unchanged(final)
        return batches

    def _book(self, batches: list[Landed], final: Block) -> None:
        # Taken out until it is booked: what stops half way leaves a state after no block at all.
        state = self._replay_stored() if self._state is None else self._state
        self._state = None
        for batch in batches:
            self._apply(state, batch)
        self._store.advance(self._key, batches, final.number, final.hash)
        self._state, self._state_at = state, (final.number, final.hash)

    def _replay_stored(self) -> ProgramState:
        state = ProgramState(self._config.sizes)
        for batch in self._store.landed(self._key):
            self._apply(state, batch)
        return state

    def _apply(self, state: ProgramState, batch: Landed) -> None:
        where = f"bucket {batch.bucket}, sequence {batch.sequence}"
        try:
            state.apply(batch.bucket, batch.sequence, batch.deltas)
        except (StateError, DeltasError) as error:
            raise self._halt(f"the log does not replay at {where}: {error}") from error
        if state.bucket(batch.bucket).root != batch.new_root:
            raise self._halt(f"the log does not give the root of {where}")

    def _halt(self, message: str) -> Halted:
        # Kept until the process ends: to find it again would be to replay everything at each
        # question.
        self._broken = message
        return Halted(message)
