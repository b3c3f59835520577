"""A program goes on for another: no event is paid in both.

Webhook evidence names no Distributor, so only what the attestors know keeps an event of the old
program out of the new one.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from eth_utils import to_checksum_address

from backend.attestor.chain import AttestorSet
from backend.attestor.config import ProgramConfig
from backend.attestor.errors import MissingLeaves, PredecessorAtWork, Refused
from backend.attestor.partner_keys import PartnerKeyFile
from backend.attestor.service import Attestor
from backend.attestor.store import Store
from backend.errors import GuerdonError
from backend.signer import keystore
from prover.eip712 import Domain
from tests.attestor.world import (
    CHAIN_ID,
    DISTRIBUTOR,
    NOW,
    Batch,
    Coordinator,
    FakeChain,
    account,
    make_config,
    report,
    write_pins,
)

OLD, NEW = to_checksum_address("0x" + "0d" * 20), DISTRIBUTOR
OTHER = to_checksum_address("0x" + "07" * 20)


def entry(distributor: str, predecessor: str | None = None) -> ProgramConfig:
    return ProgramConfig(
        distributor=distributor, instance="dev", finality="latest", predecessor=predecessor
    )


PROGRAMS = (entry(OLD), entry(NEW, OLD))


@dataclass
class Moving:
    """Two programs on one chain, with coordinators that share their partners."""

    chains: dict[str, FakeChain]
    coordinators: dict[str, Coordinator]

    def batch(self, program: str, deliveries: list) -> Batch:
        return self.coordinators[program].batch(0, deliveries)

    def post(self, batch: Batch) -> None:
        self.chains[batch.domain.distributor].post(batch.envelope, batch.deltas)
        self.coordinators[batch.domain.distributor].book(batch)

    def end(self, program: str = OLD) -> None:
        """The owner has replaced the attestors by none."""
        self._replace(program, frozenset([program]))

    def set_to_work(self, program: str, addresses: frozenset[str]) -> None:
        self._replace(program, addresses)

    def _replace(self, program: str, addresses: frozenset[str]) -> None:
        chain = self.chains[program]
        chain.attestor_set = AttestorSet(addresses, chain.attestor_set.epoch + 1)
        self.coordinators[program].epoch += 1
        chain.mine()


def moving(programs: tuple[str, ...] = (OLD, NEW)) -> Moving:
    first = Coordinator(Domain(CHAIN_ID, programs[0]))
    coordinators = {
        program: Coordinator(Domain(CHAIN_ID, program), secrets=first.secrets)
        for program in programs
    }
    return Moving({program: FakeChain() for program in programs}, coordinators)


@dataclass
class Signer:
    """An honest attestor of all programs of its configuration."""

    folder: Path
    moving: Moving
    programs: tuple[ProgramConfig, ...] = PROGRAMS
    stores: list[Store] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.config = make_config(self.folder, programs=self.programs)
        secrets = {name: [key] for name, key in self.moving.coordinators[OLD].secrets.items()}
        pins = {}
        for program in self.programs:
            write_pins(self.config.pins, secrets, program.distributor)
            pins[program.distributor] = self.config.pins.read_text().strip()[1:-1]
        self.config.pins.write_text("{" + ",".join(pins.values()) + "}")
        self.start()
        for chain in self.moving.chains.values():
            addresses = chain.attestor_set.addresses | {self.attestor.address}
            chain.attestor_set = replace(chain.attestor_set, addresses=addresses)

    def start(self) -> None:
        """A new process: all that it knows is its files."""
        while self.stores:
            self.stores.pop().close()
        self.stores.append(Store(self.config.database))
        key = keystore.load(self.config.keystore, self.config.password)
        pins = PartnerKeyFile(self.config.pins)
        views = self.moving.chains
        self.attestor = Attestor(self.config, key, self.stores[0], pins, views, lambda: NOW)

    def lose_store(self) -> None:
        while self.stores:
            self.stores.pop().close()
        for file in self.folder.glob("attestor.sqlite*"):
            file.unlink()
        self.start()

    def sign(self, batch: Batch, landed: dict[tuple[str, int, int], Batch]) -> None:
        """As the coordinator asks: with the leaves that are missing. Raises what the attestor
        does."""
        for _ in range(len(landed) + 1):
            try:
                self.attestor.attest(batch.question)
                return
            except MissingLeaves as error:
                for bucket, sequence in error.batches:
                    sent = landed[error.distributor, bucket, sequence]
                    self.attestor.accept_leaves(
                        CHAIN_ID, error.distributor, bucket, sequence, sent.leaves
                    )


@pytest.fixture
def moved() -> Moving:
    return moving()


@pytest.fixture
def signer(tmp_path: Path, moved: Moving) -> Signer:
    return Signer(tmp_path, moved)


def deliver(moved: Moving, event: str, who: int = 1) -> object:
    return moved.coordinators[OLD].deliver([report(event, account(who))])


def reason(attest: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        attest()
    return caught.value.reason


def test_nothing_is_signed_while_the_predecessor_is_at_work(moved: Moving, signer: Signer) -> None:
    """The old program is signed for until its set of attestors ends, and not beyond; the new one
    from then on."""
    old, new = (moved.batch(program, [deliver(moved, program)]) for program in (OLD, NEW))
    with pytest.raises(PredecessorAtWork, match=f"in {OLD}, the predecessor"):
        signer.attestor.attest(new.question)
    signer.attestor.attest(old.question)
    moved.end()
    signer.attestor.attest(new.question)
    again = replace(old.question, attestor_epoch=2)
    assert reason(lambda: signer.attestor.attest(again)) == "not_an_attestor"


@pytest.mark.parametrize(
    "addresses", [frozenset(), frozenset([OLD, account(1)]), frozenset([NEW]), frozenset([OTHER])]
)
def test_no_other_set_ends_a_program(
    moved: Moving, signer: Signer, addresses: frozenset[str]
) -> None:
    """Somebody else's set is at work, and an empty one no contract has."""
    moved.set_to_work(OLD, addresses)
    with pytest.raises(PredecessorAtWork):
        signer.attestor.attest(moved.batch(NEW, [deliver(moved, "a")]).question)


def test_what_landed_before_is_not_paid_again(moved: Moving, signer: Signer) -> None:
    """By whoever it was signed: the leaves are asked for, also by an attestor that has lost its
    store; an event that was signed and has not landed is free."""
    paid, signed = deliver(moved, "paid"), deliver(moved, "signed", 2)
    landed = {(OLD, 0, 1): moved.batch(OLD, [paid])}
    moved.post(landed[OLD, 0, 1])
    late = moved.batch(OLD, [signed])
    signer.sign(late, landed)
    signer.lose_store()
    moved.end()
    with pytest.raises(MissingLeaves) as caught:
        signer.attestor.attest(moved.batch(NEW, [paid]).question)
    assert (caught.value.distributor, caught.value.batches) == (OLD, [(0, 1)])
    assert reason(lambda: signer.sign(moved.batch(NEW, [paid, signed]), landed)) == "paid_event"
    signer.sign(moved.batch(NEW, [signed]), landed)


def test_a_program_that_was_succeeded_stays_so(moved: Moving, signer: Signer) -> None:
    """An owner who opens the old program again finds no attestor who knows of the new one; nor is
    the new one signed for any longer."""
    addresses = moved.chains[OLD].attestor_set.addresses
    moved.end()
    signer.attestor.attest(moved.batch(NEW, [deliver(moved, "a")]).question)
    moved.set_to_work(OLD, addresses)
    old = moved.batch(OLD, [deliver(moved, "a")])
    assert reason(lambda: signer.attestor.attest(old.question)) == "succeeded"
    signer.start()
    assert reason(lambda: signer.attestor.attest(old.question)) == "succeeded"
    with pytest.raises(PredecessorAtWork):
        signer.attestor.attest(moved.batch(NEW, [deliver(moved, "b")]).question)


def test_predecessors_of_predecessors_count(tmp_path: Path) -> None:
    """What landed two programs ago is refused, and all before must have ended."""
    moved = moving((OTHER, OLD, NEW))
    signer = Signer(tmp_path, moved, (entry(OTHER), entry(OLD, OTHER), entry(NEW, OLD)))
    paid = deliver(moved, "paid")
    landed = {(OTHER, 0, 1): moved.batch(OTHER, [paid])}
    moved.post(landed[OTHER, 0, 1])
    moved.end(OLD)
    with pytest.raises(PredecessorAtWork, match=OTHER):
        signer.sign(moved.batch(NEW, [paid]), landed)
    moved.end(OTHER)
    assert reason(lambda: signer.sign(moved.batch(NEW, [paid]), landed)) == "paid_event"


def test_readiness_of_a_program_that_has_ended(moved: Moving, signer: Signer) -> None:
    """An end is no fault."""
    moved.end()
    ready, detail = signer.attestor.readiness()
    assert ready
    assert detail["programs"][OLD]["ended"] is True
    assert "ended" not in detail["programs"][NEW]


def test_another_edition_is_not_signed_for(moved: Moving, signer: Signer) -> None:
    """Its domain has another version: the signature would be worth nothing. As a predecessor it is
    followed all the same."""
    moved.chains[OLD].shape_ = replace(moved.chains[OLD].shape_, version="1")
    old, new = (moved.batch(program, [deliver(moved, program)]) for program in (OLD, NEW))
    assert reason(lambda: signer.attestor.attest(old.question)) == "edition"
    moved.end()
    signer.attestor.attest(new.question)


@dataclass
class Attack:
    """Two honest attestors, of whom any one is enough for a batch: all others sign everything. At
    random they are asked, restarted, and lose their stores; what they signed lands at some time or
    never; the old program ends, is set to work again before the new one has begun, and ends."""

    moved: Moving
    signers: list[Signer]
    rng: random.Random
    waiting: list[Batch] = field(default_factory=list)
    landed: dict[tuple[str, int, int], Batch] = field(default_factory=dict)
    paid: list[tuple[str, bytes]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def run(self, steps: int) -> None:
        members = self.moved.chains[OLD].attestor_set.addresses
        deliveries = [deliver(self.moved, f"event-{i}", i) for i in range(4)]
        for _ in range(steps):
            step, signer = self.rng.random(), self.rng.choice(self.signers)
            ended = self.moved.chains[OLD].attestor_set.ends(OLD)
            begun = any(batch.domain.distributor == NEW for batch in self.waiting)
            if step < 0.5:
                self.ask(signer, self.rng.choice([OLD, NEW]), self.rng.choice(deliveries))
            elif step < 0.8:
                self.land()
            elif step < 0.86:
                signer.start()
            elif step < 0.9:
                signer.lose_store()
            elif not ended:
                self.moved.end()
            elif not begun and step > 0.95:
                self.moved.set_to_work(OLD, members)

    def ask(self, signer: Signer, program: str, delivery: object) -> None:
        epoch = self.moved.chains[program].attestor_set.epoch
        batch = self.moved.batch(program, [delivery]).with_envelope(attestor_epoch=epoch)
        try:
            signer.sign(batch, self.landed)
        except GuerdonError as error:
            self.refused.add(getattr(error, "reason", error.code))
        else:
            self.waiting.append(batch)

    def land(self) -> None:
        """One of those that the contract would take now."""
        possible = [batch for batch in self.waiting if self.taken(batch)]
        if possible:
            batch = self.rng.choice(possible)
            program = batch.domain.distributor
            self.landed[program, 0, batch.envelope.sequence] = batch
            self.moved.post(batch)
            self.paid += [(program, one.event_id) for one in batch.interactions]

    def taken(self, batch: Batch) -> bool:
        program = batch.domain.distributor
        return (batch.envelope.sequence, batch.envelope.attestor_epoch) == (
            self.moved.coordinators[program].state.bucket(0).sequence + 1,
            self.moved.chains[program].attestor_set.epoch,
        )


def test_no_event_is_paid_twice_with_one_honest_signer(tmp_path: Path) -> None:
    """Whatever happens in which order; and all of it happens."""
    refused, both = set(), 0
    for seed in range(8):
        moved = moving()
        signers = [Signer(tmp_path / f"{seed}-{i}", moved) for i in range(2)]
        attack = Attack(moved, signers, random.Random(f"moving {seed}"))
        attack.run(60)
        events = [event for _, event in attack.paid]
        assert len(events) == len(set(events)), (seed, attack.paid)
        both += {program for program, _ in attack.paid} == {OLD, NEW}
        refused |= attack.refused
    assert both > 1
    assert {"predecessor_at_work", "paid_event", "not_an_attestor"} <= refused
