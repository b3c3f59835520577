"""An honest coordinator, its partners and a chain in memory: the attestor's tests start from it and
break in one place.

The coordinator's side is computed by the prover's statement, not by the attestor's own rules.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from eth_utils import keccak, to_checksum_address

from backend.attestation.request import DeliveryEvidence, ItemSource, build_leaves, build_request
from backend.attestor.chain import AttestorSet, Shape
from backend.attestor.config import AttestorConfig, ProgramConfig
from backend.attestor.errors import Refused
from backend.attestor.partner_keys import PartnerKeyFile
from backend.attestor.rules import ItemClaim, SaltedDelivery
from backend.attestor.service import AttestationRequest, Attestor
from backend.attestor.store import Landed, Store, StoredLeaf
from backend.chain.node import Block
from backend.errors import Unavailable
from backend.partner.evidence import Delivery
from backend.partner.report import Report, parse_body
from backend.partner.schemes import standard_webhooks
from backend.signer import keystore
from prover.circuit import load_instance
from prover.eip712 import BatchEnvelope, Domain, TypedInteraction, event_hash, partner_hash
from prover.merkle import InteractionsTree
from prover.merkle import Leaf as MerkleLeaf
from prover.state import ProgramState
from prover.statement import BatchStatement, plan_batch

CHAIN_ID = 31337
DISTRIBUTOR = to_checksum_address("0x" + "d1" * 20)
NOW = 1_760_000_000
DEV = load_instance("dev")
PASSWORD = "test"
PARTNER = "adnet"


def account(index: int) -> str:
    """A wallet's address."""
    return to_checksum_address(keccak(text=f"account {index}")[:20])


def report(
    event_id: str, who: str, amount: int = 1000, occurred_at: int = NOW - 60
) -> dict[str, Any]:
    """One item of a partner's body."""
    return {"event_id": event_id, "account": who, "amount": str(amount), "occurred_at": occurred_at}


class FakeChain:
    """A chain of which every block is final at once, behind the calls of a ChainView."""

    def __init__(self, attestors: Sequence[str] = (), families: int = 1) -> None:
        self.blocks = [Block(0, keccak(b"genesis"), NOW)]
        self.logs: list[Landed] = []
        self.attestor_set = AttestorSet(frozenset(attestors), 1, families)
        self.shape_ = Shape(CHAIN_ID, DEV.levels, DEV.slots)
        self.final_lag = 0
        self.down = False

    def mine(self, seconds: int = 12) -> Block:
        """One more block, `seconds` later."""
        last = self.blocks[-1]
        block = Block(
            last.number + 1, keccak(last.hash + secrets.token_bytes(4)), last.timestamp + seconds
        )
        self.blocks.append(block)
        return block

    def post(self, envelope: BatchEnvelope, deltas: bytes, new_root: int | None = None) -> None:
        """Land a batch in a block of its own."""
        block = self.mine()
        root = envelope.new_root if new_root is None else new_root
        self.logs.append(
            Landed(
                envelope.bucket,
                envelope.sequence,
                block.number,
                0,
                root,
                envelope.interactions_root,
                deltas,
            )
        )

    def reorganize(self, depth: int) -> None:
        """Replace the last `depth` blocks by as many others, without their logs."""
        self.blocks = self.blocks[:-depth]
        self.logs = [log for log in self.logs if log.block_number < len(self.blocks)]
        for _ in range(depth):
            self.mine()

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("the node does not answer")

    def shape(self) -> Shape:
        self._answer()
        return self.shape_

    def final(self) -> Block:
        self._answer()
        return self.blocks[len(self.blocks) - 1 - self.final_lag]

    def block(self, which: int | str) -> Block:
        self._answer()
        if which == "latest":
            return self.blocks[-1]
        if which >= len(self.blocks):
            raise Unavailable(f"block {which}: not found")
        return self.blocks[which]

    def batches(self, first_block: int, last_block: int) -> list[Landed]:
        self._answer()
        return [log for log in self.logs if first_block <= log.block_number <= last_block]

    def attestors(self, block_number: int) -> AttestorSet:
        self._answer()
        return self.attestor_set


@dataclass(frozen=True)
class Batch:
    """What the coordinator made: the envelope, and all that goes to the attestors."""

    domain: Domain
    envelope: BatchEnvelope
    deltas: bytes
    deliveries: tuple[SaltedDelivery, ...]
    items: tuple[ItemClaim, ...]
    interactions: tuple[TypedInteraction, ...]
    statement: BatchStatement

    @property
    def digest(self) -> bytes:
        return self.envelope.digest(self.domain)

    @property
    def question(self) -> AttestationRequest:
        e = self.envelope
        return AttestationRequest(
            self.domain.chain_id,
            self.domain.distributor,
            e.bucket,
            e.sequence,
            e.new_root,
            e.items_root,
            e.interactions_root,
            e.ledger_head,
            e.attestor_epoch,
            e.valid_until,
            self.deltas,
            self.deliveries,
            self.items,
        )

    @property
    def payload(self) -> dict[str, Any]:
        deliveries = [DeliveryEvidence(d.partner, d.delivery, d.salt) for d in self.deliveries]
        items = [ItemSource(i.delivery, i.position, i.amount) for i in self.items]
        return build_request(self.domain, self.envelope, self.deltas, deliveries, items)

    @property
    def leaves(self) -> list[StoredLeaf]:
        return [
            StoredLeaf(
                i.partner, i.event_id, i.account, i.amount, i.occurred_at, i.evidence, claim.amount
            )
            for i, claim in zip(self.interactions, self.items, strict=True)
        ]

    @property
    def leaves_payload(self) -> dict[str, Any]:
        pairs = [(i, claim.amount) for i, claim in zip(self.interactions, self.items, strict=True)]
        return build_leaves(self.domain, self.envelope.bucket, self.envelope.sequence, pairs)

    def with_envelope(self, **changes: Any) -> "Batch":
        """The same content in another envelope."""
        return replace(self, envelope=replace(self.envelope, **changes))


@dataclass
class Coordinator:
    """The operator's side: its own state, and its partners' secrets (which it must hold to check
    what they send)."""

    domain: Domain = field(default_factory=lambda: Domain(CHAIN_ID, DISTRIBUTOR))
    families: int = 1
    secrets: dict[str, str] = field(
        default_factory=lambda: {
            PARTNER: standard_webhooks.generate_secret(),
            "games": standard_webhooks.generate_secret(),
        }
    )
    epoch: int = 1
    valid_until: int = NOW + 3600

    def __post_init__(self) -> None:
        self.state = ProgramState(DEV, self.families)

    def deliver(
        self, reports: Sequence[dict[str, Any]], partner: str = PARTNER, secret: str | None = None
    ) -> SaltedDelivery:
        """A partner's signed request; months old, as freshness is not the attestor's question."""
        body = json.dumps({"interactions": list(reports)}).encode()
        at = datetime.fromtimestamp(NOW - 90 * 86400, UTC)
        delivery = standard_webhooks.sign(
            secret or self.secrets[partner], f"msg_{secrets.token_hex(8)}", at, body
        )
        return SaltedDelivery(partner, delivery, secrets.token_bytes(32))

    def batch(
        self,
        bucket: int,
        deliveries: Sequence[SaltedDelivery],
        places: Sequence[tuple[int, int]] | None = None,
    ) -> Batch:
        """The batch of the items at `places` (delivery, position), all by default: consistent,
        whether or not it may be signed."""
        parsed = [parse_body(sent.delivery.body) for sent in deliveries]
        if places is None:
            places = [(d, p) for d, reports in enumerate(parsed) for p in range(len(reports))]
        interactions = [self._interaction(deliveries[d], parsed[d][p]) for d, p in places]
        items = [ItemClaim(d, p, i.amount) for (d, p), i in zip(places, interactions, strict=True)]
        old = self.state.bucket(bucket)
        plan = plan_batch(DEV, old.pairs, [(int(i.account, 16), i.amount) for i in interactions])
        deltas = plan.deltas.encode()
        leaves = [MerkleLeaf(j, i.hash, i.account, i.amount) for j, i in enumerate(interactions)]
        envelope = BatchEnvelope(
            bucket,
            old.sequence + 1,
            plan.old_root,
            plan.new_root,
            plan.items_root,
            InteractionsTree(leaves).root,
            keccak(b"ledger head"),
            keccak(deltas),
            self.epoch,
            self.valid_until,
        )
        return Batch(
            self.domain,
            envelope,
            deltas,
            tuple(deliveries),
            tuple(items),
            tuple(interactions),
            plan,
        )

    def _interaction(self, sent: SaltedDelivery, found: Report) -> TypedInteraction:
        return TypedInteraction(
            self.domain.program,
            partner_hash(sent.partner),
            event_hash(found.event_id),
            found.account,
            found.amount,
            found.occurred_at,
            sent.delivery.hash(sent.salt),
        )

    def book(self, batch: Batch) -> None:
        """The batch has landed."""
        self.state.apply(batch.envelope.bucket, batch.envelope.sequence, batch.deltas)


@dataclass
class World:
    """One attestor, its chain and its coordinator, in a folder of their own."""

    folder: Path
    coordinator: Coordinator
    chain: FakeChain
    config: AttestorConfig
    attestor: Attestor
    store: Store

    def land(self, batch: Batch) -> None:
        """Post a batch and book it."""
        self.chain.post(batch.envelope, batch.deltas)
        self.coordinator.book(batch)

    def land_signed(self, batch: Batch) -> Batch:
        """Have a batch attested, then land it."""
        self.attestor.attest(batch.question)
        self.land(batch)
        return batch

    def fill_bucket(self, bucket: int = 0, first: int = 1000) -> Batch:
        """Land a batch that opens every slot of a bucket."""
        reports = [report(f"fill-{bucket}-{i}", account(first + i)) for i in range(DEV.slots)]
        return self.land_signed(self.coordinator.batch(bucket, [self.coordinator.deliver(reports)]))

    def write_pins(self, partners: dict[str, list[str]] | None = None) -> None:
        """PartnerKeys these secrets, the coordinator's by default."""
        write_pins(
            self.config.pins,
            {name: [secret] for name, secret in self.coordinator.secrets.items()}
            if partners is None
            else partners,
        )

    def restart(self, clock: Callable[[], float] = lambda: NOW) -> Attestor:
        """The same attestor in a new process: all that it knows is its files."""
        self.store.close()
        self.store = Store(self.config.database)
        self.attestor = make_attestor(self.config, self.store, self.chain, clock)
        return self.attestor


def changed(delivery: Delivery, name: str, value: str) -> Delivery:
    """The delivery with another value of one header."""
    headers = tuple((own, value if own == name else old) for own, old in delivery.headers)
    return replace(delivery, headers=headers)


def write_pins(path: Path, partners: dict[str, list[str]], distributor: str = DISTRIBUTOR) -> None:
    """Write partners.json."""
    pins = {
        name: {"scheme": "standard-webhooks", "secrets": secrets_}
        for name, secrets_ in partners.items()
    }
    path.write_text(json.dumps({distributor: pins}))


def make_attestor(
    config: AttestorConfig, store: Store, chain: FakeChain, clock: Callable[[], float] = lambda: NOW
) -> Attestor:
    """An attestor on its files and `chain`."""
    signer = keystore.load(config.keystore, config.password)
    return Attestor(config, signer, store, PartnerKeyFile(config.pins), {DISTRIBUTOR: chain}, clock)


def make_config(folder: Path, **changes: Any) -> AttestorConfig:
    """A configuration with a fresh key in `folder`."""
    keystore.create(folder / "key.json", PASSWORD, scrypt_n=2)
    (folder / "password").write_text(PASSWORD + "\n")
    program = ProgramConfig(distributor=DISTRIBUTOR, instance="dev", finality="latest")
    values = {
        "chain_id": CHAIN_ID,
        "rpc_url": "http://127.0.0.1:1",
        "programs": (program,),
        "keystore": folder / "key.json",
        "password_file": folder / "password",
        "database": folder / "attestor.sqlite",
        "pins": folder / "partners.json",
    }
    return AttestorConfig(**(values | changes))


def make_world(
    folder: Path,
    families: int = 1,
    coordinator: Coordinator | None = None,
    chain: FakeChain | None = None,
) -> World:
    """A world in which an honest batch is signed. Give `coordinator` and `chain` to add an attestor
    to another world."""
    config = make_config(folder)
    chain = chain or FakeChain(families=families)
    store = Store(config.database)
    attestor = make_attestor(config, store, chain)
    chain.attestor_set = replace(
        chain.attestor_set, addresses=chain.attestor_set.addresses | {attestor.address}
    )
    world = World(
        folder, coordinator or Coordinator(families=families), chain, config, attestor, store
    )
    world.write_pins()
    return world


def refusal(world, question):
    """The refusal that `question` meets; nothing must have been recorded."""
    with pytest.raises(Refused) as caught:
        world.attestor.attest(question)
    root = question.interactions_root
    assert (
        world.store.leaves(f"{CHAIN_ID}:{DISTRIBUTOR}", question.bucket, question.sequence, root)
        == []
    )
    return caught.value
