"""Broadcast, settle, bump: what becomes of stored bytes, on a chain that forks, refuses and is
silent."""

from itertools import pairwise
from unittest.mock import patch

import pytest
from web3 import Web3

from backend.chain.fees import FeePolicy
from backend.chain.models import State
from backend.chain.node import Block
from backend.chain.sender import Sender
from backend.chain.web3_node import Web3Node
from backend.errors import Conflict, NotFound, Unavailable
from backend.signer.keystore import KeystoreSigner
from tests.chain.sender.support import CHAIN_ID, FEES, GWEI, ONCE, Bench, LossyProvider


def _hashes(stack: Bench, transaction_id: int) -> list[str]:
    return ["0x" + attempt.tx_hash.hex() for attempt in stack.attempts(transaction_id)]


def _foreign(stack: Bench, nonce: int, max_fee: int) -> None:
    """A transaction of our key that the sender knows nothing of."""
    key = stack.chain.key(0)
    signed = key.sign_transaction(
        {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": nonce,
            "to": key.address,
            "value": 0,
            "gas": 21_000,
            "maxFeePerGas": max_fee,
            "maxPriorityFeePerGas": GWEI,
        }
    )
    stack.chain.w3.eth.send_raw_transaction(signed.raw_transaction)


@pytest.mark.parametrize("step", ["broadcast", "settle", "bump", "advance"])
def test_unknown_transactions_are_named(mining: Bench, step: str) -> None:
    """An id that does not exist, and one of another chain, are refused by every step."""
    sender = mining.sender()
    arguments = ["latest"] if step in ("settle", "advance") else []
    with pytest.raises(NotFound, match="outgoing transaction 7"):
        mining.do(sender, step, 7, *arguments)
    row = mining.enqueue(sender, "post")
    sender._outbox.chain_id = 1
    with pytest.raises(Conflict, match="on chain 31337, this sender is on 1"):
        mining.do(sender, step, row.id, *arguments)


def test_a_transaction_runs_once_and_its_facts_are_kept(mining: Bench) -> None:
    """Stored, sent, final; the receipt's facts are the chain's; broadcasting again at any point
    changes nothing."""
    sender = mining.sender()
    row = mining.enqueue(sender, "post")
    assert (row.state, mining.chain_nonce()) == (State.STORED, 0)
    assert [mining.do(sender, "broadcast", row.id) for _ in range(3)] == [State.SENT] * 3
    assert mining.do(sender, "settle", row.id, "latest") == State.FINAL
    assert mining.do(sender, "broadcast", row.id) == State.FINAL
    assert mining.do(sender, "bump", row.id) == State.FINAL
    row = mining.row(row.id)
    receipt = mining.chain.w3.eth.get_transaction_receipt(row.mined_hash)
    assert (row.block_number, row.block_hash, row.gas_used) == (
        receipt.blockNumber,
        receipt.blockHash,
        receipt.gasUsed,
    )
    assert (row.status, row.note, row.to_address) == (1, None, receipt.to)
    assert mining.calls() == mining.chain_nonce() == 1


def test_final_is_what_the_finality_rule_says(waiting: Bench) -> None:
    """With two confirmations a transaction is mined in its block and in the next, and final two
    blocks later."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    states = [waiting.do(sender, "advance", row.id, "2")]
    for _ in range(3):
        waiting.mine()
        states.append(waiting.do(sender, "advance", row.id, "2"))
    assert states == [State.SENT, State.MINED, State.MINED, State.FINAL]


def test_a_transaction_that_reverts_on_chain_is_failed(waiting: Bench) -> None:
    """Both pass the simulation, the second reverts in the block: failed once settled, and its nonce
    is used."""
    sender = waiting.sender()
    first, second = (waiting.enqueue(sender, purpose, ONCE) for purpose in ("first", "second"))
    for row in (first, second):
        waiting.do(sender, "broadcast", row.id)
    waiting.mine()
    assert waiting.do(sender, "settle", first.id, "latest") == State.FINAL
    assert waiting.do(sender, "settle", second.id, "1") == State.MINED
    assert waiting.do(sender, "settle", second.id, "latest") == State.FAILED
    row = waiting.row(second.id)
    assert (row.status, row.nonce) == (0, 1)
    assert "reverted in block 1" in row.note
    with waiting.database.transaction() as session:
        assert sender.open_ids(session) == []


@pytest.mark.parametrize("delivers", [True, False])
def test_an_unknown_outcome_sends_the_same_bytes_again(mining: Bench, delivers: bool) -> None:
    """A broadcast whose answer is lost, or that is lost itself, is repeated byte for byte: one
    transaction on chain."""
    lossy = mining.sender(Web3Node(Web3(LossyProvider(mining.chain.url, delivers=delivers))))
    row = mining.enqueue(lossy, "post")
    # Where it arrived, the receipt shows that it did.
    assert mining.do(lossy, "broadcast", row.id) == (State.SENT if delivers else State.STORED)
    if not delivers:
        assert mining.row(row.id).note == (
            "outcome unknown (broadcast: the node does not answer (Timeout)): the same bytes go "
            "out again"
        )
    assert mining.do(mining.sender(), "advance", row.id, "latest") in (State.SENT, State.FINAL)
    assert mining.do(mining.sender(), "advance", row.id, "latest") == State.FINAL
    assert len(mining.attempts(row.id)) == 1
    assert mining.calls() == mining.chain_nonce() == 1


def test_what_the_node_has_already_is_sent(waiting: Bench) -> None:
    """A crash between the broadcast and its commit: the node refuses the repeated bytes, and that
    counts as sent."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    waiting.chain.w3.eth.send_raw_transaction(waiting.attempts(row.id)[0].raw)
    assert waiting.do(sender, "broadcast", row.id) == State.SENT
    assert waiting.pool() == {0: _hashes(waiting, row.id)[0]}


def test_a_refusal_is_noted_and_repeated(waiting: Bench) -> None:
    """A node that refuses the bytes (the key has been emptied since) leaves them stored, with its
    words, until it takes them."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    balance = waiting.chain.w3.eth.get_balance(waiting.address)
    waiting.chain.rpc("anvil_setBalance", waiting.address, "0x0")
    assert waiting.do(sender, "advance", row.id, "latest") == State.STORED
    assert "refused (Insufficient funds" in waiting.row(row.id).note
    waiting.chain.rpc("anvil_setBalance", waiting.address, hex(balance))
    assert waiting.do(sender, "advance", row.id, "latest") == State.SENT
    assert waiting.row(row.id).note is None


def test_a_reorg_sends_the_same_bytes_again(waiting: Bench) -> None:
    """Mined, then taken out by a reorg: back to sent with the same hash in the node, then final in
    another block."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    waiting.do(sender, "broadcast", row.id)
    waiting.mine()
    assert waiting.do(sender, "settle", row.id, "2") == State.MINED
    before = waiting.row(row.id).block_hash
    waiting.chain.rpc("anvil_reorg", 1, [])
    assert waiting.pool() == {}
    assert waiting.do(sender, "settle", row.id, "2") == State.SENT
    assert waiting.row(row.id).block_hash is None
    assert waiting.pool() == {0: _hashes(waiting, row.id)[0]}
    waiting.mine()
    assert waiting.do(sender, "settle", row.id, "2") == State.MINED
    assert waiting.row(row.id).block_hash != before
    waiting.mine(2)
    assert waiting.do(sender, "settle", row.id, "2") == State.FINAL
    assert len(waiting.attempts(row.id)) == 1
    assert waiting.calls() == 1


def test_a_block_that_is_not_the_chains_is_not_final(waiting: Bench) -> None:
    """A receipt whose block hash is not the chain's hash at that height does not settle
    anything."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    waiting.do(sender, "broadcast", row.id)
    waiting.mine()
    genesis, block = waiting.chain.node.block(0), Web3Node.block

    def other(node: Web3Node, which: int | str) -> Block:
        return genesis if which == 1 else block(node, which)

    # The reorg falls between two questions to the node.
    with patch.object(Web3Node, "block", other):
        assert waiting.do(sender, "settle", row.id, "latest") == State.MINED
    assert waiting.row(row.id).note == "block 1 is another one by now"
    assert waiting.do(sender, "settle", row.id, "latest") == State.FINAL


def test_a_nonce_that_another_transaction_used_is_lost(waiting: Bench) -> None:
    """Open while the other's block is not settled, then lost with the reason; never sent again, and
    never under another nonce."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    _foreign(waiting, 0, 10 * GWEI)
    waiting.mine()
    assert waiting.do(sender, "advance", row.id, "2") == State.STORED
    assert (
        "a transaction that is not ours, in a block that is not settled" in waiting.row(row.id).note
    )
    waiting.mine(2)
    assert waiting.do(sender, "advance", row.id, "2") == State.LOST
    assert (
        "nonce 0 was used by a transaction that is not ours, at or before block 1"
        in waiting.row(row.id).note
    )
    assert [waiting.do(sender, "broadcast", row.id), waiting.do(sender, "bump", row.id)] == [
        State.LOST
    ] * 2
    assert waiting.enqueue(sender, "post").id == row.id
    assert waiting.enqueue(sender, "next").nonce == 1
    waiting.mine()
    assert waiting.calls() == 0


def test_mined_between_two_questions_is_not_lost(waiting: Bench) -> None:
    """Our own transaction, mined after its receipt was asked for and before the nonce was: final,
    not lost."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    waiting.do(sender, "broadcast", row.id)
    count = waiting.chain.node.transaction_count

    def mine_then_count(*arguments: object) -> int:
        waiting.mine()
        return count(*arguments)

    with patch.object(waiting.chain.node, "transaction_count", mine_then_count):
        assert waiting.do(sender, "settle", row.id, "latest") == State.FINAL
    assert waiting.calls() == 1


def test_a_foreign_transaction_that_a_reorg_removes_does_not_lose_ours(waiting: Bench) -> None:
    """Until the foreign block is settled our bytes stay good: after a reorg they are mined."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    _foreign(waiting, 0, 10 * GWEI)
    waiting.mine()
    assert waiting.do(sender, "advance", row.id, "2") == State.STORED
    waiting.chain.rpc("anvil_reorg", 1, [])
    assert waiting.do(sender, "advance", row.id, "2") == State.SENT
    waiting.mine(3)
    assert waiting.do(sender, "advance", row.id, "2") == State.FINAL


def test_a_bump_replaces_under_the_same_nonce(waiting: Bench) -> None:
    """Both fees rise by an eighth or more, the node swaps the transaction, one of them is mined,
    and both hashes are kept."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    waiting.do(sender, "broadcast", row.id)
    assert waiting.do(sender, "bump", row.id) == State.STORED
    old, new = waiting.attempts(row.id)
    assert new.max_fee_per_gas * 8 >= old.max_fee_per_gas * 9
    assert new.max_priority_fee_per_gas * 8 >= old.max_priority_fee_per_gas * 9
    assert waiting.pool() == {0: "0x" + old.tx_hash.hex()}, (
        "a replacement leaves after the commit, not in bump"
    )
    assert waiting.do(sender, "broadcast", row.id) == State.SENT
    assert waiting.pool() == {0: "0x" + new.tx_hash.hex()}
    waiting.mine()
    assert waiting.do(sender, "settle", row.id, "latest") == State.FINAL
    assert waiting.row(row.id).mined_hash == new.tx_hash
    assert waiting.calls() == waiting.chain_nonce() == 1


def test_the_first_attempt_counts_if_it_is_mined_after_all(waiting: Bench) -> None:
    """Replaced, but mined before the replacement left: final with the first hash; the second is
    never mined."""
    sender = waiting.sender()
    row = waiting.enqueue(sender, "post")
    waiting.do(sender, "broadcast", row.id)
    waiting.do(sender, "bump", row.id)
    waiting.mine()
    assert waiting.do(sender, "broadcast", row.id) == State.SENT
    waiting.mine()
    assert waiting.do(sender, "settle", row.id, "latest") == State.FINAL
    assert waiting.row(row.id).mined_hash == waiting.attempts(row.id)[0].tx_hash
    assert waiting.calls() == waiting.chain_nonce() == 1


def test_fees_stop_at_the_cap_and_say_so(waiting: Bench) -> None:
    """Replacements go up to the cap and not above; then the transaction stays in the node and the
    note says why."""
    quoted = FEES.quote(waiting.chain.node).max_fee
    sender = waiting.sender(fees=FeePolicy(max_fee_cap=quoted * 13 // 10), bump_after_seconds=0)
    row = waiting.enqueue(sender, "post")
    for _ in range(6):
        waiting.do(sender, "advance", row.id, "latest")
    bids = [attempt.max_fee_per_gas for attempt in waiting.attempts(row.id)]
    assert len(bids) == 3
    assert all(new * 8 >= old * 9 for old, new in pairwise(bids))
    assert bids[0] == quoted
    assert bids[2] <= quoted * 13 // 10 < bids[2] * 9 // 8
    after = waiting.row(row.id)
    assert after.state == State.SENT
    assert f"a replacement would pass the cap of {quoted * 13 // 10}" in after.note
    assert waiting.pool() == {0: _hashes(waiting, row.id)[-1]}


def test_only_the_next_in_line_is_bumped(waiting: Bench) -> None:
    """A transaction that waits for an earlier nonce gains nothing by higher fees: it keeps its bid
    and says so."""
    sender = waiting.sender(bump_after_seconds=0)
    first, second = (waiting.enqueue(sender, purpose) for purpose in ("first", "second"))
    for row in (first, second):
        waiting.do(sender, "advance", row.id, "latest")
    assert waiting.do(sender, "bump", second.id) == State.SENT
    assert waiting.row(second.id).note == "waits for nonce 0"
    assert (len(waiting.attempts(first.id)), len(waiting.attempts(second.id))) == (2, 1)


def test_another_key_does_not_replace(waiting: Bench) -> None:
    """A sender of another key may broadcast and settle a row, but cannot replace it."""
    row = waiting.enqueue(waiting.sender(), "post")
    other = Sender(
        waiting.chain.node,
        KeystoreSigner(waiting.chain.key(1)),
        FEES,
        CHAIN_ID,
        bump_after_seconds=0,
    )
    with pytest.raises(Conflict, match="cannot replace it"):
        waiting.do(other, "bump", row.id)
    assert waiting.do(other, "advance", row.id, "latest") == State.SENT
    assert len(waiting.attempts(row.id)) == 1


def test_a_bid_below_the_base_fee_is_raised(waiting: Bench) -> None:
    """Fees that doubled after the signing: the node refuses the bytes, and `advance` replaces
    them."""
    sender = waiting.sender(bump_after_seconds=0)
    row = waiting.enqueue(sender, "post")
    waiting.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * GWEI))
    waiting.mine()
    assert waiting.do(sender, "advance", row.id, "latest") == State.STORED
    assert len(waiting.attempts(row.id)) == 2
    assert waiting.do(sender, "broadcast", row.id) == State.SENT
    waiting.mine()
    assert waiting.do(sender, "settle", row.id, "latest") == State.FINAL


def test_a_silent_node_changes_nothing(mining: Bench) -> None:
    """Settle and bump without a node raise Unavailable and leave the row as it is; broadcast notes
    it."""
    sender = mining.sender()
    row = mining.enqueue(sender, "post")
    sender._node = Web3Node(
        Web3(Web3.HTTPProvider("http://127.0.0.1:9/v2/SECRET", exception_retry_configuration=None))
    )
    for step, arguments in (("settle", ["latest"]), ("advance", ["latest"]), ("bump", [])):
        with pytest.raises(Unavailable):
            mining.do(sender, step, row.id, *arguments)
    assert mining.do(sender, "broadcast", row.id) == State.STORED
    assert mining.row(row.id).note == (
        "outcome unknown (broadcast: the node does not answer (ConnectionError)): the same bytes "
        "go out again"
    )
