"""Programs on one chain whose accounts are owed something."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.anvil import anvil
from tests.support.engine import Engine
from tests.support.onchain import OnChain, on_chain


@pytest.fixture(scope="module")
def chained(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], OnChain]]:
    """Makes programs on one chain."""
    with anvil() as chain:
        folder, open_ = tmp_path_factory.mktemp("keys"), []

        def make() -> OnChain:
            open_.append(on_chain(engine, chain, folder))
            return open_[-1].__enter__()

        yield make
        for one in open_:
            one.__exit__(None, None, None)


@pytest.fixture
def program(chained: Callable[[], OnChain]) -> OnChain:
    """ann, bob and cat are owed 10, 20 and 30."""
    made = chained()
    made.reward([("ann", 10), ("bob", 20), ("cat", 30)])
    return made
