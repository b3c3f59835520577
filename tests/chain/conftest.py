"""One Anvil for the chain tests of a session."""

from collections.abc import Iterator

import pytest

from tests.support.anvil import Anvil, anvil


@pytest.fixture(scope="session")
def chain() -> Iterator[Anvil]:
    with anvil() as running:
        yield running
