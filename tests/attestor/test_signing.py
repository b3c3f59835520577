"""Every rule of PROTOCOL section 6 about what is signed: the content's roots, the envelope, and one
digest for one sequence."""

from dataclasses import replace

import pytest
from eth_keys import keys
from eth_utils import keccak

from backend.attestor import service
from backend.attestor.errors import AlreadyLanded, OtherDigestSigned, StateBehind
from backend.errors import NotFound
from prover.wire import Deltas
from tests.attestor.world import DEV, NOW, account, refusal, report


class TestContent:
    """Deltas, both trees and the roots recompute exactly."""

    def test_deltas_with_more(self, world, batch):
        """More in the deltas than the items give is refused."""
        decoded = Deltas.decode(batch.deltas, 0, DEV.slots)
        raised = Deltas(
            (), ((decoded.opened[0][0], decoded.opened[0][1] + 1), *decoded.opened[1:])
        ).encode()
        assert refusal(world, replace(batch.question, deltas=raised)).reason == "deltas"
        assert (
            refusal(world, replace(batch.question, deltas=batch.deltas + bytes(31) + b"\1")).reason
            == "deltas"
        )
        assert refusal(world, replace(batch.question, deltas=b"")).reason == "deltas"

    @pytest.mark.parametrize("field", ["new_root", "items_root"])
    def test_roots(self, world, batch, field):
        """Each root is compared by itself."""
        assert (
            refusal(
                world, replace(batch.question, **{field: getattr(batch.question, field) + 1})
            ).reason
            == field
        )

    def test_interactions_root(self, world, batch):
        """The interactions root is compared too."""
        assert (
            refusal(world, replace(batch.question, interactions_root=bytes(32))).reason
            == "interactions_root"
        )

    def test_items_left_out(self, world, batch):
        """A state that holds more than the items that are shown is refused."""
        assert refusal(world, replace(batch.question, items=batch.items[:-1])).reason == "deltas"

    def test_items_in_another_order(self, world, batch):
        """Item indices are part of what is signed."""
        assert (
            refusal(world, replace(batch.question, items=(batch.items[2], *batch.items[:2]))).reason
            == "items_root"
        )

    def test_existing_accounts(self, world, batch):
        """On top of a landed batch the deltas name slots, in ascending order, and the old root is
        the chain's."""
        world.land_signed(batch)
        sent = world.coordinator.deliver(
            [report("c", account(3)), report("d", account(2)), report("e", account(1))]
        )
        nxt = world.coordinator.batch(0, [sent])
        assert Deltas.decode(nxt.deltas, 2, DEV.slots).existing == ((0, 1000), (1, 1000))
        assert world.attestor.attest(nxt.question).digest == nxt.digest

    def test_an_honest_batch_is_signed(self, world, batch):
        """The signature is over the digest that the coordinator computed by itself, and recovers to
        the attestor."""
        answer = world.attestor.attest(batch.question)
        assert answer.digest == batch.digest
        signature = keys.Signature(answer.signature[:64] + bytes([answer.signature[64] - 27]))
        assert (
            signature.recover_public_key_from_msg_hash(batch.digest).to_checksum_address()
            == answer.attestor
        )


class TestEnvelope:
    """What is signed for: program, place, epoch, time."""

    @pytest.mark.parametrize(
        ("change", "field"),
        [({"chain_id": 1}, "chain_id"), ({"distributor": "0x" + "11" * 20}, "distributor")],
    )
    def test_another_program(self, world, batch, change, field):
        """Only for the programs that it is configured for."""
        with pytest.raises(NotFound) as caught:
            world.attestor.attest(replace(batch.question, **change))
        assert (caught.value.code, caught.value.field) == ("unknown_program", field)

    def test_not_an_attestor(self, world, batch):
        """An attestor that is not in the set on chain says so instead of signing in vain."""
        world.chain.attestor_set = replace(
            world.chain.attestor_set, addresses=frozenset([account(5)])
        )
        assert refusal(world, batch.question).reason == "not_an_attestor"

    def test_old_epoch(self, world, batch):
        """An old epoch is refused."""
        world.chain.attestor_set = replace(world.chain.attestor_set, epoch=2)
        assert refusal(world, batch.question).reason == "attestor_epoch"

    def test_future_epoch(self, world, batch):
        """An epoch that the final chain has not reached yet is worth waiting for."""
        with pytest.raises(StateBehind):
            world.attestor.attest(batch.with_envelope(attestor_epoch=2).question)

    @pytest.mark.parametrize(
        ("valid_until", "reason"),
        [(NOW, "expired"), (NOW - 1, "expired"), (NOW + 86401, "validity")],
    )
    def test_validity(self, world, batch, valid_until, reason):
        """Later than the chain's head, and at most a day ahead."""
        error = refusal(world, batch.with_envelope(valid_until=valid_until).question)
        assert (error.reason, error.field) == (reason, "valid_until")

    @pytest.mark.parametrize("valid_until", [NOW + 1, NOW + 86400])
    def test_validity_bounds(self, world, batch, valid_until):
        """Both bounds themselves are allowed."""
        inside = batch.with_envelope(valid_until=valid_until)
        assert world.attestor.attest(inside.question).digest == inside.digest

    def test_idle_chain(self, world, batch):
        """On a chain whose head is old, the clock allows what the head does not."""
        world.restart(clock=lambda: NOW + 10 * 86400)
        late = batch.with_envelope(valid_until=NOW + 10 * 86400 + 60)
        assert world.attestor.attest(late.question).digest == late.digest

    def test_the_clock_counts_on_local_chains_alone(self, world, batch, monkeypatch):
        """Elsewhere a machine whose clock is ahead signs for no longer than the chain's time
        allows: the place would be taken until then."""
        monkeypatch.setattr(service, "is_local", lambda _: False)
        world.restart(clock=lambda: NOW + 10 * 86400)
        late = batch.with_envelope(valid_until=NOW + 10 * 86400 + 60)
        assert refusal(world, late.question).reason == "validity"

    def test_landed_sequence(self, world, batch):
        """What has landed is not signed again."""
        world.land_signed(batch)
        with pytest.raises(AlreadyLanded):
            world.attestor.attest(batch.question)

    def test_skipped_sequence(self, world, batch):
        """A batch on a state that is not there yet has to wait."""
        with pytest.raises(StateBehind) as caught:
            world.attestor.attest(batch.with_envelope(sequence=2).question)
        assert caught.value.field == "sequence"

    def test_state_that_is_not_final(self, world, batch):
        """A batch that has landed but is not final does not count yet."""
        world.chain.final_lag = 1
        world.chain.mine()
        world.land_signed(batch)
        nxt = world.coordinator.batch(0, [world.coordinator.deliver([report("c", account(1))])])
        with pytest.raises(StateBehind):
            world.attestor.attest(nxt.question)
        world.chain.mine()
        assert world.attestor.attest(nxt.question).digest == nxt.digest

    def test_ledger_head_is_opaque(self, world, batch):
        """The attestor signs whatever 32 bytes the operator commits its ledger with."""
        other = batch.with_envelope(ledger_head=keccak(b"another"))
        assert world.attestor.attest(other.question).digest == other.digest


class TestOneDigest:
    """One digest for a place, while it is alive."""

    def test_same_question(self, world, batch):
        """The same question gets the same answer, also from a new process."""
        first = world.attestor.attest(batch.question)
        assert world.attestor.attest(batch.question) == first
        assert world.restart().attest(batch.question) == first

    def test_another_digest(self, world, batch):
        """Another digest has to wait until the first is dead on the final chain; a new process
        remembers."""
        world.attestor.attest(batch.question)
        other = batch.with_envelope(ledger_head=keccak(b"another"))
        for _ in range(2):
            with pytest.raises(OtherDigestSigned) as caught:
                world.attestor.attest(other.question)
            assert (caught.value.status, caught.value.retryable) == (409, True)
            world.restart()

    def test_after_expiry(self, world, batch):
        """Not before the final chain has passed the time of the first may another be signed."""
        world.chain.final_lag = 1
        world.chain.mine(1)
        world.attestor.attest(batch.question)
        world.chain.mine(batch.envelope.valid_until - world.chain.blocks[-1].timestamp)
        other = batch.with_envelope(valid_until=batch.envelope.valid_until + 600)
        for _ in range(2):
            with pytest.raises(OtherDigestSigned):
                world.attestor.attest(other.question)
            world.chain.mine(1)
        assert world.attestor.attest(other.question).digest == other.digest

    def test_after_a_change_of_attestors(self, world, batch):
        """A digest of an older epoch is dead at once."""
        world.attestor.attest(batch.question)
        world.chain.mine()
        world.chain.attestor_set = replace(world.chain.attestor_set, epoch=2)
        renewed = batch.with_envelope(attestor_epoch=2)
        assert world.attestor.attest(renewed.question).digest == renewed.digest
