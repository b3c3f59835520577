"""Proofs and permissions never go stale: each root that was posted stays good."""

from collections.abc import Iterator

import pytest
from eth_account import Account
from eth_utils import keccak

from prover.eip712 import Domain, claim_to_digest
from scripts.anvil import anvil
from scripts.bench_gas import BLOCK_GAS_LIMIT, VALID_UNTIL, Bench
from tests.support.program import DEV

ANN = Account.from_key(keccak(text="ann"))
BOB = int(Account.from_key(keccak(text="bob")).address, 16)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A program without batches. Proofs are simulated."""
    with anvil(gas_limit=BLOCK_GAS_LIMIT) as chain:
        yield Bench(chain, DEV)


def paid(bench: Bench, slot: int) -> int:
    """What the slot's account has been paid."""
    return bench.distributor.functions.claimed(0, slot).call()


@pytest.mark.parametrize("batches", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_what_was_made_long_ago_pays_what_it_says(bench: Bench, batches: int) -> None:
    """Calldata of a claim and a permission, made at one batch, pay what they say after many more
    of the bucket; what was earned since is paid later."""
    bench.post([int(ANN.address, 16), BOB])
    slots = {slot: bench.state.pairs[slot] for slot in (0, 1)}
    made = bench.state.sequence
    siblings = bench.trees[made].siblings(0)
    recipient = bench.w3.to_checksum_address(f"{batches + 10**40:#042x}")
    domain = Domain(bench.w3.eth.chain_id, bench.distributor.address)
    digest = claim_to_digest(domain, 0, 0, slots[0][1], recipient, VALID_UNTIL)
    permission = bytes(ANN.unsafe_sign_hash(digest).signature)

    for number in range(batches):
        bench.post([int(ANN.address, 16) if number % 2 else BOB])

    redirected = (ANN.address, slots[0][1], siblings, recipient, VALID_UNTIL, permission)
    bench.send(bench.distributor.functions.claimTo(0, 0, made, *redirected))
    bench.claim(1, made)
    assert [paid(bench, slot) for slot in (0, 1)] == [slots[0][1], slots[1][1]]
    for slot in (0, 1):
        bench.claim(slot, bench.state.sequence)
        assert paid(bench, slot) == bench.state.pairs[slot][1] > slots[slot][1]
