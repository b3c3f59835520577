"""State comes from final blocks alone, survives a restart, and a chain that breaks its word stops
the signing."""

import sqlite3
import threading
from dataclasses import replace

import pytest

from backend.attestor.errors import Halted
from backend.attestor.store import Store
from backend.errors import Unavailable
from tests.attestor.world import CHAIN_ID, DISTRIBUTOR, account, make_attestor, report

KEY = f"{CHAIN_ID}:{DISTRIBUTOR}"


@pytest.fixture
def landed(world):
    """A world in which one batch has landed and been read."""
    batch = world.land_signed(
        world.coordinator.batch(0, [world.coordinator.deliver([report("a", account(1))])])
    )
    world.chain.mine()
    world.attestor.catch_up()
    return batch


@pytest.fixture
def nxt(world, landed):
    """The honest next batch."""
    return world.coordinator.batch(0, [world.coordinator.deliver([report("b", account(1))])])


def test_node_is_down(world, nxt):
    """Without its node an attestor signs nothing, and goes on when the node is back."""
    world.chain.down = True
    with pytest.raises(Unavailable) as caught:
        world.attestor.attest(nxt.question)
    assert caught.value.retryable
    world.chain.down = False
    assert world.attestor.attest(nxt.question).digest == nxt.digest


def test_final_block_changed(world, nxt):
    """A reorganization below the finality head halts, also in a new process; reading the chain anew
    must be asked for."""
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
    """After the batch was reorganized away, reading anew gives the same signature for it and no
    other."""
    signature = world.store.sign_once(
        KEY, landed.envelope, landed.digest, (), None, lambda: b"must not be made"
    )
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
    """Deltas that do not give the root on chain mean that something is broken: nothing is signed on
    top."""
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


@pytest.mark.parametrize("change", [{"chain_id": 1}, {"levels": 5}, {"slots": 512}])
def test_program_is_not_the_pinned_one(world, change):
    """What is configured is compared with the chain before anything is signed."""
    world.chain.shape_ = replace(world.chain.shape_, **change)
    ready, detail = world.attestor.readiness()
    assert not ready
    assert next(iter(change)) in detail["programs"][DISTRIBUTOR]["reason"]


def test_restart_replays_what_was_read(world, nxt):
    """A new process starts from its own copy of the log and reads on from there."""
    world.land(nxt)
    world.attestor.catch_up()
    world.restart()
    asked = []
    honest = world.chain.batches
    world.chain.batches = lambda first, last: asked.append(first) or honest(first, last)
    world.chain.mine()
    third = world.coordinator.batch(0, [world.coordinator.deliver([report("c", account(1))])])
    world.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 2, nxt.leaves)
    assert world.attestor.attest(third.question).digest == third.digest
    assert asked == [len(world.chain.blocks) - 1]


def test_readiness_says_what_is_missing(world, nxt):
    """Readiness names membership, the chain and the leaves that are not held."""
    world.land(nxt)
    world.attestor.catch_up()
    ready, detail = world.attestor.readiness()
    assert ready
    assert detail["programs"][DISTRIBUTOR]["batches_without_leaves"] == 1
    assert (
        detail["programs"][DISTRIBUTOR]["read_to_block"]
        == detail["programs"][DISTRIBUTOR]["final_block"]
    )
    world.chain.mine()
    world.chain.attestor_set = replace(world.chain.attestor_set, addresses=frozenset())
    ready, detail = world.attestor.readiness()
    assert (ready, detail["programs"][DISTRIBUTOR]["code"]) == (False, "not_an_attestor")
    world.chain.down = True
    ready, detail = world.attestor.readiness()
    assert (ready, detail["programs"][DISTRIBUTOR]["code"]) == (False, "unavailable")


@pytest.fixture
def replays(monkeypatch):
    """A list that grows by one whenever the stored log is replayed from its beginning."""
    seen = []
    honest = Store.landed
    monkeypatch.setattr(
        Store, "landed", lambda store, program: seen.append(program) or honest(store, program)
    )
    return seen


@pytest.mark.parametrize("call", ["shape", "final", "block", "batches", "attestors"])
def test_node_s_hiccup_costs_no_replay(world, nxt, replays, monkeypatch, call):
    """Whichever question the node fails, what was replayed before stands: the next question goes on
    from there."""

    def fail(*_):
        raise Unavailable("the node does not answer")

    world.restart().catch_up()
    assert len(replays) == 1
    world.land(nxt)
    world.chain.mine()
    third = world.coordinator.batch(0, [world.coordinator.deliver([report("c", account(1))])])
    with monkeypatch.context() as patched:
        patched.setattr(world.chain, call, fail)
        for _ in range(3):
            if call != "shape":  # asked once a process
                with pytest.raises(Unavailable):
                    world.attestor.attest(third.question)
            assert world.attestor.readiness()[0] is (call in ("shape", "batches"))
    world.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 2, nxt.leaves)
    assert world.attestor.attest(third.question).digest == third.digest
    assert len(replays) == 1


def test_node_is_asked_before_the_replay(world, nxt, replays):
    """A new process does not replay its store to find out then that its node is down or its chain
    has changed."""
    world.restart()
    world.chain.down = True
    with pytest.raises(Unavailable):
        world.attestor.attest(nxt.question)
    world.attestor.catch_up()
    world.chain.down = False
    world.chain.reorganize(1)
    with pytest.raises(Halted):
        world.attestor.attest(nxt.question)
    assert replays == []


def test_readiness_reads_no_log(world, nxt, replays, monkeypatch):
    """Whoever asks for readiness makes the attestor neither read nor replay the log, new process or
    not."""
    world.land(nxt)
    world.restart()
    monkeypatch.setattr(world.chain, "batches", lambda *_: pytest.fail("the log was read"))
    for _ in range(2):
        ready, detail = world.attestor.readiness()
        assert ready
        assert (
            detail["programs"][DISTRIBUTOR]["read_to_block"]
            < detail["programs"][DISTRIBUTOR]["final_block"]
        )
        world.chain.mine()
    assert replays == []


def test_readiness_waits_for_nobody(world, nxt, monkeypatch):
    """While a question is answered, or the node hangs for another who asked, readiness answers with
    what it knows."""
    asked, go = threading.Event(), threading.Event()
    honest = world.chain.final

    def hang():
        asked.set()
        assert go.wait(10)
        return honest()

    assert world.attestor.readiness()[0]
    last = world.attestor.readiness()
    monkeypatch.setattr(world.chain, "final", hang)
    question = threading.Thread(target=world.attestor.catch_up)
    other = threading.Thread(target=world.attestor.readiness)
    for thread in (question, other):
        asked.clear()
        thread.start()
        assert asked.wait(10)
    assert world.attestor.readiness() == last
    go.set()
    for thread in (question, other):
        thread.join(10)
        assert not thread.is_alive()


def test_broken_log_is_replayed_once(world, nxt, replays):
    """A log that does not give its roots is found once; every later question, and readiness, is
    told so at once. A new process that sees an honest log goes on."""
    world.chain.post(nxt.envelope, nxt.deltas, new_root=nxt.envelope.new_root + 1)
    for _ in range(3):
        with pytest.raises(Halted, match="does not give the root"):
            world.attestor.attest(nxt.question)
    ready, detail = world.attestor.readiness()
    assert (ready, detail["programs"][DISTRIBUTOR]["code"]) == (False, "halted")
    assert replays == []
    world.chain.logs.pop()
    assert world.restart().attest(nxt.question).digest == nxt.digest


def test_store_fails_while_a_block_is_booked(world, nxt, replays, monkeypatch):
    """A state that went on while the store did not is thrown away, and made again from the
    store."""
    world.land(nxt)
    third = world.coordinator.batch(0, [world.coordinator.deliver([report("c", account(1))])])
    with monkeypatch.context() as patched:
        patched.setattr(
            Store,
            "advance",
            lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk full")),
        )
        with pytest.raises(sqlite3.OperationalError):
            world.attestor.attest(third.question)
    world.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 2, nxt.leaves)
    assert world.attestor.attest(third.question).digest == third.digest
    assert len(replays) == 1


def test_another_process_read_on(world, nxt):
    """A store that went on without this process, by another on the same file, is replayed and not
    taken for a broken log."""
    other = Store(world.config.database)
    world.land(nxt)
    make_attestor(world.config, other, world.chain).catch_up()
    other.close()
    world.chain.mine()
    world.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 2, nxt.leaves)
    third = world.coordinator.batch(0, [world.coordinator.deliver([report("c", account(1))])])
    assert world.attestor.attest(third.question).digest == third.digest
