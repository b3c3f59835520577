"""claimMany: what is refused, what is passed over, and what is paid with one walk up the tree."""

from typing import Any

import pytest

from prover.field import P
from tests.contracts.conftest import ACCOUNTS
from tests.contracts.program import Program
from tests.contracts.refusal import decode_error, refused

ALREADY_PAID, TRANSFER_FAILED = 0, 1


def _refused(name: str, program: Program, args: list[Any]) -> tuple[Any, ...]:
    return refused(name, program.distributor.claimMany, *args)


def _balances(token: Any, count: int = 3) -> list[int]:
    return [token.balanceOf(f"{account:#042x}") for account in ACCOUNTS[:count]]


def test_one_false_payout_refuses_all(program: Program) -> None:
    """A wrong amount, account or slot among true payouts refuses the call."""
    bucket, sequence, payouts, siblings = program.claim_many_args([0, 1, 2])
    for bent in ((1, payouts[1][1], 2_001), (1, payouts[0][1], 2_000)):
        assert _refused(
            "NotInBucket", program, [bucket, sequence, [payouts[0], bent, payouts[2]], siblings]
        ) == (0, 2)


def test_slots_rise_and_lie_in_the_bucket(program: Program) -> None:
    """Slots that repeat, fall or lie beyond N - 1 are refused, and so is an empty list."""
    bucket, sequence, payouts, siblings = program.claim_many_args([0, 1, 2])
    assert _refused(
        "SlotsNotAscending", program, [bucket, sequence, [payouts[0], payouts[0]], siblings]
    ) == (0,)
    assert _refused("SlotsNotAscending", program, [bucket, sequence, payouts[::-1], siblings]) == (
        1,
    )
    assert _refused(
        "SlotOutOfRange", program, [bucket, sequence, [*payouts, (32, payouts[0][1], 1)], siblings]
    ) == (32,)
    assert _refused("NoPayouts", program, [bucket, sequence, [], siblings]) == ()


def test_an_empty_slot_is_nobodys(program: Program) -> None:
    """An empty slot among payouts is refused."""
    state = program.bucket()
    payouts = [*program.claim_many_args([0])[2], (9, f"{0:#042x}", 0)]
    assert (
        _refused("ZeroAddress", program, [0, 2, payouts, state.tree.multi_siblings([0, 9])]) == ()
    )


def test_siblings_are_exact_field_elements(program: Program) -> None:
    """One sibling too few or too many, or not below p, is refused."""
    bucket, sequence, payouts, siblings = program.claim_many_args([0, 2])
    count = len(siblings)
    assert _refused("WrongSiblingCount", program, [bucket, sequence, payouts, siblings[:-1]]) == (
        count - 1,
        count,
    )
    assert _refused("WrongSiblingCount", program, [bucket, sequence, payouts, [*siblings, 0]]) == (
        count + 1,
        count,
    )
    for i in range(count):
        bent = [*siblings[:i], siblings[i] + P, *siblings[i + 1 :]]
        assert _refused("NotAFieldElement", program, [bucket, sequence, payouts, bent]) == (
            siblings[i] + P,
        )


def test_states_that_are_not_posted_are_refused(program: Program) -> None:
    """Sequence 0 and one that is not posted have no root to prove against."""
    bucket, _, payouts, siblings = program.claim_many_args([0, 2])
    for sequence in (0, 3, 18):
        assert _refused("UnknownRoot", program, [bucket, sequence, payouts, siblings]) == (
            0,
            sequence,
        )


def test_what_is_paid_already_is_passed_over(program: Program, token: Any) -> None:
    """An account that was paid before is passed over with an event; the others are paid."""
    distributor = program.distributor
    distributor.claim(*program.claim_args(1), sender=program.sender)
    receipt = distributor.claimMany(*program.claim_many_args([0, 1, 2]), sender=program.sender)
    (skipped,) = receipt.decode_logs(distributor.PayoutSkipped)
    assert (skipped.bucket, skipped.slot, int(skipped.account, 16), skipped.reason) == (
        0,
        1,
        ACCOUNTS[1],
        ALREADY_PAID,
    )
    assert [(event.slot, event.amount) for event in receipt.decode_logs(distributor.Claimed)] == [
        (0, 1_000),
        (2, 3_000),
    ]
    assert _balances(token) == [1_000, 2_000, 3_000]
    assert distributor.claimedTotal() == 6_000


def test_all_paid_already_changes_nothing(program: Program, token: Any) -> None:
    """The same call a second time pays nobody and reverts nothing."""
    distributor, args = program.distributor, program.claim_many_args([0, 1, 2])
    distributor.claimMany(*args, sender=program.sender)
    receipt = distributor.claimMany(*args, sender=program.sender)
    assert [event.reason for event in receipt.decode_logs(distributor.PayoutSkipped)] == [
        ALREADY_PAID
    ] * 3
    assert _balances(token) == [1_000, 2_000, 3_000]
    assert distributor.claimedTotal() == 6_000


def test_a_blocked_recipient_stops_nobody(
    hostile_program: Program, hostile_token: Any, deployer: Any
) -> None:
    """Where the token refuses one recipient the others are paid, the books count the paid alone,
    and the blocked one can claim later."""
    distributor, sender = hostile_program.distributor, hostile_program.sender
    blocked = f"{ACCOUNTS[1]:#042x}"
    hostile_token.setBlocked(blocked, True, sender=deployer)
    held = hostile_token.balanceOf(distributor)
    receipt = distributor.claimMany(*hostile_program.claim_many_args([0, 1, 2]), sender=sender)
    assert [
        (event.slot, event.reason) for event in receipt.decode_logs(distributor.PayoutSkipped)
    ] == [(1, TRANSFER_FAILED)]
    assert _balances(hostile_token) == [1_000, 0, 3_000]
    assert (distributor.claimed(0, 1), distributor.claimedTotal()) == (0, 4_000)
    assert hostile_token.balanceOf(distributor) + distributor.claimedTotal() == held
    hostile_token.setBlocked(blocked, False, sender=deployer)
    distributor.claim(*hostile_program.claim_args(1), sender=sender)
    assert _balances(hostile_token) == [1_000, 2_000, 3_000]


def test_a_token_that_returns_false_pays_nobody(
    hostile_program: Program, hostile_token: Any, deployer: Any
) -> None:
    """Transfers that return false are passed over and nothing is booked."""
    distributor = hostile_program.distributor
    hostile_token.setBehaviour(1, sender=deployer)
    receipt = distributor.claimMany(
        *hostile_program.claim_many_args([0, 1]), sender=hostile_program.sender
    )
    assert [event.reason for event in receipt.decode_logs(distributor.PayoutSkipped)] == [
        TRANSFER_FAILED
    ] * 2
    assert (distributor.claimed(0, 0), distributor.claimed(0, 1), distributor.claimedTotal()) == (
        0,
        0,
        0,
    )


def test_a_token_cannot_reenter(
    hostile_program: Program, hostile_token: Any, deployer: Any
) -> None:
    """From within a transfer of claimMany the next account's claim does not go through, so that
    nobody is paid twice."""
    distributor = hostile_program.distributor
    hostile_token.setBehaviour(4, sender=deployer)
    hostile_token.setCall(
        distributor, distributor.claim.encode_input(*hostile_program.claim_args(2)), sender=deployer
    )
    distributor.claimMany(
        *hostile_program.claim_many_args([0, 1, 2]), sender=hostile_program.sender
    )
    assert not hostile_token.callSucceeded()
    assert decode_error(distributor, bytes(hostile_token.callResult())) == (
        "ReentrancyGuardReentrantCall",
    )
    assert _balances(hostile_token) == [1_000, 2_000, 3_000]
    assert distributor.claimedTotal() == 6_000


@pytest.mark.parametrize("slots", [[0], [1], [0, 2], [1, 2], [0, 1, 2]], ids=str)
def test_any_choice_of_accounts_is_paid(program: Program, token: Any, slots: list[int]) -> None:
    """Whatever slots share a walk, exactly their accounts are paid exactly their amounts."""
    program.distributor.claimMany(*program.claim_many_args(slots), sender=program.sender)
    assert _balances(token) == [1_000 * (slot + 1) if slot in slots else 0 for slot in range(3)]
    assert program.distributor.claimedTotal() == sum(1_000 * (slot + 1) for slot in slots)


def test_a_whole_bucket_needs_no_siblings(program: Program, token: Any) -> None:
    """All 32 accounts of a full bucket are paid in one call without a single sibling."""
    program.post([(account, 10 + i) for i, account in enumerate(ACCOUNTS[:32])], bucket=3)
    args = program.claim_many_args(list(range(32)), bucket=3)
    assert args[3] == []
    program.distributor.claimMany(*args, sender=program.sender)
    assert _balances(token, 32) == [10 + i for i in range(32)]
