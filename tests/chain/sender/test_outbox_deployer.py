"""An operator's command sends through the same outbox as the workers of its key."""

import pytest

from backend.chain.deploy import DeploymentError
from backend.chain.models import State
from backend.chain.outbox_deployer import OutboxDeployer
from backend.errors import Conflict
from tests.chain.sender.support import COUNTER, ONCE, Bench


def deployer(stack: Bench) -> OutboxDeployer:
    return OutboxDeployer(stack.database, stack.chain.node, stack.sender(), "deploy:test", "latest")


def test_a_stored_post_is_not_lost_to_a_command(mining: Bench) -> None:
    """A post that is stored and not yet broadcast keeps its nonce, and both are mined."""
    sender = mining.sender()
    post = mining.enqueue(sender, "post")
    receipt = deployer(mining).send("fund", COUNTER, b"")
    assert receipt.status == 1
    assert mining.do(sender, "advance", post.id, "latest") == State.FINAL
    assert [(row.nonce, row.state) for row in mining.rows()] == [(0, State.FINAL), (1, State.FINAL)]
    assert mining.calls() == mining.chain_nonce() == mining.next_nonce() == 2


def test_a_contract_is_created_once(mining: Bench) -> None:
    """The receipt names the contract; its row is one of the key's transactions."""
    address, block = deployer(mining).create("TestToken", "Token", "TOK")
    assert mining.chain.node.code(address)
    assert block == mining.chain.node.block_number()
    [row] = mining.rows()
    assert (row.to_address, row.state, row.nonce) == ("", State.FINAL, 0)


def test_a_refusal_takes_no_nonce(mining: Bench) -> None:
    """What would revert is an error with the chain's reason, and stores nothing."""
    deployer(mining).send("first", ONCE, b"")
    with pytest.raises(
        DeploymentError, match=r"second: refused by the chain for 0x\w{40}: .*0xdeadbeef"
    ):
        deployer(mining).send("second", ONCE, b"")
    assert [row.nonce for row in mining.rows()] == [0]


def test_a_command_that_died_is_finished_and_not_doubled(mining: Bench) -> None:
    """A transaction that was stored and never sent is sent by the next run of the command, which
    says so and sends nothing of its own: the operator decides whether to repeat it."""
    mining.enqueue(mining.sender(), "deploy:test:0123:fund")
    with pytest.raises(Conflict, match="of the same command was settled only now"):
        deployer(mining).send("fund", COUNTER, b"")
    assert [row.nonce for row in mining.rows()] == [0]
    assert mining.chain_nonce() == 1
    assert deployer(mining).send("fund", COUNTER, b"").status == 1
    assert mining.calls() == 2


def test_an_earlier_nonce_that_was_dropped_is_sent_again(mining: Bench) -> None:
    """What another command had sent, and the node forgot, does not hold up this one."""
    sender = mining.sender()
    other = mining.enqueue(sender, "fund:other:0123:fund")
    mining.chain.rpc("evm_setAutomine", False)
    mining.do(sender, "broadcast", other.id)
    mining.chain.rpc("anvil_dropAllTransactions")
    assert mining.pool() == {}
    assert mining.chain_nonce() == 0
    mining.chain.rpc("evm_setAutomine", True)
    assert deployer(mining).send("fund", COUNTER, b"").status == 1
    assert mining.calls() == 2
