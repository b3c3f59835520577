"""What the Distributor's address held before it was deployed: anybody can know the address, and
send it something."""

from collections.abc import Callable
from typing import Any

import pytest
from eth_utils import keccak, to_checksum_address
from rlp import encode

from backend.chain.artifacts import artifact
from backend.invariant import check_with_chain
from backend.settlement.indexer import index
from tests.support import onchain
from tests.support.anvil import Anvil
from tests.support.engine import report
from tests.support.onchain import OWNER, OnChain
from tests.support.program import Program, real_program


def next_address(chain: Anvil, ahead: int) -> str:
    """Where the owner's transaction after `ahead` others will create a contract."""
    owner = chain.key(OWNER).address
    nonce = chain.w3.eth.get_transaction_count(owner) + ahead
    return to_checksum_address(keccak(encode([bytes.fromhex(owner[2:]), nonce]))[12:])


@pytest.mark.parametrize("dust", [0, 1, 10**30])
def test_sent_before_the_deployment(
    make: Callable[..., OnChain], monkeypatch: pytest.MonkeyPatch, dust: int
) -> None:
    """It is booked as funding: the ledger holds what the chain holds from the first block on, and
    it can be earned and claimed."""

    def deploy(chain: Anvil, *, token: str, **options: Any) -> Program:
        # The minting itself, the hasher and the verifier come first.
        expected = next_address(chain, 3)
        minting = chain.w3.eth.contract(token, abi=artifact("HostileToken").abi).functions.mint(
            expected, dust
        )
        chain.mined(minting.transact({"from": chain.key(OWNER).address}))
        program = real_program(chain, token=token, **options)
        assert program.address == expected
        return program

    monkeypatch.setattr(onchain, "real_program", deploy)
    program = make(funded=5)
    assert program.engine.budget(program.row) == dust + 5
    assert check_with_chain(program.context, program.id) == []
    program.reward([("ann", dust + 5)] if dust < 2**90 else [("ann", 5)])
    program.program.claim(program.account("ann").address)
    index(program.context, program.id)
    assert check_with_chain(program.context, program.id) == []
    (answer,) = program.engine.take_in(program.row, [report("more", "bob", 2**90)])
    assert (answer.outcome == "accepted") is (dust == 10**30)
