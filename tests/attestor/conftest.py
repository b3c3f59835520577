"""Worlds for the attestor's tests."""

import pytest

from tests.attestor.world import account, make_world, report


@pytest.fixture
def world(tmp_path):
    """An attestor, a chain in memory and an honest coordinator."""
    made = make_world(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def batch(world):
    """An honest batch: two deliveries of two partners, an account twice, an item left for later."""
    first = world.coordinator.deliver(
        [report("a", account(1)), report("b", account(2), 7), report("later", account(3))]
    )
    second = world.coordinator.deliver([report("a", account(1), 2**95)], partner="games")
    return world.coordinator.batch(0, [first, second], [(0, 0), (0, 1), (1, 0)])
