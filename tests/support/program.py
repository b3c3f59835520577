"""A program on a test chain, real or permissive, driven without any of the backend's services: what
it posts is what a test says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak, to_checksum_address

from backend.chain.calldata import Attestation, Batch, Post, SlotPayout
from backend.chain.deploy import Deployer, Deployment, deploy_program
from backend.chain.distributor import Distributor
from backend.signer.keystore import KeystoreSigner
from prover.circuit import compile_instance, load_instance
from prover.eip712 import BatchEnvelope, Domain
from prover.groth16 import Prover, dev_key
from prover.keys import KeyFolder
from prover.state import ProgramState
from prover.statement import BatchStatement, challenged, plan_batch
from prover.wire import challenge
from tests.support.anvil import Anvil

DEV = load_instance("dev")
FAR = 2**40
"""A validUntil that no test outlives, in Unix seconds."""

_PROVEN: dict[tuple[str, tuple[int, ...]], list[int]] = {}


@cache
def dev_prover() -> Prover:
    """One prover for all tests of a process: it keeps the witness program and the key loaded."""
    return Prover(compile_instance(DEV), dev_key(DEV))


def account(name: str) -> LocalAccount:
    """A wallet with a key that follows from its name."""
    return Account.from_key(keccak(text=name))


def checksummed(address: int) -> str:
    return to_checksum_address(address.to_bytes(20, "big"))


@dataclass
class Posting:
    """One `postBatch` before it is sent: a test may `replace` any part of it."""

    batch: Batch
    deltas: bytes
    proof: Sequence[int]
    attestations: list[Attestation]
    digest: bytes
    statement: BatchStatement
    struct_hash: bytes

    @property
    def post(self) -> Post:
        """The same batch as one of `postBatches`."""
        return Post(
            self.batch, self.struct_hash, self.deltas, tuple(self.proof), tuple(self.attestations)
        )


@dataclass
class Program:
    """A deployed program, its attestors' keys, and its state as this test has posted it."""

    chain: Anvil
    deployment: Deployment
    attestor_keys: list[LocalAccount]
    prover: Prover
    state: ProgramState = field(default_factory=lambda: ProgramState(DEV))
    epoch: int = 1

    @property
    def address(self) -> str:
        return self.deployment.distributor

    @property
    def domain(self) -> Domain:
        return Domain(self.chain.w3.eth.chain_id, self.address)

    @property
    def distributor(self) -> Distributor:
        return Distributor(self.chain.node, self.address)

    def fund(self, amount: int) -> None:
        """Mint test tokens into the Distributor."""
        token = self.chain.w3.eth.contract(self.deployment.token, abi=_MINT)
        minting = token.functions.mint(self.address, amount)
        self.chain.mined(minting.transact({"from": self.chain.key(0).address}))

    def plan(
        self,
        bucket: int,
        items: Sequence[tuple[str, int]],
        *,
        valid_until: int = FAR,
        **changes: Any,
    ) -> Posting:
        """The honest next batch of a bucket. `changes` replace fields of the Batch before it is
        signed and proven."""
        state = self.state.bucket(bucket)
        statement = plan_batch(
            DEV, state.pairs, [(int(address, 16), amount) for address, amount in items]
        )
        roots = (
            statement.new_root,
            statement.items_root,
            keccak(text=f"{bucket} {state.sequence}"),
            keccak(text="ledger"),
        )
        batch = replace(Batch(bucket, state.sequence + 1, *roots, valid_until), **changes)
        deltas = statement.deltas.encode()
        envelope = self.envelope(batch, deltas)
        digest = envelope.digest(self.domain)
        return Posting(
            batch,
            deltas,
            self.prove(statement, digest),
            self.sign(digest),
            digest,
            statement,
            envelope.struct_hash,
        )

    def digest(self, batch: Batch, deltas: bytes) -> bytes:
        """The digest of `envelope`."""
        return self.envelope(batch, deltas).digest(self.domain)

    def envelope(self, batch: Batch, deltas: bytes) -> BatchEnvelope:
        """What attestors sign of a batch on top of this state."""
        return BatchEnvelope(
            batch.bucket,
            batch.sequence,
            self.state.bucket(batch.bucket).root,
            batch.new_root,
            batch.items_root,
            batch.interactions_root,
            batch.ledger_head,
            keccak(deltas),
            self.epoch,
            batch.valid_until,
        )

    def sign(self, digest: bytes, keys: Sequence[LocalAccount] | None = None) -> list[Attestation]:
        """Attestations by the first two attestors, or by `keys`."""
        signers = self.attestor_keys[:2] if keys is None else keys
        return [
            Attestation(key.address, bytes(key.unsafe_sign_hash(digest).signature))
            for key in signers
        ]

    def prove(self, statement: BatchStatement, digest: bytes) -> list[int]:
        """A proof takes a second: tests that start from one snapshot of a chain, and so prove the
        same statement, share it."""
        asked = challenged(statement, challenge(digest))
        place = str(self.prover.key.path), asked.public_signals
        if place not in _PROVEN:
            _PROVEN[place] = self.prover.prove(asked).to_words()
        return list(_PROVEN[place])

    def send(self, data: bytes, sender: int = 0, to: str | None = None) -> Any:
        """Send calldata to the Distributor (or `to`) and return its receipt."""
        sent = self.chain.w3.eth.send_transaction(
            {"from": self.chain.key(sender).address, "to": to or self.address, "data": data}
        )
        return self.chain.mined(sent)

    def calldata(self, posting: Posting) -> bytes:
        return Distributor.post_batch(
            posting.batch, posting.deltas, posting.proof, posting.attestations
        )

    def post(
        self,
        bucket: int,
        items: Sequence[tuple[str, int]],
        tamper: Callable[[Posting], Posting] = lambda posting: posting,
        **changes: Any,
    ) -> Any:
        """Plan, tamper, send and book a batch; its receipt."""
        posting = tamper(self.plan(bucket, items, **changes))
        receipt = self.send(self.calldata(posting))
        self.book(posting)
        return receipt

    def book(self, posting: Posting) -> None:
        """Advance this test's state by a batch that is on chain."""
        self.state.apply(
            posting.batch.bucket, posting.batch.sequence, posting.statement.deltas.encode()
        )

    def claim(self, address: str, cumulative: int | None = None) -> Any:
        """Push one claim to the account itself; its receipt. `cumulative` in place of what it has
        earned."""
        bucket, slot = self.state.home[int(address, 16)]
        state = self.state.bucket(bucket)
        earned = state.pairs[slot][1] if cumulative is None else cumulative
        return self.send(
            Distributor.claim(
                bucket, slot, state.sequence, address, earned, state.tree.siblings(slot)
            )
        )

    def claim_many(self, bucket: int, slots: Sequence[int]) -> Any:
        state = self.state.bucket(bucket)
        payouts = [
            SlotPayout(slot, checksummed(state.pairs[slot][0]), state.pairs[slot][1])
            for slot in slots
        ]
        return self.send(
            Distributor.claim_many(
                bucket, state.sequence, payouts, state.tree.multi_siblings(slots)
            )
        )


def attestor_keys() -> list[LocalAccount]:
    """Three attestors, in ascending order of their addresses."""
    return sorted(
        (account(f"attestor {i}") for i in range(3)), key=lambda key: int(key.address, 16)
    )


def real_program(
    chain: Anvil, key: KeyFolder | None = None, more_attestors: Sequence[str] = (), **options: Any
) -> Program:
    """The real contracts, by default with the development key: what they take is proven and
    attested by two of three (or more)."""
    keys = attestor_keys()
    signer = KeystoreSigner(chain.key(0))
    attestors = [*(attestor.address for attestor in keys), *more_attestors]
    deployment = deploy_program(
        Deployer(chain.node, signer), key or dev_key(DEV), DEV, attestors, 2, **options
    )
    return Program(
        chain, deployment, keys, Prover(dev_prover().circuit, key) if key else dev_prover()
    )


def permissive_program(chain: Anvil, families: int = 1) -> Program:
    """A Distributor that checks nothing, with the real hasher and the real verifier of the
    development key. Honest batches are proven."""
    keys = attestor_keys()
    deployer = Deployer(chain.node, KeystoreSigner(chain.key(0)))
    token, _ = deployer.create("TestToken", "Test Reward", "TRW")
    hasher, _ = deployer.create("Poseidon2")
    verifier, _ = deployer.create("Groth16Verifier", dev_key(DEV).verifying_key.to_words())
    config = (
        token,
        verifier,
        hasher,
        DEV.levels,
        families,
        chain.key(0).address,
        "0x" + "00" * 20,
        [key.address for key in keys],
        2,
        0,
    )
    distributor, block = deployer.create("PermissiveDistributor", config)
    return Program(
        chain, Deployment(token, hasher, verifier, distributor, block), keys, dev_prover()
    )


_MINT = [
    {
        "type": "function",
        "name": "mint",
        "stateMutability": "nonpayable",
        "outputs": [],
        "inputs": [{"name": "to", "type": "address"}, {"name": "amount", "type": "uint256"}],
    }
]
