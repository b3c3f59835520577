"""Every rule of PROTOCOL section 6 about what a batch books: an honest question with one thing
broken is refused, by the name of that thing."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend.attestor import rules
from backend.attestor.errors import MissingLeaves, Refused, StateBehind
from backend.attestor.rules import ItemClaim
from backend.partner.schemes import standard_webhooks
from prover.state import family
from prover.wire import Deltas
from tests.attestor.world import (
    CHAIN_ID,
    DEV,
    DISTRIBUTOR,
    NOW,
    PARTNER,
    account,
    changed,
    make_world,
    refusal,
    report,
    write_pins,
)


class TestEvidence:
    """Every field of every interaction follows from authenticated evidence."""

    def test_unknown_partner(self, world, batch):
        """A partner without a pinned key convinces nobody."""
        world.write_pins({"games": [world.coordinator.secrets["games"]]})
        error = refusal(world, batch.question)
        assert (error.reason, error.item, error.field) == (
            "unknown_partner",
            0,
            "deliveries.0.partner",
        )

    def test_partner_of_another_program(self, world, batch):
        """A key that is pinned for another program does not count."""
        write_pins(
            world.config.pins,
            {PARTNER: [world.coordinator.secrets[PARTNER]]},
            distributor="0x" + "d2" * 20,
        )
        assert refusal(world, batch.question).reason == "unknown_partner"

    def test_another_partners_name(self, world):
        """What one partner signed cannot be passed off as another's."""
        sent = replace(
            world.coordinator.deliver([report("a", account(1))], partner="games"), partner=PARTNER
        )
        assert refusal(world, world.coordinator.batch(0, [sent]).question).reason == "signature"

    def test_wrong_secret(self, world):
        """A delivery signed with a key that is not pinned is refused."""
        sent = world.coordinator.deliver(
            [report("a", account(1))], secret=standard_webhooks.generate_secret()
        )
        error = refusal(world, world.coordinator.batch(0, [sent]).question)
        assert (error.reason, error.field) == ("signature", "deliveries.0.webhook-signature")

    @pytest.mark.parametrize(
        "change",
        [
            lambda d: replace(d, body=d.body.replace(b"1000", b"9000")),
            lambda d: changed(d, "webhook-id", d.header("webhook-id") + "x"),
            lambda d: changed(d, "webhook-timestamp", str(int(d.header("webhook-timestamp")) + 1)),
            lambda d: changed(d, "webhook-signature", "v1,"),
            lambda d: replace(d, body=b" " + d.body),
        ],
    )
    def test_altered_delivery(self, world, change):
        """A byte changed in any signed part breaks the signature, whatever else is recomputed to
        match."""
        sent = world.coordinator.deliver([report("a", account(1))])
        altered = replace(sent, delivery=change(sent.delivery))
        question = replace(world.coordinator.batch(0, [sent]).question, deliveries=(altered,))
        assert refusal(world, question).reason == "signature"

    def test_a_body_that_is_no_text(self, world):
        """No partner signs bytes that are not UTF-8: the body is refused before its signature."""
        sent = world.coordinator.deliver([report("a", account(1))])
        altered = replace(sent, delivery=replace(sent.delivery, body=b"\xff" + sent.delivery.body))
        question = replace(world.coordinator.batch(0, [sent]).question, deliveries=(altered,))
        assert refusal(world, question).reason == "body"

    @pytest.mark.parametrize(
        ("change", "at"),
        [
            (lambda d: replace(d, scheme="other"), "scheme"),
            (lambda d: replace(d, method="GET"), "method"),
            (lambda d: replace(d, headers=d.headers[::-1]), "headers"),
            (lambda d: replace(d, headers=(*d.headers, ("x", "y"))), "headers"),
        ],
    )
    def test_not_the_form_of_the_scheme(self, world, change, at):
        """The partner's scheme fixes method and headers: one request has one evidence."""
        sent = world.coordinator.deliver([report("a", account(1))])
        altered = replace(sent, delivery=change(sent.delivery))
        error = refusal(world, world.coordinator.batch(0, [altered]).question)
        assert (error.reason, error.field) == ("signature", f"deliveries.0.{at}")

    def test_forged_amount(self, world):
        """A body raised by the coordinator, with everything that follows recomputed, fails at the
        signature."""
        sent = world.coordinator.deliver([report("a", account(1), 1000)])
        body = sent.delivery.body.replace(b'"1000"', b'"9000"')
        forged = replace(sent, delivery=replace(sent.delivery, body=body))
        assert refusal(world, world.coordinator.batch(0, [forged]).question).reason == "signature"

    def test_unreadable_body(self, world, batch):
        """A signed body that the pinned parser cannot read is refused."""
        sent = replace(
            batch.deliveries[0],
            delivery=standard_webhooks.sign(
                world.coordinator.secrets[PARTNER], "m", _ago(), b'{"interactions": []}'
            ),
        )
        error = refusal(world, replace(batch.question, deliveries=(sent, batch.deliveries[1])))
        assert (error.reason, error.item) == ("body", 0)

    def test_invalid_report(self, world, batch):
        """An item that breaks a rule of the format does not count, though its neighbours do."""
        sent = world.coordinator.deliver(
            [report("a", account(1)), {**report("b", account(2)), "amount": "0"}]
        )
        question = replace(
            batch.question, deliveries=(sent,), items=(ItemClaim(0, 0, 1000), ItemClaim(0, 1, 0))
        )
        error = refusal(world, question)
        assert (error.reason, error.item) == ("invalid_report", 1)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [({"delivery": 2}, "no_such_delivery"), ({"position": 3}, "no_such_position")],
    )
    def test_item_without_evidence(self, world, batch, change, reason):
        """An item must point to a report that is there."""
        items = (batch.items[0], replace(batch.items[1], **change), batch.items[2])
        error = refusal(world, replace(batch.question, items=items))
        assert (error.reason, error.item) == (reason, 1)

    @pytest.mark.parametrize("amount", [6, 8])
    def test_item_amount(self, world, batch, amount):
        """An item pays what the partner signed, neither more nor less: no debt is on record."""
        items = (batch.items[0], replace(batch.items[1], amount=amount), batch.items[2])
        error = refusal(world, replace(batch.question, items=items))
        assert (error.reason, error.item) == ("amount", 1)

    def test_another_salt(self, world, batch):
        """The evidence hash is over the salt that was sent."""
        sent = replace(batch.deliveries[0], salt=bytes(32))
        assert (
            refusal(world, replace(batch.question, deliveries=(sent, batch.deliveries[1]))).reason
            == "interactions_root"
        )

    def test_rotated_secret(self, world, batch):
        """While rotating, any pinned secret will do; the file is read again when it changes."""
        world.write_pins(
            {
                PARTNER: [standard_webhooks.generate_secret()],
                "games": [world.coordinator.secrets["games"]],
            }
        )
        assert refusal(world, batch.question).reason == "signature"
        world.write_pins(
            {
                PARTNER: [standard_webhooks.generate_secret(), world.coordinator.secrets[PARTNER]],
                "games": [world.coordinator.secrets["games"]],
            }
        )
        assert world.attestor.attest(batch.question).digest == batch.digest


class TestEvents:
    """No event is paid twice."""

    def test_one_place_twice(self, world):
        """One report cannot be two items."""
        sent = world.coordinator.deliver([report("a", account(1))])
        error = refusal(world, world.coordinator.batch(0, [sent], [(0, 0), (0, 0)]).question)
        assert (error.reason, error.item) == ("repeated_event", 1)

    def test_event_twice_in_the_batch(self, world):
        """One event in two deliveries, for two accounts and amounts, cannot be two items."""
        sent = [
            world.coordinator.deliver([report("a", account(1))]),
            world.coordinator.deliver([report("a", account(2), 5)]),
        ]
        error = refusal(world, world.coordinator.batch(0, sent).question)
        assert (error.reason, error.item) == ("repeated_event", 1)

    def test_landed_event(self, world, batch):
        """An event of a batch that landed is refused, also when its partner signed it anew for
        another amount."""
        world.land_signed(batch)
        for sent in (
            batch.deliveries[0],
            world.coordinator.deliver([report("a", account(1), 999)]),
        ):
            error = refusal(world, world.coordinator.batch(0, [sent], [(0, 0)]).question)
            assert (error.reason, error.item) == ("paid_event", 0)

    def test_landed_event_known_from_leaves_alone(self, world, tmp_path):
        """An attestor that never saw the batch refuses its events once it was sent the leaves."""
        other = make_world(_sub(tmp_path), coordinator=world.coordinator, chain=world.chain)
        first = world.land_signed(
            world.coordinator.batch(0, [world.coordinator.deliver([report("a", account(1))])])
        )
        other.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 1, first.leaves)
        replayed = world.coordinator.batch(0, list(first.deliveries))
        assert refusal(other, replayed.question).reason == "paid_event"
        other.store.close()

    def test_event_of_another_partner(self, world, batch):
        """Event ids belong to their partner: the same text from another is another event."""
        world.land_signed(batch)
        fresh = world.coordinator.batch(
            0, [world.coordinator.deliver([report("b", account(1))], partner="games")]
        )
        assert world.attestor.attest(fresh.question).digest == fresh.digest

    def test_event_of_a_signed_batch_that_can_still_land(self, world):
        """Two buckets cannot both be signed for one event before either lands, even if its partner
        signs it for two accounts."""
        world.fill_bucket()
        in_0 = world.coordinator.batch(0, [world.coordinator.deliver([report("a", account(1000))])])
        in_1 = world.coordinator.batch(
            1, [world.coordinator.deliver([report("b", account(2)), report("a", account(1))])]
        )
        world.attestor.attest(in_0.question)
        error = refusal(world, in_1.question)
        assert (error.reason, error.item) == ("signed_event", 1)
        while world.chain.blocks[-1].timestamp <= in_0.envelope.valid_until:
            world.chain.mine(seconds=600)
        later = in_1.with_envelope(valid_until=world.chain.blocks[-1].timestamp + 60)
        assert world.attestor.attest(later.question).digest == later.digest

    def test_event_of_a_signed_batch_that_lost(self, world):
        """A signed batch whose place was taken by another does not hold its events back."""
        world.fill_bucket()
        loser = world.coordinator.batch(
            0, [world.coordinator.deliver([report("a", account(1000))])]
        )
        winner = world.coordinator.batch(
            0, [world.coordinator.deliver([report("b", account(1000))])]
        )
        world.attestor.attest(loser.question)
        world.land(winner)
        world.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 2, winner.leaves)
        again = world.coordinator.batch(0, list(loser.deliveries))
        assert world.attestor.attest(again.question).digest == again.digest


class TestLeaves:
    """It holds the leaves behind every landed root before it signs."""

    @pytest.fixture
    def other(self, world, tmp_path):
        """A second attestor, who sees the chain but was sent nothing."""
        made = make_world(_sub(tmp_path), coordinator=world.coordinator, chain=world.chain)
        yield made
        made.store.close()

    def test_own_copy_counts(self, world, batch):
        """What it was sent for attestation counts once that root has landed."""
        world.land_signed(batch)
        nxt = world.coordinator.batch(0, [world.coordinator.deliver([report("c", account(1))])])
        assert world.attestor.attest(nxt.question).digest == nxt.digest

    def test_own_copy_of_another_root_does_not_count(self, world, batch):
        """Holding a candidate for the place is not holding what landed there."""
        rival = world.coordinator.batch(0, [world.coordinator.deliver([report("x", account(9))])])
        world.attestor.attest(batch.question)
        world.land(rival)
        nxt = world.coordinator.batch(0, [world.coordinator.deliver([report("y", account(9))])])
        with pytest.raises(MissingLeaves) as caught:
            world.attestor.attest(nxt.question)
        assert caught.value.batches == [(0, 1)]

    def test_missing_then_sent(self, world, other):
        """All landed batches that are missing are named; sent, the same question is signed."""
        first = world.fill_bucket()
        second = world.land_signed(
            world.coordinator.batch(1, [world.coordinator.deliver([report("a", account(1))])])
        )
        question = world.coordinator.batch(
            1, [world.coordinator.deliver([report("b", account(1))])]
        ).question
        with pytest.raises(MissingLeaves) as caught:
            other.attestor.attest(question)
        assert caught.value.batches == [(0, 1), (1, 1)]
        for landed in (first, second):
            e = landed.envelope
            other.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, e.bucket, e.sequence, landed.leaves)
        assert other.attestor.attest(question).attestor == other.attestor.address

    @pytest.mark.parametrize(
        "change",
        [
            lambda leaves: leaves[:-1],
            lambda leaves: [*leaves, leaves[0]],
            lambda leaves: leaves[::-1],
            lambda leaves: [replace(leaves[0], event_id=bytes(32)), *leaves[1:]],
            lambda leaves: [replace(leaves[0], amount=1), *leaves[1:]],
            lambda leaves: [replace(leaves[0], item_amount=1), *leaves[1:]],
            lambda leaves: [replace(leaves[0], account=account(99)), *leaves[1:]],
            lambda leaves: [replace(leaves[0], evidence=bytes(32)), *leaves[1:]],
        ],
    )
    def test_foreign_leaves(self, world, other, batch, change):
        """Leaves with another root are refused, and nothing is kept of them."""
        world.land_signed(batch)
        with pytest.raises(Refused) as caught:
            other.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 1, change(batch.leaves))
        assert caught.value.reason == "interactions_root"
        assert other.store.missing_leaves(f"{CHAIN_ID}:{DISTRIBUTOR}") == [(0, 1)]

    def test_leaves_of_a_batch_that_has_not_landed(self, world, batch):
        """Leaves are taken for landed batches alone."""
        with pytest.raises(StateBehind):
            world.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 1, batch.leaves)

    def test_leaves_twice(self, world, other, batch):
        """Sending leaves again changes nothing."""
        world.land_signed(batch)
        for _ in range(2):
            other.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 1, batch.leaves)
        key = f"{CHAIN_ID}:{DISTRIBUTOR}"
        assert other.store.leaves(key, 0, 1, batch.envelope.interactions_root) == batch.leaves


class TestHomes:
    """Every account is in its home bucket, opened once."""

    def test_account_of_another_bucket(self, world):
        """An account that lives elsewhere cannot be opened again here."""
        world.fill_bucket()
        question = world.coordinator.batch(
            1, [world.coordinator.deliver([report("a", account(1)), report("b", account(1000))])]
        ).question
        error = refusal(world, question)
        assert (error.reason, error.item) == ("home", 1)

    def test_lower_bucket_with_a_free_slot(self, world):
        """While a lower bucket has a free slot, an account waits for it; nothing is opened further
        up."""
        for bucket in (1, 2**32 - 1):
            with pytest.raises(StateBehind) as caught:
                world.attestor.attest(
                    world.coordinator.batch(
                        bucket, [world.coordinator.deliver([report("a", account(1))])]
                    ).question
                )
            assert (caught.value.code, caught.value.retryable) == ("state_behind", True)

    def test_full_bucket(self, world, batch):
        """A full bucket takes no account more."""
        world.fill_bucket()
        question = replace(
            world.coordinator.batch(
                1, [world.coordinator.deliver([report("a", account(1))])]
            ).question,
            bucket=0,
            sequence=2,
        )
        error = refusal(world, question)
        assert (error.reason, error.item) == ("home", 0)

    def test_family(self, tmp_path):
        """A bucket takes accounts of its own family alone."""
        world = make_world(tmp_path, families=2)
        who = next(account(i) for i in range(100) if family(int(account(i), 16), 2) == 1)
        sent = world.coordinator.deliver([report("a", who)])
        error = refusal(world, world.coordinator.batch(0, [sent]).question)
        assert (error.reason, error.item) == ("home", 0)
        assert "family" in error.message
        fitting = world.coordinator.batch(1, [sent])
        assert world.attestor.attest(fitting.question).digest == fitting.digest
        world.store.close()

    def test_a_raise_of_families(self, tmp_path):
        """An open account stays where it is, and is paid there; a new one is opened by the new
        number, in the new epoch alone."""
        world = make_world(tmp_path)
        odd = (account(i) for i in range(100) if family(int(account(i), 16), 2) == 1)
        first, second = next(odd), next(odd)
        old = world.coordinator.batch(0, [world.coordinator.deliver([report("a", first)])])
        world.land_signed(old)
        pending = world.coordinator.batch(0, [world.coordinator.deliver([report("b", second)])])

        def raised(changed):
            return replace(changed, epoch=2, families=2)

        world.chain.attestor_set = raised(world.chain.attestor_set)
        stale = refusal(world, pending.question)
        assert stale.reason == "attestor_epoch"
        world.coordinator.epoch = 2
        sent = world.coordinator.deliver([report("b", second)])
        misplaced = refusal(world, world.coordinator.batch(0, [sent]).question)
        assert (misplaced.reason, misplaced.item) == ("home", 0)
        opened = world.coordinator.batch(1, [sent])
        assert world.attestor.attest(opened.question).digest == opened.digest
        world.land(opened)
        again = world.coordinator.deliver([report("c", first)])
        twice = refusal(world, world.coordinator.batch(1, [again]).question)
        assert (twice.reason, twice.item) == ("home", 0)
        stays = world.coordinator.batch(0, [again])
        assert world.attestor.attest(stays.question).digest == stays.digest
        # All that it knows after a restart is its files, and the chain.
        world.land(stays)
        world.restart()
        more = world.coordinator.batch(0, [world.coordinator.deliver([report("d", first)])])
        assert world.attestor.attest(more.question).digest == more.digest
        world.store.close()

    def test_opened_in_another_order(self, world, batch):
        """Accounts are opened in order of first appearance, and in no other."""
        decoded = Deltas.decode(batch.deltas, 0, DEV.slots)
        swapped = Deltas((), decoded.opened[::-1]).encode()
        assert refusal(world, replace(batch.question, deltas=swapped)).reason == "deltas"


class TestAmounts:
    """What the circuit takes for granted, the attestor checks."""

    @pytest.mark.parametrize("amount", [0, 2**96, -1])
    def test_amount_out_of_range(self, amount):
        """1 .. 2^96-1, and nothing else, whoever parsed it."""
        with pytest.raises(Refused) as caught:
            rules.require_amount(4, amount)
        assert caught.value.item == 4

    def test_sum_beyond_a_delta(self, world, batch):
        """Items of one account that together exceed 96 bits are refused at the item that does
        it."""
        sent = world.coordinator.deliver(
            [report("a", account(1), 2**95), report("b", account(1), 2**95)]
        )
        items = (ItemClaim(0, 0, 2**95), ItemClaim(0, 1, 2**95))
        error = refusal(world, replace(batch.question, deliveries=(sent,), items=items))
        assert (error.reason, error.item) == ("amount", 1)

    @pytest.mark.parametrize("count", [0, 33])
    def test_number_of_items(self, world, batch, count):
        """At least one item, and no more than the circuit takes."""
        sent = world.coordinator.deliver(
            [report(f"e{i}", account(1)) for i in range(max(1, count))]
        )
        items = tuple(ItemClaim(0, i, 1000) for i in range(count))
        assert (
            refusal(world, replace(batch.question, deliveries=(sent,), items=items)).reason
            == "items"
        )


def _ago():
    return datetime.fromtimestamp(NOW - 100, UTC)


def _sub(tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    return folder
