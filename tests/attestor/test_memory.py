"""What an attestor remembers of a batch that it has signed, while the chain changes its mind."""

from pathlib import Path

import pytest

from backend.attestor.errors import Halted
from prover.state import family
from tests.attestor.world import (
    CHAIN_ID,
    DISTRIBUTOR,
    Batch,
    World,
    account,
    make_world,
    refusal,
    report,
)

PROGRAM = f"{CHAIN_ID}:{DISTRIBUTOR}"


def of_family(own: int) -> str:
    return next(account(i) for i in range(99) if family(int(account(i), 16), 2) == own)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An attestor that has read some blocks of a program with two families."""
    world = make_world(tmp_path, families=2)
    for _ in range(2):
        world.chain.mine()
    world.attestor.catch_up()
    return world


def two_batches_of_one_event(world: World) -> tuple[Batch, Batch]:
    """The partner has signed two reports of one event, for accounts in two buckets."""
    one, other = (
        world.coordinator.batch(own, [world.coordinator.deliver([report("event", of_family(own))])])
        for own in (0, 1)
    )
    return one, other


def test_an_event_is_signed_for_one_batch(world: World) -> None:
    """While the first can land, the second is refused."""
    one, other = two_batches_of_one_event(world)
    world.attestor.attest(one.question)
    assert refusal(world, other.question).reason == "signed_event"


def test_a_place_that_another_batch_takes_frees_the_event(world: World) -> None:
    """Another quorum's batch lands in the first one's place: the first is dead."""
    one, other = two_batches_of_one_event(world)
    world.attestor.attest(one.question)
    rival = world.coordinator.batch(
        0, [world.coordinator.deliver([report("another", of_family(0))])]
    )
    world.chain.post(rival.envelope, rival.deltas)
    world.attestor.accept_leaves(CHAIN_ID, DISTRIBUTOR, 0, 1, rival.leaves)
    assert world.attestor.attest(other.question).digest == other.digest


def test_a_place_that_a_reorg_frees_again_binds_again(world: World) -> None:
    """The rival that landed is removed and the chain read anew: the first batch can land after all,
    and the second is refused."""
    one, other = two_batches_of_one_event(world)
    world.attestor.attest(one.question)
    rival = world.coordinator.batch(
        0, [world.coordinator.deliver([report("another", of_family(0))])]
    )
    world.chain.post(rival.envelope, rival.deltas)
    world.attestor.catch_up()
    world.chain.reorganize(1)
    with pytest.raises(Halted):
        world.attestor.attest(other.question)
    world.store.forget_chain(PROGRAM)
    world.restart()
    assert refusal(world, other.question).reason == "signed_event"
    assert world.attestor.attest(one.question).digest == one.digest
