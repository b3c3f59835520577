"""One whole stack for all kill tests of a file, gone when they end."""

from collections.abc import Iterator

import pytest

from tests.integration.world import World, running_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All tests of a file add to one program, and each leaves it whole."""
    with running_world(tmp_path_factory.mktemp("logs")) as found:
        yield found
