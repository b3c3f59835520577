"""One attestor at work: a question in, a signature or a reason out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import structlog
from eth_utils import keccak

from backend.attestor import rules
from backend.attestor.chain import ChainView
from backend.attestor.config import AttestorConfig, ProgramConfig
from backend.attestor.errors import MissingLeaves, PredecessorAtWork, Refused, StateBehind
from backend.attestor.partner_keys import PartnerKeyFile
from backend.attestor.rules import ItemClaim, SaltedDelivery
from backend.attestor.state import FinalChain, Tracker
from backend.attestor.store import Landed, Moment, Store, StoredLeaf
from backend.chain.local import is_local
from backend.errors import GuerdonError, NotFound
from backend.signer.base import Signer
from prover.eip712 import DOMAIN_VERSION, BatchEnvelope, Domain
from prover.merkle import InteractionsTree
from prover.merkle import Leaf as MerkleLeaf
from prover.tree import zero_root

log = structlog.get_logger()


@dataclass(frozen=True)
class AttestationRequest:
    """What the coordinator asks an attestor to sign.

    Roots are integers, hashes are 32 bytes, times are Unix seconds.
    """

    chain_id: int
    distributor: str
    bucket: int
    sequence: int
    new_root: int
    items_root: int
    interactions_root: bytes
    ledger_head: bytes
    attestor_epoch: int
    valid_until: int
    deltas: bytes
    deliveries: tuple[SaltedDelivery, ...]
    items: tuple[ItemClaim, ...]


@dataclass(frozen=True)
class SignedDigest:
    """A signature (65 bytes) over the batch's digest (32 bytes)."""

    attestor: str
    digest: bytes
    signature: bytes


class AttestedProgram:
    """One program that this attestor attests for."""

    def __init__(self, chain_id: int, config: ProgramConfig, view: ChainView, store: Store) -> None:
        self.config = config
        self.domain = Domain(chain_id, config.distributor)
        self.key = f"{chain_id}:{config.distributor}"
        self.view = view
        # One question at a time: what is decided on the state must still be so when it is signed.
        self.lock = Lock()
        self.tracker = Tracker(self.key, chain_id, config, view, store)
        self.predecessors: tuple[AttestedProgram, ...] = ()
        """The program that this one goes on for, the one before that, and so on."""
        self.successors: tuple[str, ...] = ()
        """Keys of the programs that go on for this one."""


class Attestor:
    """An attestor with its key, partner keys, store and chain views (by Distributor's address)."""

    def __init__(
        self,
        config: AttestorConfig,
        signer: Signer,
        store: Store,
        partner_keys: PartnerKeyFile,
        views: dict[str, ChainView],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._signer = signer
        self._store = store
        self._partner_keys = partner_keys
        self._clock = clock
        self._programs = {
            program.distributor: AttestedProgram(
                config.chain_id, program, views[program.distributor], store
            )
            for program in config.programs
        }
        for distributor, successor in self._programs.items():
            successor.predecessors = tuple(
                self._programs[before] for before in config.predecessors(distributor)
            )
            for before in successor.predecessors:
                before.successors += (successor.key,)
        self._looking = Lock()
        self._readiness = self._ready_answer({})

    @property
    def address(self) -> str:
        return self._signer.address

    def _program(self, chain_id: int, distributor: str) -> AttestedProgram:
        if chain_id != self._config.chain_id:
            raise NotFound(
                f"this attestor is for chain {self._config.chain_id}",
                field="chain_id",
                code="unknown_program",
            )
        if distributor not in self._programs:
            raise NotFound(
                "this attestor does not attest for this Distributor",
                field="distributor",
                code="unknown_program",
            )
        return self._programs[distributor]

    def attest(self, question: AttestationRequest) -> SignedDigest:
        """Check everything, then sign. The same question gets the same answer.

        Raises:
            Refused, StateBehind, AlreadyLanded, MissingLeaves, OtherDigestSigned, NotFound,
            Unavailable, Halted.
        """
        program = self._program(question.chain_id, question.distributor)
        with program.lock:
            chain = program.tracker.sync()
            self._check_envelope(program, chain, question)
            self._check_predecessors(program)
            items = self._check_content(program, chain, question)
            envelope = _envelope(chain, question)
            digest = envelope.digest(program.domain)
            leaves = [_leaf(item) for item in items]
            moment = Moment(chain.block.timestamp, chain.attestors.epoch)
            signature = self._store.sign_once(
                program.key,
                envelope,
                digest,
                leaves,
                moment,
                lambda: self._signer.sign_digest(digest),
                [before.key for before in program.predecessors],
            )
        log.info(
            "batch_signed",
            program=program.key,
            bucket=question.bucket,
            sequence=question.sequence,
            digest=digest.hex(),
            items=len(items),
        )
        return SignedDigest(self.address, digest, signature)

    def _check_envelope(
        self, program: AttestedProgram, chain: FinalChain, question: AttestationRequest
    ) -> None:
        """All that needs no evidence."""
        if self.address not in chain.attestors.addresses:
            raise Refused(
                "not_an_attestor",
                f"{self.address} is not in the program's set of attestors on the final chain",
            )
        if chain.version != DOMAIN_VERSION:
            raise Refused(
                "edition",
                f"the Distributor is of edition {chain.version}, and this attestor signs for "
                f"edition {DOMAIN_VERSION} only",
            )
        rules.require_next(chain.state, question.bucket, question.sequence)
        rules.require_epoch(chain.attestors.epoch, question.attestor_epoch)
        head = program.view.block("latest")
        rules.require_validity(
            question.valid_until,
            head.timestamp,
            self._now(head.timestamp),
            self._config.validity_seconds_max,
        )
        if missing := self._store.missing_leaves(program.key):
            raise MissingLeaves(program.config.distributor, missing)

    def _check_predecessors(self, program: AttestedProgram) -> None:
        """No program goes on for this one yet. Nothing more can land in a program that this one
        goes on for, and what has landed there is known.

        The chain alone decides: evidence names no Distributor, and what other attestors have
        signed there is not known here. An epoch that has no signer ends every signature given.
        """
        if any(self._store.has_begun(successor) for successor in program.successors):
            raise Refused("succeeded", "batches of the program's successor have been signed")
        for before in program.predecessors:
            with before.lock:
                chain = before.tracker.sync()
            distributor = before.config.distributor
            if not chain.attestors.ends(distributor):
                raise PredecessorAtWork(
                    f"batches can still land in {distributor}, the predecessor: on the final chain "
                    "its set of attestors is not its own address alone"
                )
            if missing := self._store.missing_leaves(before.key):
                raise MissingLeaves(distributor, missing)

    def _now(self, head_timestamp: int) -> int:
        """The time by which a batch's validity is bounded: the chain's. Only a local chain, which
        is on this machine, may be idle for hours: there the machine's clock counts as well."""
        return int(self._clock()) if is_local(self._config.chain_id) else head_timestamp

    def _check_content(
        self, program: AttestedProgram, chain: FinalChain, question: AttestationRequest
    ) -> list[rules.DerivedItem]:
        """Every item from its evidence, then everything that follows from the items."""
        instance, bucket = program.config.sizes, question.bucket
        rules.require_size(instance, question.items)
        delivered = rules.authenticate(
            self._partner_keys.partners(program.config.distributor), question.deliveries
        )
        items = rules.derive_items(program.domain.program, delivered, question.items)
        rules.require_distinct(items)
        opening = rules.require_homes(chain.state, bucket, items)
        deltas = rules.plan_deltas(chain.state, bucket, items, opening).encode()
        rules.require_equal("deltas", deltas, question.deltas)
        rules.require_equal(
            "new_root", rules.next_root(chain.state, bucket, deltas), question.new_root
        )
        rules.require_equal("items_root", rules.items_root(instance, items), question.items_root)
        rules.require_equal(
            "interactions_root", rules.interactions_root(items), question.interactions_root
        )
        return items

    def accept_leaves(
        self,
        chain_id: int,
        distributor: str,
        bucket: int,
        sequence: int,
        leaves: Sequence[StoredLeaf],
    ) -> None:
        """Keep the leaves of a landed batch, if they are the ones behind its root.

        Raises:
            StateBehind: the batch has not landed on the final chain.
            Refused: the leaves have another root.
            NotFound, Unavailable, Halted.
        """
        program = self._program(chain_id, distributor)
        with program.lock:
            program.tracker.sync()
            landed = self._store.landed_at(program.key, bucket, sequence)
        if landed is None:
            raise StateBehind(
                f"bucket {bucket} has no sequence {sequence} on the final chain", field="sequence"
            )
        self._check_leaves(program, landed, leaves)
        self._store.put_landed_leaves(program.key, landed, leaves)
        log.info(
            "leaves_kept", program=program.key, bucket=bucket, sequence=sequence, items=len(leaves)
        )

    @staticmethod
    def _check_leaves(
        program: AttestedProgram, landed: Landed, leaves: Sequence[StoredLeaf]
    ) -> None:
        hashed = [
            MerkleLeaf(
                j, leaf.interaction(program.domain.program).hash, leaf.account, leaf.item_amount
            )
            for j, leaf in enumerate(leaves)
        ]
        if InteractionsTree(hashed).root != landed.interactions_root:
            raise Refused(
                "interactions_root",
                "these are not the leaves behind the root that landed",
                field="items",
            )

    def catch_up(self) -> None:
        """Read and replay every program's log, so that the first question need not wait for it.
        What goes wrong is for that question to meet."""
        for program in self._programs.values():
            try:
                with program.lock:
                    program.tracker.sync()
            except Exception as error:
                log.warning("catch_up_failed", program=program.key, error=type(error).__name__)

    def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether every program can be attested for now, and what stands in the way. Anybody may
        ask, as often as they like: it replays nothing, waits for no question that is being
        answered, and asks the node for one caller at a time; the others get its last answer.
        """
        if self._looking.acquire(blocking=False):
            try:
                programs = {
                    distributor: self._program_readiness(program)
                    for distributor, program in self._programs.items()
                }
                self._readiness = self._ready_answer(programs)
            finally:
                self._looking.release()
        return self._readiness

    def _ready_answer(
        self, programs: dict[str, dict[str, object]]
    ) -> tuple[bool, dict[str, object]]:
        ready = bool(programs) and all(entry["ready"] for entry in programs.values())
        return ready, {
            "attestor": self.address,
            "chain_id": self._config.chain_id,
            "programs": programs,
        }

    def _program_readiness(self, program: AttestedProgram) -> dict[str, object]:
        try:
            self._partner_keys.partners(program.config.distributor)
            final, attestors = program.tracker.look()
        except GuerdonError as error:
            return {"ready": False, "code": error.code, "reason": error.message}
        read = self._store.progress(program.key)
        ended = attestors.ends(program.config.distributor)
        member = self.address in attestors.addresses
        entry: dict[str, object] = {
            "ready": member or ended,
            "final_block": final.number,
            "read_to_block": read and read[0],
            "attestor_epoch": attestors.epoch,
            "batches_without_leaves": len(self._store.missing_leaves(program.key)),
        }
        if ended:
            entry["ended"] = True
        elif not member:
            entry |= {
                "code": "not_an_attestor",
                "reason": "this address is not in the program's set of attestors",
            }
        return entry


def _envelope(chain: FinalChain, question: AttestationRequest) -> BatchEnvelope:
    known = chain.state.buckets.get(question.bucket)
    old_root = known.root if known else zero_root(chain.state.instance.levels)
    return BatchEnvelope(
        question.bucket,
        question.sequence,
        old_root,
        question.new_root,
        question.items_root,
        question.interactions_root,
        question.ledger_head,
        keccak(question.deltas),
        question.attestor_epoch,
        question.valid_until,
    )


def _leaf(item: rules.DerivedItem) -> StoredLeaf:
    found = item.interaction
    return StoredLeaf(
        found.partner,
        found.event_id,
        found.account,
        found.amount,
        found.occurred_at,
        found.evidence,
        item.amount,
    )
