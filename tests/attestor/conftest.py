"""Worlds for the attestor's tests."""

import pytest

from tests.attestor.world import make_world


@pytest.fixture
def world(tmp_path):
    """An attestor, a chain in memory and an honest lead."""
    made = make_world(tmp_path)
    yield made
    made.store.close()
