"""The program's state as the final chain alone gives it, followed block by block."""

from dataclasses import dataclass

from backend.attestor.chain import AttestorSet, ChainView
from backend.attestor.config import ProgramConfig
from backend.attestor.errors import Halted
from backend.attestor.store import Landed, Store
from backend.chain.client import Block
from backend.errors import Unavailable
from prover.state import ProgramState, StateError
from prover.wire import DeltasError


@dataclass(frozen=True)
class FinalChain:
    """The final chain as last read: its newest block, the state after it and the attestors at it."""

    block: Block
    state: ProgramState
    attestors: AttestorSet


class Tracker:
    """Follows one program. Not safe for several threads: the caller holds a lock."""

    def __init__(self, key: str, chain_id: int, config: ProgramConfig, view: ChainView, store: Store) -> None:
        self._key = key
        self._chain_id = chain_id
        self._config = config
        self._view = view
        self._store = store
        self._shape_checked = False
        self._state: ProgramState | None = None
        self._attestors: tuple[bytes, AttestorSet] | None = None

    def sync(self) -> FinalChain:
        """Read on to the newest final block. The state that is returned changes with the next call.

        Raises:
            Unavailable: the node does not answer, is behind what was read before, or its head changed meanwhile.
            Halted: a block that was final has changed, the log does not give the roots, or the program is not the pinned one.
        """
        try:
            return self._sync()
        except BaseException:
            # What memory holds may be half way between two blocks: the store decides again.
            self._state = None
            raise

    def _sync(self) -> FinalChain:
        if not self._shape_checked:
            self._check_shape()
        if self._state is None:
            self._state = self._replay_stored()
        final = self._view.final()
        progress = self._store.progress(self._key)
        if progress is not None:
            self._check_final(progress, final)
        if progress is None or final.number > progress[0]:
            self._read(self._config.first_block if progress is None else progress[0] + 1, final)
        if self._attestors is None or self._attestors[0] != final.hash:
            self._attestors = (final.hash, self._view.attestors(final.number))
            self._check_unchanged(final)
        return FinalChain(final, self._state, self._attestors[1])

    def _check_shape(self) -> None:
        shape, instance = self._view.shape(), self._config.sizes
        pinned = {
            "chain_id": self._chain_id,
            "levels": instance.levels,
            "slots": instance.slots,
            "families": self._config.families,
        }
        for name, expected in pinned.items():
            if getattr(shape, name) != expected:
                raise Halted(f"{name}: the configuration says {expected}, the chain says {getattr(shape, name)}")
        self._shape_checked = True

    def _check_final(self, progress: tuple[int, bytes], final: Block) -> None:
        number, block_hash = progress
        known = final if final.number == number else self._view.block(number)
        if known.hash != block_hash:
            raise Halted(f"block {number} was final and has changed: nothing is signed until the chain is read anew")
        if final.number < number:
            raise Unavailable(f"the node's final block is {final.number}, block {number} was final before")

    def _check_unchanged(self, final: Block) -> None:
        if self._view.block(final.number).hash != final.hash:
            raise Unavailable(f"block {final.number} changed while it was read")

    def _read(self, first_block: int, final: Block) -> None:
        batches = self._view.batches(first_block, final.number) if first_block <= final.number else []
        self._check_unchanged(final)
        for batch in batches:
            self._apply(self._state, batch)
        self._store.advance(self._key, batches, final.number, final.hash)

    def _replay_stored(self) -> ProgramState:
        state = ProgramState(self._config.sizes, self._config.families)
        for batch in self._store.landed(self._key):
            self._apply(state, batch)
        return state

    @staticmethod
    def _apply(state: ProgramState, batch: Landed) -> None:
        where = f"bucket {batch.bucket}, sequence {batch.sequence}"
        try:
            state.apply(batch.bucket, batch.sequence, batch.deltas)
        except (StateError, DeltasError) as error:
            raise Halted(f"the log does not replay at {where}: {error}") from error
        if state.bucket(batch.bucket).root != batch.new_root:
            raise Halted(f"the log does not give the root of {where}")
