"""What can go wrong around a batch without anybody dying: expiry, another set of attestors,
strangers, pauses, an empty budget, a node that is down. Money stays exact, and a transaction is
sent only if it can succeed."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from eth_account import Account

from backend import pipeline
from backend.attestation import envelope
from backend.attestation.envelope import ensure_envelope
from backend.batch.models import Batch, BatchState
from backend.chain.abi import ContractAbi
from backend.chain.artifacts import artifact
from backend.chain.deploy import Deployer
from backend.chain.distributor import Distributor
from backend.chain.local import give_ether
from backend.client.partner_client import DeliveryRefused
from backend.devstack.local import Given
from backend.errors import Unavailable
from backend.ledger.service import available_budget
from backend.pipeline import look_at_program
from backend.settlement.indexer import index
from backend.settlement.post_rows import attested, post_calldata
from backend.signer.keystore import KeystoreSigner
from tests.integration.exact import assert_audited, assert_exact, poster_receipts, read_chain
from tests.integration.proxy import Proxy
from tests.integration.world import World, running_world
from tests.support.anvil import anvil

ATTESTOR_DELAY_SECONDS = 7 * 86_400
ETHER = 10**18


@pytest.fixture(scope="module")
def node() -> Iterator[Proxy]:
    """The way to the chain's node, which can be cut."""
    with anvil() as chain:
        proxy = Proxy(urlsplit(chain.url).port)
        yield proxy
        proxy.down()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, node: Proxy) -> Iterator[World]:
    """A stack whose services all reach the chain through `node`."""
    with running_world(tmp_path_factory.mktemp("logs"), given=Given(rpc=node.url)) as found:
        yield found


def rpc(world: World, method: str, *params: object) -> Any:
    answer = world.local.context.node.request(method, list(params))
    assert "error" not in answer, answer
    return answer["result"]


def travel(world: World, seconds: int) -> None:
    """Let the chain's clock run on, and make a block."""
    rpc(world, "evm_increaseTime", seconds)
    rpc(world, "evm_mine")


def as_owner(world: World, function: str, *arguments: object) -> None:
    """A call of the Distributor by its owner."""
    node, distributor = world.local.context.node, world.local.deployment.distributor
    data = ContractAbi(artifact("Distributor").abi).call_data(function, arguments)
    Deployer(node, world.local.owner).send(function, distributor, data)


def post_as_stranger(world: World, batch: Batch) -> None:
    """Somebody else sends the batch as it is proven and attested."""
    node = world.local.context.node
    signer = KeystoreSigner(Account.create())
    give_ether(node, signer.address, ETHER)
    with world.local.context.database.transaction() as session:
        row = session.get_one(Batch, batch.id)
        data = post_calldata(row, attested(session, row)[:2])
    Deployer(node, signer).send("postBatch", world.local.deployment.distributor, data)


def killed_at(world: World, place: str) -> Batch:
    """Report something, let the worker die at `place`, and leave it dead; the batch that it was
    at."""
    markers = world.start("worker", failpoint=place)
    world.report((0, 1, 0))
    world.wait_killed(markers, place)
    world.kill("worker")
    return world.newest()


def test_idle_chain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a chain that has made no block for hours a batch is valid from now on, not from the last
    block on: it lands at once."""
    world.kill("worker")
    context, program_id = world.local.context, world.local.program_id
    world.report((0, 1))
    assert look_at_program(context, program_id) == 1
    hours_later = context.node.block("latest").timestamp + 3 * context.settings.batch_valid_seconds
    monkeypatch.setattr(envelope, "time", SimpleNamespace(time=lambda: hours_later))
    ensure_envelope(context, world.program(), world.newest().id)
    assert world.newest().valid_until == hours_later + context.settings.batch_valid_seconds
    monkeypatch.undo()
    world.start("worker")
    world.settle()
    assert_exact(world)


def test_envelope_expires_before_posting(world: World) -> None:
    """A proven batch whose signatures have expired is attested and proven anew and posted once;
    nothing is sent that would revert."""
    expired = killed_at(world, "prove.after_commit")
    assert expired.state == BatchState.PROVEN
    travel(world, world.local.context.settings.batch_valid_seconds + 1)
    world.start("worker")
    world.settle()
    landed = world.newest()
    assert (landed.id, landed.state) == (expired.id, BatchState.FINAL)
    assert landed.digest != expired.digest
    assert landed.proof != expired.proof
    assert_exact(world)


def test_attestors_change_before_posting(world: World) -> None:
    """The attestors that must sign change after the batch was proven: it is signed and proven anew
    under their new epoch."""
    addresses, _, epoch = world.local.context.distributor(world.program()).attestors()
    as_owner(world, "announceAttestors", list(addresses), 3)
    travel(world, ATTESTOR_DELAY_SECONDS)
    proven = killed_at(world, "prove.after_commit")
    assert proven.attestor_epoch == epoch
    as_owner(world, "executeAttestors")
    world.start("worker")
    world.settle()
    landed = world.newest()
    assert (landed.id, landed.attestor_epoch) == (proven.id, epoch + 1)
    assert_exact(world)
    as_owner(world, "announceAttestors", list(addresses), 2)
    travel(world, ATTESTOR_DELAY_SECONDS)
    as_owner(world, "executeAttestors")


def test_stranger_posts_first(world: World) -> None:
    """A stranger posts our proven batch before we do: that is success, and no nonce of ours is
    used."""
    nonce = len(poster_receipts(world))
    post_as_stranger(world, killed_at(world, "prove.after_commit"))
    world.start("worker")
    world.settle()
    assert len(poster_receipts(world)) == nonce
    assert_exact(world)


def test_stranger_posts_before_our_bytes_leave(world: World) -> None:
    """A stranger posts a batch whose transaction of ours is signed and stored: the nonce is taken,
    so it is used up, and what comes after it is not held up."""
    post_as_stranger(world, killed_at(world, "post.stored"))
    world.strays += 1
    world.start("worker")
    world.settle()
    assert_exact(world)
    world.report((0, 1))
    world.settle()
    assert_exact(world)


@pytest.mark.soak
def test_stranger_posts_between_simulation_and_storing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watcher books a stranger's posting while a worker stores its own: the batch is final and
    stays final."""
    world.kill("worker")
    context, program_id = world.local.context, world.local.program_id
    world.report((0, 1))
    look_at_program(context, program_id)
    batch = world.newest()
    pipeline.advance(context, batch.id, until=BatchState.PROVEN)
    enqueue = context.poster.enqueue
    watching = threading.Thread(target=index, args=(context, program_id))

    def enqueue_late(*arguments: object, **options: object) -> Any:
        row = enqueue(*arguments, **options)
        post_as_stranger(world, batch)
        watching.start()
        watching.join(2)
        return row

    monkeypatch.setattr(context.poster, "enqueue", enqueue_late)
    pipeline.advance(context, batch.id, until=BatchState.POSTED)
    watching.join()
    assert world.newest().state == BatchState.FINAL
    world.strays += 1
    monkeypatch.undo()
    world.start("worker")
    world.settle()
    assert_exact(world)


def test_log_is_read_across_a_reorg(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A funding that vanishes from the chain while the log is read is not booked."""
    world.kill("worker")
    context, program_id = world.local.context, world.local.program_id
    index(context, program_id)
    snapshot = rpc(world, "evm_snapshot")
    world.local.fund(ETHER)
    read = Distributor.events

    def read_late(distributor: Distributor, *blocks: int) -> Any:
        events = read(distributor, *blocks)
        rpc(world, "evm_revert", snapshot)
        rpc(world, "anvil_mine", "0x5")
        return events

    monkeypatch.setattr(Distributor, "events", read_late)
    with pytest.raises(Unavailable, match="changed while the log was read"):
        index(context, program_id)
    monkeypatch.undo()
    assert index(context, program_id).events == 0
    assert_exact(world)
    world.start("worker")


def test_guardian_pauses_posting(world: World) -> None:
    """While posting is paused nothing is sent, not even to see it fail; after the owner unpauses,
    the batch lands."""
    as_owner(world, "setGuardian", world.local.owner.address)
    as_owner(world, "pausePosting", 3600)
    nonce = len(poster_receipts(world))
    world.report((0, 1))
    world.wait(
        "a refused batch",
        lambda: any("PostingPaused(" in (batch.note or "") for batch in world.batches()),
    )
    assert world.newest().state == BatchState.PROVEN
    assert len(poster_receipts(world)) == nonce
    as_owner(world, "unpausePosting")
    world.settle()
    assert_exact(world)


def test_budget_is_exhausted(world: World) -> None:
    """What the budget does not cover is held and never batched; each funding releases what it
    covers, oldest first, once."""
    with world.local.context.database.transaction() as session:
        available = available_budget(session, world.local.program_id)
    [first, second] = world.reports((0, 1), amount=available)
    for interaction in (first, second):
        assert world.partner.report([interaction]) == {"held": 1}
    assert world.partner.report([first]) == {"duplicate": 1}
    world.report((0,))
    world.settle()
    assert_exact(world)
    for interaction in (first, second):
        with world.local.context.database.transaction() as session:
            lacking = interaction.amount - available_budget(session, world.local.program_id)
        world.fund(lacking)
        world.owed[interaction.account] += interaction.amount
        world.settle()
        assert_exact(world)
    assert world.partner.report([first, second]) == {"duplicate": 2}
    world.fund()


def test_node_is_down(world: World, node: Proxy) -> None:
    """With the chain's node away reports are taken in and work waits; when it is back everything
    lands, once. A worker that was killed with its bytes stored, and starts while the node is away,
    sends these very bytes."""
    killed_at(world, "post.stored")
    node.down()
    world.start("worker")
    assert world.report((0, 1)) == {"accepted": 2}
    world.wait(
        "a failed step", lambda: any("answer" in (batch.note or "") for batch in world.batches())
    )
    node.up()
    world.settle()
    assert_exact(world)


def test_audit_after_it_all(world: World) -> None:
    """The chain alone agrees with every total."""
    assert_audited(world)


def test_deep_reorg_halts_the_program(world: World) -> None:
    """Blocks that were booked as final vanish: the program halts for an operator. Nothing is taken
    in, booked, batched or sent again."""
    snapshot = rpc(world, "evm_snapshot")
    world.report((0, 1))
    world.settle()
    chain, batches = assert_exact(world), len(world.batches())
    booked = world.program().last_indexed_block
    nonce = len(poster_receipts(world))
    rpc(world, "evm_revert", snapshot)
    rpc(world, "anvil_mine", hex(booked - world.local.context.node.block_number() + 3))
    world.wait("a halt", lambda: world.program().halted is not None)
    assert "was final and has changed" in world.program().halted
    with pytest.raises(DeliveryRefused, match="the program is halted"):
        world.report((0, 1))
    with pytest.raises(AssertionError):
        world.wait("another batch", lambda: len(world.batches()) > batches, seconds=3)
    assert len(poster_receipts(world)) < nonce
    assert len(read_chain(world).posted) == len(chain.posted) - 1
    assert world.program().last_indexed_block == booked
