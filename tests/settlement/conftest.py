"""One chain and one database for this folder; programs that exist in both."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.anvil import Anvil, anvil
from tests.support.engine import Engine
from tests.support.onchain import OnChain, on_chain

ACCEPTS_FREE_CALLS = "0x631626ba7e60e01b3a15025f5260205ff3"
"""Runtime code of an attestor: isValidSignature answers with EIP-1271's word where tx.gasprice is
0, as in a simulation, and with 0 in a transaction. PUSH4 word, PUSH1 224, SHL, GASPRICE, ISZERO,
MUL, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN."""
BURNS_GAS = "0x3a15601057" + "5b600556" + "00" * 7 + "5b631626ba7e60e01b5f5260205ff3"
"""The same for a free call; in a transaction it loops until it has burned all its gas. GASPRICE,
ISZERO, PUSH1 16, JUMPI, then JUMPDEST, PUSH1 5, JUMP, and at 16 the answer."""


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


@pytest.fixture
def turn(chain: Anvil, program: OnChain) -> Iterator[Callable[..., str]]:
    """Gives the attestor at a place code of its own, as by EIP-7702; returns its address."""
    addresses = [key.address for key in program.program.attestor_keys]

    def give(place: int, code: str = ACCEPTS_FREE_CALLS) -> str:
        chain.rpc("anvil_setCode", addresses[place], code)
        return addresses[place]

    yield give
    for address in addresses:
        chain.rpc("anvil_setCode", address, "0x")
