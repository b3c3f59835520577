"""Bids: what the chain's history asks for, between the policy's bounds, and never above the cap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from backend.chain.fees import FeePolicy, Fees
from backend.chain.models import State
from backend.chain.node import FeeHistory
from backend.chain.web3_node import Web3Node
from backend.errors import NotYet, Unavailable
from backend.kit.metrics import FEE_CAP_HITS
from tests.chain.sender.support import GWEI, bench
from tests.support.anvil import anvil


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_fee_cap": 0},
        {"max_fee_cap": 1, "priority_fee_min": -1},
        {"max_fee_cap": 1, "priority_fee_min": 2, "priority_fee_max": 1},
    ],
)
def test_bounds_that_contradict_are_refused(bounds: dict[str, int]) -> None:
    """A cap of 0, a negative minimum and a minimum above the maximum are errors at once."""
    with pytest.raises(ValueError, match="expected"):
        FeePolicy(**bounds)


def test_a_dead_node_is_unavailable() -> None:
    """Without a node there is no bid."""
    with pytest.raises(Unavailable):
        FeePolicy(GWEI).quote(
            Web3Node(
                Web3(Web3.HTTPProvider("http://127.0.0.1:9", exception_retry_configuration=None))
            )
        )


def test_quotes_of_a_real_chain() -> None:
    """On one chain: twice the base fee and the tip; cut at the cap; NotYet above it; a replacement
    is an eighth more or None."""
    with anvil(base_fee=8 * GWEI, no_mining=True) as chain:
        base = chain.w3.eth.fee_history(1, "latest")["baseFeePerGas"][-1]
        assert FeePolicy(100 * GWEI, GWEI, 2 * GWEI).quote(chain.node) == Fees(
            2 * base + GWEI, GWEI
        )
        assert FeePolicy(base + 5, GWEI, GWEI).quote(chain.node) == Fees(base + 5, GWEI)
        assert FeePolicy(base, 0, 0).quote(chain.node) == Fees(base, 0)
        hits = FEE_CAP_HITS._value.get()
        with pytest.raises(
            NotYet, match=f"base fee is {base} wei per gas, above the cap of {base - 1}"
        ):
            FeePolicy(base - 1).quote(chain.node)
        assert FEE_CAP_HITS._value.get() == hits + 1

        policy = FeePolicy(100 * GWEI, GWEI, GWEI)
        assert policy.replacement(chain.node, Fees(80 * GWEI, 8)) == Fees(90 * GWEI, GWEI)
        assert policy.replacement(chain.node, Fees(GWEI, GWEI)) == Fees(
            2 * base + GWEI, GWEI * 9 // 8
        )
        assert policy.replacement(chain.node, Fees(89 * GWEI, GWEI)) is None
        with pytest.raises(NotYet):
            FeePolicy(base - 1).replacement(chain.node, Fees(1, 1))


def test_the_tip_is_what_others_paid() -> None:
    """The median of what the last blocks paid, within the policy's bounds; blocks without
    transactions do not count."""
    with anvil() as chain:
        key = chain.key(1)
        for nonce, tip in enumerate((5 * GWEI, 4 * GWEI, 6 * GWEI)):
            signed = key.sign_transaction(
                {
                    "type": 2,
                    "chainId": 31337,
                    "nonce": nonce,
                    "to": key.address,
                    "value": 0,
                    "gas": 21_000,
                    "maxFeePerGas": 50 * GWEI,
                    "maxPriorityFeePerGas": tip,
                }
            )
            chain.w3.eth.wait_for_transaction_receipt(
                chain.w3.eth.send_raw_transaction(signed.raw_transaction), poll_latency=0.01
            )
        assert FeePolicy(100 * GWEI, 0, 100 * GWEI).quote(chain.node).max_priority_fee == 5 * GWEI
        assert FeePolicy(100 * GWEI, 0, 2 * GWEI).quote(chain.node).max_priority_fee == 2 * GWEI
        assert (
            FeePolicy(100 * GWEI, 7 * GWEI, 9 * GWEI).quote(chain.node).max_priority_fee == 7 * GWEI
        )


class _History:
    """A node's fee history, as given. Without a base fee: a chain before EIP-1559."""

    def __init__(
        self, base_fee: int | None, tips: list[int], advice: int | None = None, price: int = 0
    ) -> None:
        self._answer = None if base_fee is None else FeeHistory(base_fee, tuple(tips))
        self._advice, self._price = advice, price

    def fee_history(self, *_: object) -> FeeHistory | None:
        return self._answer

    def priority_fee(self) -> int | None:
        return self._advice

    def gas_price(self) -> int:
        return self._price


@pytest.mark.parametrize(
    ("tips", "advice", "tip"),
    [
        ([30 * GWEI, 40 * GWEI, 50 * GWEI], GWEI, 40 * GWEI),
        ([0, 25 * GWEI, 0], None, 25 * GWEI),
        ([0, 1_000_000], GWEI, 1_000_000),
        ([0, 0], 7, 7),
        ([], 2 * GWEI, 2 * GWEI),
        ([0], None, 0),
        ([900 * GWEI], None, 100 * GWEI),
    ],
)
def test_the_tip_is_the_chains_within_the_cap(
    tips: list[int], advice: int | None, tip: int
) -> None:
    """Neither 3 gwei at most nor 0.1 gwei at least, whatever the chain: what its blocks pay, the
    node's advice where they are empty, and never more than the whole bid's cap."""
    assert FeePolicy(100 * GWEI).quote(_History(GWEI, tips, advice)).max_priority_fee == tip


def test_a_chain_without_base_fees_takes_one_price() -> None:
    """The node's gas price, within the cap and not below the least; a replacement is an eighth
    more."""
    policy = FeePolicy(100 * GWEI, priority_fee_min=2 * GWEI)
    old = policy.quote(_History(None, [], price=8 * GWEI))
    assert old == Fees(8 * GWEI, 8 * GWEI, legacy=True)
    assert old.fields() == {"gasPrice": 8 * GWEI}
    assert policy.quote(_History(None, [], price=1)).max_fee == 2 * GWEI
    node = _History(None, [], price=GWEI)
    assert policy.replacement(node, old) == Fees(9 * GWEI, 9 * GWEI, legacy=True)
    assert policy.replacement(node, Fees(90 * GWEI, 90 * GWEI, legacy=True)) is None
    with pytest.raises(NotYet, match="gas price is 101000000000 wei per gas, above the cap"):
        policy.quote(_History(None, [], price=101 * GWEI))


def test_a_chain_before_eip_1559_is_paid() -> None:
    """A real chain of that time: a transfer is signed with a gas price, raised, and mined; type 2
    would be refused there."""
    with bench(hardfork="berlin", no_mining=True) as old:
        sender = old.sender(bump_after_seconds=0)
        row = old.enqueue(sender, "pay", old.chain.key(3).address, value=5)
        assert old.do(sender, "broadcast", row.id) == State.SENT
        assert old.do(sender, "bump", row.id) == State.STORED
        assert old.do(sender, "broadcast", row.id) == State.SENT
        first, second = old.attempts(row.id)
        assert second.max_fee_per_gas * 8 >= first.max_fee_per_gas * 9
        old.mine()
        assert old.do(sender, "settle", row.id, "latest") == State.FINAL
        sent = old.chain.w3.eth.get_transaction("0x" + second.tx_hash.hex())
        assert (sent["type"], sent["gasPrice"]) == (0, second.max_fee_per_gas)


_FEE = st.integers(0, 10**12)


@given(base=_FEE, tips=st.lists(_FEE), cap=st.integers(1, 10**12), old_max=_FEE, old_tip=_FEE)
def test_no_bid_passes_the_cap(
    base: int, tips: list[int], cap: int, old_max: int, old_tip: int
) -> None:
    """Whatever the history says: within the cap, the tip within the bid, and a replacement that
    nodes accept (10 % more, and more)."""
    policy, node = FeePolicy(cap, 0, 10**12), _History(base, tips)
    if base > cap:
        with pytest.raises(NotYet):
            policy.quote(node)
        return
    fees = policy.quote(node)
    assert base <= fees.max_fee <= cap
    assert 0 <= fees.max_priority_fee <= fees.max_fee
    old = Fees(max(old_max, old_tip), old_tip)
    new = policy.replacement(node, old)
    if new is None:
        assert old.max_fee * 9 // 8 + 1 > cap
        return
    assert new.max_priority_fee <= new.max_fee <= cap
    for before, after in ((old.max_fee, new.max_fee), (old.max_priority_fee, new.max_priority_fee)):
        assert after > before
        assert after * 100 >= before * 110
