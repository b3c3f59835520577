"""One chain and one database for this folder; programs that exist in both."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.anvil import Anvil, anvil
from tests.support.engine import Engine
from tests.support.onchain import OnChain, on_chain


@pytest.fixture(scope="package")
def chain() -> Iterator[Anvil]:
    with anvil() as running:
        yield running


@pytest.fixture(scope="module")
def make(
    engine: Engine, chain: Anvil, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., OnChain]]:
    """Makes programs."""
    folder, open_ = tmp_path_factory.mktemp("keys"), []

    def make_one(**options: int) -> OnChain:
        open_.append(on_chain(engine, chain, folder, **options))
        return open_[-1].__enter__()

    yield make_one
    for one in open_:
        one.__exit__(None, None, None)


@pytest.fixture
def program(make: Callable[..., OnChain]) -> OnChain:
    """Funded with 1000."""
    return make(funded=1000)
