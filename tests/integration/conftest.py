"""One whole stack for all kill tests, gone when they end."""

import signal
from collections.abc import Iterator

import pytest

from tests.integration.world import World, running_world


@pytest.fixture(scope="session", autouse=True)
def _stop_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the tests as Ctrl-C does, so that no stack outlives a run that is cut short."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All kill tests add to one program, and each leaves it whole."""
    with running_world(tmp_path_factory.mktemp("logs")) as found:
        yield found
