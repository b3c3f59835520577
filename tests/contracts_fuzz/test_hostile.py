"""Surroundings that are not of our making: tokens that take fees or change balances, accounts with
code by EIP-7702, calldata cut or stretched.

The proof is the ideal verifier's: what is under test here comes before or after it. tests/contracts
holds the rest: re-entering and failing tokens, blocked recipients, EIP-1271, malleable signatures.
"""

import pytest
from eth_abi import encode
from eth_utils import keccak

from prover.eip712 import claim_to_digest
from tests.contracts_fuzz.cast import address_of, key_of
from tests.contracts_fuzz.node import Interface, creation, sign
from tests.contracts_fuzz.runner import DEPLOYER, DISTRIBUTOR
from tests.contracts_fuzz.small_program import (
    ALICE,
    ATTESTORS,
    BOB,
    HOSTILE,
    Program,
    program,
    shared,
)

WALLET = Interface("Wallet1271")
__all__ = ["program", "shared"]
TAKES_FEE = 3


def _set_balance(program: Program, account: str, amount: int) -> None:
    """What a rebase does: a balance changes though nobody has transferred anything."""
    place = keccak(encode(["address", "uint256"], [account, 0]))
    program.node.rpc("anvil_setStorageAt", program.token, "0x" + place.hex(), f"{amount:#066x}")
    assert program.balance(account) == amount


def test_a_fee_on_funding_is_seen(program: Program) -> None:
    """The reserve is what has arrived, not what was sent: with a fee of 1 % on the way in,
    entitlements stop at the 99 % that came."""
    program.done(program.token, HOSTILE.encode("mint", [DEPLOYER, 1_000]))
    program.done(program.token, HOSTILE.encode("setBehaviour", [TAKES_FEE]))
    program.done(program.token, HOSTILE.encode("transfer", [program.distributor, 1_000]))
    program.model.balances[program.distributor] += 990
    assert program.refusal(program.posting([(address_of(ALICE), 1_991)])) == "ReserveExceeded"
    program.post([(address_of(ALICE), 1_990)])


def test_a_fee_on_claims_takes_from_the_recipient_alone(program: Program) -> None:
    """The recipient gets less than was booked; the other account is still paid for in full."""
    program.done(program.token, HOSTILE.encode("setBehaviour", [TAKES_FEE]))
    program.done(program.distributor, program.claim(0))
    assert (program.balance(address_of(ALICE)), program.view("claimedTotal")) == (990, 1_000)
    assert (
        program.balance(program.distributor)
        == 4_000
        >= program.view("committed") - program.view("claimedTotal")
    )


def test_a_rebase_downwards_stops_posting_and_withdrawal(program: Program) -> None:
    """Where the token shrinks what is held below what is owed, nothing more can be promised or
    withdrawn; claims are paid while tokens last, and the books stay exact."""
    _set_balance(program, program.distributor, 2_500)
    assert program.refusal(program.posting([(address_of(ALICE), 1)])) == "ReserveExceeded"
    program.done(program.distributor, DISTRIBUTOR.encode("announceWithdrawal", [DEPLOYER, 1]))
    program.time += 7 * 86_400
    assert program.refusal(DISTRIBUTOR.encode("executeWithdrawal", [])) == "ExceedsUncommitted"
    program.done(program.distributor, program.claim(0))
    ((went_through, answer),) = program.node.outcomes(
        [(None, program.distributor, program.claim(1))], program.time + 1
    )
    assert (went_through, HOSTILE.error(answer)[0]) == (False, "ERC20InsufficientBalance")
    assert (program.view("claimedTotal"), program.view("claimed", 0, 1)) == (1_000, 0)
    program.fund(1_500)
    program.done(program.distributor, program.claim(1))
    assert program.balance(address_of(BOB)) == 3_000


def test_a_rebase_upwards_is_nobodys_until_posted(program: Program) -> None:
    """What the token adds to the reserve changes no entitlement; it is there for batches and
    withdrawals."""
    _set_balance(program, program.distributor, 50_000)
    program.done(program.distributor, program.claim(0))
    assert program.balance(address_of(ALICE)) == 1_000
    assert program.refusal(program.claim(0)) == "NothingToClaim"


@pytest.mark.parametrize(
    "function", ["postBatch", "claim", "claimMany", "claimTo", "announceAttestors"]
)
def test_truncated_calldata_is_refused(program: Program, function: str) -> None:
    """A call cut short anywhere is refused: no missing byte is taken for a zero."""
    slot, tree = 1, program.model.bucket(0).trees[-1]
    account, cumulative = tree.pair(slot)
    permission = sign(
        claim_to_digest(program.model.domain, 0, slot, cumulative, DEPLOYER, 2**40), BOB
    )
    calls = {
        "postBatch": program.posting([(address_of(ALICE), 5)]),
        "claim": program.claim(slot),
        "claimTo": program.claim(slot, (DEPLOYER, 2**40, permission)),
        "claimMany": DISTRIBUTOR.encode(
            "claimMany", [0, 1, [(slot, f"{account:#042x}", cumulative)], tree.siblings(slot)]
        ),
        "announceAttestors": DISTRIBUTOR.encode("announceAttestors", [sorted(ATTESTORS), 2]),
    }
    data = calls[function]
    # The last word of a bytes argument is padded: cutting the padding alone takes nothing away.
    tail = 31 if function in ("postBatch", "claimTo") else 0
    outcomes = program.node.outcomes(
        [(DEPLOYER, program.distributor, data[:length]) for length in range(4, len(data) - tail)],
        program.time + 1,
    )
    assert not any(went_through for went_through, _ in outcomes)
    assert program.node.outcomes([(DEPLOYER, program.distributor, data)], program.time + 1)[0][0]


def test_overlong_calldata_changes_nothing(program: Program) -> None:
    """Bytes after a call's arguments are passed over: the same effect, and the same log."""
    data = program.posting([(address_of(ALICE), 5)])
    batch, deltas = program.args[:2]
    (event,) = program.done(program.distributor, data + b"\xff" * 1_000)
    assert event == ("BatchPosted", *batch[:6], 5, deltas)
    program.done(program.distributor, program.claim(1) + b"\1")
    assert program.balance(address_of(BOB)) == 3_000


def test_dirty_words_are_refused(program: Program) -> None:
    """A value beyond its type (a slot of 2^16 and more, an address with 21 bytes) is refused, not
    cut down to one that fits."""
    data = program.claim(1)
    for word in (1, 3):  # slot, account
        dirty = bytearray(data)
        dirty[4 + 32 * word + (29 if word == 1 else 11)] = 1
        ((went_through, answer),) = program.node.outcomes(
            [(None, program.distributor, bytes(dirty))]
        )
        assert (went_through, answer) == (False, b"")


def test_a_post_through_a_contract_is_logged_whole(program: Program) -> None:
    """Whoever calls, and however the calldata is wrapped, the log alone gives sequence, roots and
    deltas."""
    holder = address_of(key_of("holder"))
    wallet = program.deploy(creation("Wallet1271", ["address"], [holder]))
    data = program.posting([(address_of(BOB), 9), (address_of(key_of("account 3")), 11)])
    batch, deltas = program.args[:2]
    (event,) = program.done(wallet, WALLET.encode("execute", [program.distributor, data]), holder)
    assert event == ("BatchPosted", *batch[:6], 20, deltas)
