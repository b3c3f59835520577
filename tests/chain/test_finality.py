"""Connecting, settled blocks and the deployment block."""

from collections.abc import Callable

import pytest

from backend.chain.finality import final_block, require_served
from backend.chain.logs import deployment_block
from backend.chain.node import NodeRefused
from backend.chain.web3_node import connect
from backend.errors import Invalid, Unavailable
from tests.support.anvil import Anvil

STOP = "0x6001600c60003960016000f300"
"""Init code of a contract whose whole code is STOP."""


def deploy_stop(chain: Anvil) -> tuple[str, int]:
    sent = chain.w3.eth.send_transaction({"from": chain.key(0).address, "data": STOP})
    receipt = chain.w3.eth.wait_for_transaction_receipt(sent)
    return receipt["contractAddress"], receipt["blockNumber"]


@pytest.mark.parametrize("url", ["", "localhost:8545", "ws://localhost", "http://", "ftp://x"])
def test_bad_url_is_named(url: str) -> None:
    """Only HTTP(S) URLs are taken."""
    with pytest.raises(Invalid, match="rpc_url"):
        connect(url)


def test_unreachable_node_is_said_without_secrets() -> None:
    """The error names the host and port, never the credentials or the key in the path."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1") as caught:
        connect("http://user:secret@127.0.0.1:1/v3/apikey")
    assert "secret" not in str(caught.value)
    assert "apikey" not in str(caught.value)


@pytest.mark.parametrize("finality", ["", "soon", "-1", "1.5", "²"])
def test_unknown_finality_is_refused(finality: str) -> None:
    """A finality that is neither a tag nor a number is an error, not a guess."""
    with pytest.raises(Invalid, match="finality"):
        final_block(connect_stub(), finality)


def connect_stub() -> object:
    return object()


class NoFinality:
    """A chain whose node knows no finalized block."""

    def block_number(self) -> int:
        return 7

    def block(self, which: object) -> object:
        if which == "latest":
            return "newest"
        raise NodeRefused(f"block {which}: not found")


def test_a_word_that_the_node_does_not_serve_is_refused() -> None:
    """It is asked before it is stored; a node that does not answer at all is another matter."""
    with pytest.raises(Invalid, match="finality: the node has no block 'finalized'"):
        require_served(NoFinality(), "finalized")
    assert require_served(NoFinality(), "latest") == "newest"
    node = NoFinality()
    node.block_number = raising(Unavailable("head: the node does not answer"))
    with pytest.raises(Unavailable, match="head"):
        require_served(node, "finalized")


def raising(error: Exception) -> Callable[[], int]:
    def fail() -> int:
        raise error

    return fail


def test_finality_rules(chain: Anvil) -> None:
    """Latest is the head, n confirmations the block n below it, and never below block 0."""
    chain.rpc("anvil_mine", "0x5")
    node = connect(chain.url)
    head = node.block_number()
    assert final_block(node, "latest").number == head
    assert final_block(node, "3") == node.block(head - 3)
    assert final_block(node, str(head + 100)).number == 0
    assert final_block(node, "finalized").number <= final_block(node, "safe").number <= head


def test_deployment_block_is_found(chain: Anvil) -> None:
    """Binary search gives the very block that a contract appeared in."""
    chain.rpc("anvil_mine", "0x7")
    address, number = deploy_stop(chain)
    chain.rpc("anvil_mine", "0x9")
    assert deployment_block(chain.node, address, chain.w3.eth.block_number) == number


def test_no_contract_is_named(chain: Anvil) -> None:
    """An address without code is an error that says so."""
    with pytest.raises(Invalid, match="has no code"):
        deployment_block(chain.node, chain.key(5).address, chain.w3.eth.block_number)
