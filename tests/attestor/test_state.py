"""State comes from final blocks alone, survives a restart, and a chain that breaks its word stops the signing."""

from dataclasses import replace

import pytest

from backend.attestor.errors import Halted
from backend.errors import Unavailable
from tests.attestor.world import CHAIN_ID, DISTRIBUTOR, account, report

KEY = f"{CHAIN_ID}:{DISTRIBUTOR}"


@pytest.fixture
def landed(world):
    """A world in which one batch has landed and been read."""
    batch = world.land_signed(world.lead.batch(0, [world.lead.deliver([report("a", account(1))])]))
    world.chain.mine()
    assert world.attestor.readiness()[0]
    return batch


@pytest.fixture
def nxt(world, landed):
    """The honest next batch."""
    return world.lead.batch(0, [world.lead.deliver([report("b", account(1))])])


def test_node_is_down(world, nxt):
    """Without its node an attestor signs nothing, and goes on when the node is back."""
    world.chain.down = True
    with pytest.raises(Unavailable) as caught:
        world.attestor.attest(nxt.question)
    assert caught.value.retryable
    world.chain.down = False
    assert world.attestor.attest(nxt.question).digest == nxt.digest


def test_final_block_changed(world, nxt):
    """A reorganization below the finality head halts, also in a new process; reading the chain anew must be asked for."""
    world.chain.reorganize(1)
    for _ in range(2):
        with pytest.raises(Halted) as caught:
            world.attestor.attest(nxt.question)
        assert (caught.value.status, caught.value.retryable) == (503, False)
        world.chain.mine()
        world.restart()
    world.store.forget_chain(KEY)
    assert world.restart().attest(nxt.question).digest == nxt.digest


def test_forgetting_the_chain_keeps_signatures(world, landed):
    """After the batch was reorganized away, reading anew gives the same signature for it and no other."""
    signature = world.store.sign_once(KEY, landed.envelope, landed.digest, (), None, lambda: b"must not be made")
    world.chain.reorganize(2)
    world.store.forget_chain(KEY)
    assert world.restart().attest(landed.question).signature == signature


def test_node_falls_behind(world, nxt):
    """A node whose final block is older than one seen before is not believed."""
    world.chain.final_lag = 1
    with pytest.raises(Unavailable, match="was final before"):
        world.attestor.attest(nxt.question)


def test_head_changes_while_it_is_read(world, nxt):
    """A block that changes between its header and its logs is not booked."""
    world.chain.mine()
    honest = world.chain.batches

    def reorganizing(first, last):
        logs = honest(first, last)
        world.chain.reorganize(1)
        return logs

    world.chain.batches = reorganizing
    with pytest.raises(Unavailable, match="changed while it was read"):
        world.attestor.attest(nxt.question)
    world.chain.batches = honest
    assert world.attestor.attest(nxt.question).digest == nxt.digest


def test_log_without_its_root(world, nxt):
    """Deltas that do not give the root on chain mean that something is broken: nothing is signed on top."""
    world.chain.post(nxt.envelope, nxt.deltas, new_root=nxt.envelope.new_root + 1)
    with pytest.raises(Halted, match="does not give the root of bucket 0, sequence 2"):
        world.attestor.attest(nxt.question)


@pytest.mark.parametrize("change", [{"sequence": 3}, {"deltas": b"\0"}])
def test_log_that_does_not_replay(world, nxt, change):
    """A gap in the sequence and malformed deltas halt too."""
    world.chain.post(nxt.envelope, nxt.deltas)
    world.chain.logs[-1] = replace(world.chain.logs[-1], **change)
    with pytest.raises(Halted, match="does not replay"):
        world.attestor.attest(nxt.question)


@pytest.mark.parametrize("change", [{"chain_id": 1}, {"levels": 5}, {"slots": 512}, {"families": 3}])
def test_program_is_not_the_pinned_one(world, change):
    """What is configured is compared with the chain before anything is signed."""
    world.chain.shape_ = replace(world.chain.shape_, **change)
    ready, detail = world.attestor.readiness()
    assert not ready
    assert next(iter(change)) in detail["programs"][DISTRIBUTOR]["reason"]


def test_restart_replays_what_was_read(world, nxt):
    """A new process starts from its own copy of the log and reads on from there."""
    world.land(nxt)
    world.attestor.readiness()
    world.restart()
    asked = []
    honest = world.chain.batches
    world.chain.batches = lambda first, last: asked.append(first) or honest(first, last)
    world.chain.mine()
    third = world.lead.batch(0, [world.lead.deliver([report("c", account(1))])])
    world.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 2, nxt.leaves)
    assert world.attestor.attest(third.question).digest == third.digest
    assert asked == [len(world.chain.blocks) - 1]


def test_readiness_says_what_is_missing(world, nxt):
    """Readiness names membership, the chain and the leaves that are not held."""
    world.land(nxt)
    ready, detail = world.attestor.readiness()
    assert ready
    assert detail["programs"][DISTRIBUTOR]["batches_without_leaves"] == 1
    world.chain.mine()
    world.chain.attestor_set = replace(world.chain.attestor_set, addresses=frozenset())
    ready, detail = world.attestor.readiness()
    assert (ready, detail["programs"][DISTRIBUTOR]["code"]) == (False, "not_an_attestor")
    world.chain.down = True
    ready, detail = world.attestor.readiness()
    assert (ready, detail["programs"][DISTRIBUTOR]["code"]) == (False, "unavailable")
