"""Enqueue: one row and one nonce a purpose, and nothing at all where something is wrong."""

import threading
from collections.abc import Callable

import pytest
from eth_abi import encode
from eth_utils import keccak
from web3 import Web3

from backend.chain.fees import FeePolicy
from backend.chain.models import State
from backend.chain.node import CallReverted, Node
from backend.chain.sender import Sender, SimulationReverted
from backend.chain.web3_node import Web3Node
from backend.errors import Conflict, Invalid, NotYet, Unavailable
from backend.signer.keystore import KeystoreSigner
from tests.chain.sender.support import CHAIN_ID, COUNTER, FEES, GWEI, ONCE, Bench, bench


def _together(*calls: Callable[[], None]) -> None:
    """Run all in threads that start at one moment; raise what any of them raised."""
    start, errors = threading.Barrier(len(calls)), []

    def run(call: Callable[[], None]) -> None:
        start.wait()
        try:
            call()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("purpose", ("", COUNTER, b"", 0)),
        ("purpose", ("x" * 201, COUNTER, b"", 0)),
        ("to", ("p", "0x12", b"", 0)),
        ("to", ("p", None, b"", 0)),
        ("data", ("p", COUNTER, "0x", 0)),
        ("value", ("p", COUNTER, b"", -1)),
        ("value", ("p", COUNTER, b"", 1.0)),
        ("value", ("p", COUNTER, b"", True)),
    ],
)
def test_malformed_arguments_name_the_field(mining: Bench, field: str, arguments: tuple) -> None:
    """Each malformed argument is refused with its name, before anything is reserved."""
    with pytest.raises(Invalid, match=f"^{field}: ") as caught:
        mining.enqueue(mining.sender(), *arguments)
    assert caught.value.field == field
    assert mining.rows() == []


def test_another_chain_is_refused(mining: Bench) -> None:
    """A sender for one chain does not start on a node of another."""
    with pytest.raises(Invalid, match="expected 1, the node is on 31337"):
        Sender(mining.chain.node, KeystoreSigner(mining.chain.key(0)), FEES, 1)


def test_a_call_that_would_revert_reserves_nothing(mining: Bench) -> None:
    """The revert data is in the error, and neither a row nor a nonce remains."""
    sender = mining.sender()
    first = mining.enqueue(sender, "first", ONCE)
    mining.do(sender, "broadcast", first.id)
    with pytest.raises(SimulationReverted, match="second: would revert with 0xdeadbeef") as caught:
        mining.enqueue(sender, "second", ONCE)
    assert caught.value.data == bytes.fromhex("deadbeef")
    assert not caught.value.retryable
    assert mining.next_nonce() == 1
    assert [row.purpose for row in mining.rows()] == ["first"]


def test_the_reason_of_a_revert_is_in_words() -> None:
    """An operator reads the contract's error by its name, with its arguments."""
    data = keccak(text="ReserveExceeded(uint256,uint256)")[:4] + encode(
        ["uint256", "uint256"], [7, 5]
    )
    error = SimulationReverted("post", CallReverted("eth_call", data, "execution reverted"))
    assert error.message == "post: would revert with ReserveExceeded(committed=7, reserve=5)"


def test_a_base_fee_above_the_cap_reserves_nothing() -> None:
    """The error says to wait, and the same call works once the fee has fallen."""
    with bench(base_fee=50 * GWEI, no_mining=True) as stack:
        sender = stack.sender(fees=FeePolicy(max_fee_cap=40 * GWEI))
        with pytest.raises(NotYet, match="above the cap of 40000000000") as caught:
            stack.enqueue(sender, "post")
        assert caught.value.retryable
        assert stack.next_nonce() is None
        assert stack.rows() == []
        stack.mine(3)
        assert stack.enqueue(sender, "post").nonce == 0


def test_a_key_that_cannot_pay_reserves_nothing(mining: Bench) -> None:
    """The balance must cover value and gas at the full bid."""
    mining.chain.rpc("anvil_setBalance", mining.address, hex(10**12))
    with pytest.raises(NotYet, match=r"holds 1000000000000 wei, .* fund it"):
        mining.enqueue(mining.sender(), "post")
    assert mining.next_nonce() is None


def test_more_gas_than_the_cap_is_refused(mining: Bench) -> None:
    """The limit is the estimate and a quarter, and an estimate above the cap is an error."""
    row = mining.enqueue(mining.sender(), "fits")
    assert (
        row.gas_limit
        == mining.chain.w3.eth.estimate_gas({"from": mining.address, "to": COUNTER}) * 5 // 4
    )
    with pytest.raises(Invalid, match="gas, the cap is 21000"):
        mining.enqueue(mining.sender(gas_limit_cap=21_000), "large")
    assert mining.next_nonce() == 1


def test_an_unreachable_node_reserves_nothing(mining: Bench) -> None:
    """A dead node is Unavailable, and the row count stays."""
    sender = mining.sender()
    sender._node = Web3Node(
        Web3(Web3.HTTPProvider("http://127.0.0.1:9", exception_retry_configuration=None))
    )
    with pytest.raises(Unavailable):
        mining.enqueue(sender, "post")
    assert mining.rows() == []


def test_a_signature_of_another_key_is_refused(mining: Bench) -> None:
    """A signer that signs with a key that is not its address's stores nothing."""
    sender = mining.sender()
    sender.signer = KeystoreSigner(mining.chain.key(1))
    with pytest.raises(Exception, match="signature is not of"):
        mining.enqueue(sender, "post")
    assert mining.rows() == []


def test_a_purpose_stands_for_one_transaction(mining: Bench) -> None:
    """The same purpose gives the same row, at any later time; with other content it is refused."""
    sender = mining.sender()
    row = mining.enqueue(sender, "post", data=b"\x01")
    assert mining.enqueue(sender, "post", data=b"\x01").id == row.id
    with pytest.raises(Conflict, match="post: stands for another transaction") as caught:
        mining.enqueue(sender, "post", data=b"\x02")
    assert caught.value.field == "purpose"
    mining.do(sender, "broadcast", row.id)
    mining.do(sender, "settle", row.id, "latest")
    assert mining.enqueue(sender, "post", data=b"\x01").state == State.FINAL
    assert mining.calls() == 1


def test_one_purpose_from_two_threads_is_one_transaction(mining: Bench) -> None:
    """Two workers that enqueue the same purpose at one moment share one row, one nonce and one set
    of bytes."""
    found = []
    for turn in range(5):

        def call(purpose: str = f"post:{turn}") -> None:
            found.append(mining.enqueue(mining.sender(), purpose).id)

        _together(call, call)
    assert len(found) == 10
    assert len(set(found)) == 5
    assert [row.nonce for row in mining.rows()] == [0, 1, 2, 3, 4]
    assert all(len(mining.attempts(row.id)) == 1 for row in mining.rows())


def test_the_loser_of_a_race_gets_the_row_though_its_simulation_reverts(mining: Bench) -> None:
    """Stored and mined by another worker between our look-up and our simulation: the answer is its
    row, no error."""
    sender, other = mining.sender(), mining.sender()
    quote = FeePolicy(max_fee_cap=100 * GWEI).quote

    class Racing(FeePolicy):
        def quote(self, node: Node) -> object:
            mining.do(other, "broadcast", mining.enqueue(other, "once", ONCE).id)
            return quote(node)

    sender._fees = Racing(max_fee_cap=100 * GWEI)
    row = mining.enqueue(sender, "once", ONCE)
    assert row.nonce == 0
    assert len(mining.rows()) == 1


def test_two_senders_get_consecutive_nonces(waiting: Bench) -> None:
    """Different purposes from two threads at once: nonces 0 to 9, each once, and all of them are
    mined."""
    batches = [[f"{worker}:{turn}" for turn in range(5)] for worker in "ab"]

    def work(purposes: list[str]) -> None:
        sender = waiting.sender()
        for purpose in purposes:
            waiting.do(sender, "broadcast", waiting.enqueue(sender, purpose).id)

    _together(*(lambda purposes=purposes: work(purposes) for purposes in batches))
    assert [row.nonce for row in waiting.rows()] == list(range(10))
    waiting.mine()
    assert waiting.calls() == waiting.chain_nonce() == 10


def test_a_rolled_back_enqueue_leaves_no_gap(mining: Bench) -> None:
    """What the caller's transaction takes back never existed: the next purpose gets the same
    nonce."""
    sender = mining.sender()
    mining.enqueue(sender, "first")
    with mining.database.transaction() as session:
        assert sender.enqueue(session, "second", COUNTER, b"").nonce == 1
        session.rollback()
    assert mining.enqueue(sender, "third").nonce == 1
    assert mining.next_nonce() == 2


def test_nonces_that_the_key_used_before_are_passed_over(mining: Bench) -> None:
    """A key with a history starts at the chain's count; so does one that was used elsewhere in
    between."""
    _use_key_elsewhere(mining)
    sender = mining.sender()
    row = mining.enqueue(sender, "first")
    assert row.nonce == 1
    mining.do(sender, "broadcast", row.id)
    _use_key_elsewhere(mining)
    assert mining.enqueue(sender, "second").nonce == 3


def test_a_chain_that_was_reset_is_noticed(mining: Bench) -> None:
    """After a settled nonce that the node does not count any more, no nonce is given out that could
    never be mined."""
    sender = mining.sender()
    snapshot = mining.chain.rpc("evm_snapshot")
    row = mining.enqueue(sender, "first")
    mining.do(sender, "broadcast", row.id)
    assert mining.do(sender, "settle", row.id, "latest") == State.FINAL
    mining.chain.rpc("evm_revert", snapshot)
    with pytest.raises(NotYet, match="nonce 0 was settled, but the node counts 0"):
        mining.enqueue(sender, "second")
    assert mining.next_nonce() == 1


def test_nothing_leaves_before_the_commit(mining: Bench) -> None:
    """Broadcasting in the transaction that enqueues, or replaces, is a programming error."""
    sender = mining.sender()
    with (
        pytest.raises(RuntimeError, match="before the commit"),
        mining.database.transaction() as session,
    ):
        sender.broadcast(session, sender.enqueue(session, "post", COUNTER, b"").id)
    assert mining.chain_nonce() == 0
    assert mining.rows() == []
    row = mining.enqueue(sender, "post")
    with mining.database.transaction() as session:
        assert sender.bump(session, row.id) == State.STORED
        with pytest.raises(RuntimeError, match="before the commit"):
            sender.broadcast(session, row.id)
        session.rollback()
    assert mining.chain_nonce() == 0
    assert len(mining.attempts(row.id)) == 1


def _use_key_elsewhere(stack: Bench) -> None:
    key = stack.chain.key(0)
    signed = key.sign_transaction(
        {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": stack.chain_nonce(),
            "to": key.address,
            "value": 0,
            "gas": 21_000,
            "maxFeePerGas": 10 * GWEI,
            "maxPriorityFeePerGas": GWEI,
        }
    )
    stack.chain.mined(stack.chain.w3.eth.send_raw_transaction(signed.raw_transaction))
