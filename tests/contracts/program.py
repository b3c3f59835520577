"""A reward program on a real chain, as its operator and attestors see it: honest batches with real
proofs, and ways to bend them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from prover.cache import cache_root
from prover.circuit import load_instance
from prover.eip712 import BatchEnvelope, Domain
from prover.groth16 import Prover
from prover.state import BucketState
from prover.statement import BatchStatement, challenged, plan_batch
from prover.wire import Proof, challenge

DEV = load_instance("dev")
VALID_UNTIL = 2**40
Items = Sequence[tuple[int, int]]


def key(number: int) -> LocalAccount:
    """A key for tests, the same in every run."""
    return Account.from_key(keccak(text=f"guerdon test key {number}"))


ATTESTORS = sorted((key(i) for i in range(3)), key=lambda attestor: int(attestor.address, 16))


def sign(digest: bytes, signer: LocalAccount) -> bytes:
    """65 bytes r || s || v over the digest as it is."""
    return bytes(Account.unsafe_sign_hash(digest, signer.key).signature)


@dataclass(frozen=True)
class Posting:
    """The arguments of one `postBatch`, and what its signatures are over: the digest, and the
    struct hash in it."""

    batch: tuple[Any, ...]
    deltas: bytes
    proof: list[int]
    attestations: list[tuple[str, bytes]]
    digest: bytes = b""
    struct_hash: bytes = b""

    @property
    def as_one_of_many(self) -> tuple[Any, ...]:
        """The same batch as an element of `postBatches`."""
        return self.batch, self.struct_hash, self.deltas, self.proof, self.attestations

    @property
    def args(self) -> tuple[Any, ...]:
        return self.batch, self.deltas, self.proof, self.attestations

    def with_batch(self, **changes: Any) -> "Posting":
        """The same call with other fields in `batch`, signatures and proof unchanged."""
        names = (
            "bucket",
            "sequence",
            "new_root",
            "items_root",
            "interactions_root",
            "ledger_head",
            "valid_until",
        )
        fields = dict(zip(names, self.batch, strict=True)) | changes
        return replace(self, batch=tuple(fields[name] for name in names))


class ProofCache:
    """Real proofs, each made once and kept in the user's cache folder: a run on the same contracts
    finds them there."""

    def __init__(self, prover: Prover) -> None:
        self.prover = prover
        self.folder = cache_root() / "test-proofs" / prover.key.manifest.key_digest[:16]
        self.folder.mkdir(parents=True, exist_ok=True)

    def prove(self, statement: BatchStatement, r: int) -> Proof:
        claim = challenged(statement, r)
        path = self.folder / keccak(text=str(claim.public_signals)).hex()
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}")
            unfinished.write_bytes(self.prover.prove(claim).to_bytes())
            unfinished.rename(path)
        return Proof.from_bytes(path.read_bytes())


@dataclass
class Program:
    """One Distributor with its dev-size buckets. `epoch` is the attestor epoch that postings
    name."""

    chain_id: int
    distributor: Any
    proofs: ProofCache
    sender: Any
    epoch: int = 1
    buckets: dict[int, BucketState] = field(default_factory=dict)

    @property
    def domain(self) -> Domain:
        return Domain(self.chain_id, self.distributor.address)

    def bucket(self, index: int = 0) -> BucketState:
        return self.buckets.setdefault(index, BucketState(DEV))

    def plan(self, items: Items, bucket: int = 0) -> BatchStatement:
        """The honest statement that books `items` on top of the bucket."""
        return plan_batch(DEV, self.bucket(bucket).pairs, items)

    def posting(
        self,
        statement: BatchStatement,
        *,
        bucket: int = 0,
        proven: BatchStatement | None = None,
        deltas: bytes | None = None,
        signers: Sequence[LocalAccount] = tuple(ATTESTORS[:2]),
        domain: Domain | None = None,
        prove: bool = True,
        **envelope: Any,
    ) -> Posting:
        """A call that claims `statement`, signed by `signers` over exactly what it claims.

        proven: the statement that the proof is of, at the same challenge, where the claimed one is
        false. None of both: the claimed one.
        deltas: other bytes than the statement's. domain, **envelope: other values under the
        signatures (and the same in the call).
        prove: without it the proof is eight zeros, for what must be refused before the proof is
        looked at.
        """
        data = statement.deltas.encode() if deltas is None else deltas
        values = {
            "bucket": bucket,
            "sequence": self.bucket(bucket).sequence + 1,
            "old_root": statement.old_root,
            "new_root": statement.new_root,
            "items_root": statement.items_root,
            "interactions_root": keccak(text="interactions"),
            "ledger_head": keccak(text="ledger"),
            "deltas_hash": keccak(data),
            "attestor_epoch": self.epoch,
            "valid_until": VALID_UNTIL,
        }
        signed = BatchEnvelope(**(values | envelope))
        digest = signed.digest(domain or self.domain)
        batch = (
            signed.bucket,
            signed.sequence,
            signed.new_root,
            signed.items_root,
            signed.interactions_root,
            signed.ledger_head,
            signed.valid_until,
        )
        proof = (
            self.proofs.prove(proven or statement, challenge(digest)).to_words()
            if prove
            else [0] * 8
        )
        return Posting(
            batch,
            data,
            proof,
            [(signer.address, sign(digest, signer)) for signer in signers],
            digest,
            signed.struct_hash,
        )

    def post(self, items: Items, bucket: int = 0, **options: Any) -> Any:
        """Book `items` honestly. Returns the receipt."""
        posting = self.posting(self.plan(items, bucket), bucket=bucket, **options)
        return self.land(posting)

    def land(self, posting: Posting) -> Any:
        """Send a posting and follow it. Returns the receipt."""
        receipt = self.distributor.postBatch(*posting.args, sender=self.sender)
        state = self.bucket(posting.batch[0])
        state.apply(posting.batch[1], posting.deltas)
        assert state.root == posting.batch[2]
        return receipt

    def claim_args(self, slot: int, bucket: int = 0) -> list[Any]:
        """The arguments of an honest `claim` at the bucket's newest state."""
        state = self.bucket(bucket)
        account, cumulative = state.pairs[slot]
        return [
            bucket,
            slot,
            state.sequence,
            f"{account:#042x}",
            cumulative,
            state.tree.siblings(slot),
        ]

    def claim_many_args(self, slots: Sequence[int], bucket: int = 0) -> list[Any]:
        """The arguments of an honest `claimMany` at the bucket's newest state."""
        state = self.bucket(bucket)
        payouts = [(slot, f"{state.pairs[slot][0]:#042x}", state.pairs[slot][1]) for slot in slots]
        return [bucket, state.sequence, payouts, state.tree.multi_siblings(slots)]

    def copy_state(self) -> dict[int, BucketState]:
        """Buckets as they stand: to put back when the chain is taken back."""
        return {
            index: BucketState(DEV, state.sequence, list(state.pairs))
            for index, state in self.buckets.items()
        }
