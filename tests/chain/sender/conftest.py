"""Fixtures of the sender's tests."""

from collections.abc import Iterator

import pytest

from tests.chain.sender.support import Bench, bench


@pytest.fixture
def mining() -> Iterator[Bench]:
    """A chain that mines each transaction at once."""
    with bench() as stack:
        yield stack


@pytest.fixture
def waiting() -> Iterator[Bench]:
    """A chain that mines only when told to."""
    with bench(no_mining=True) as stack:
        yield stack
