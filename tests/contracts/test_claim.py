"""claim: what is refused, each by its own error, then what is paid."""

from typing import Any

import pytest

from prover.field import P
from tests.contracts.conftest import ACCOUNTS
from tests.contracts.program import Program
from tests.contracts.refusal import decode_error, refused


def _bent(args: list[Any], **changes: Any) -> list[Any]:
    names = ("bucket", "slot", "sequence", "account", "cumulative", "siblings")
    return list((dict(zip(names, args, strict=True)) | changes).values())


def _refused(name: str, program: Program, args: list[Any]) -> tuple[Any, ...]:
    return refused(name, program.distributor.claim, *args)


@pytest.mark.parametrize(
    "changes",
    [
        {"slot": 0},
        {"account": f"{ACCOUNTS[0]:#042x}"},
        {"cumulative": 1_999},
        {"cumulative": 2_001},
        {"cumulative": 2**128 - 1},
        {"sequence": 1},
    ],
    ids=["another slot", "another account", "less", "more", "the most", "another state"],
)
def test_what_the_tree_does_not_hold_is_refused(program: Program, changes: dict[str, Any]) -> None:
    """A path does not prove another slot, account, amount or state than its own."""
    args = _bent(program.claim_args(1), **changes)
    assert _refused("NotInBucket", program, args) == (0, args[2])


def test_an_empty_slot_is_nobodys(program: Program) -> None:
    """The (0, 0) of an empty slot is in the tree and pays nobody."""
    siblings = program.bucket().tree.siblings(9)
    assert _refused("ZeroAddress", program, [0, 9, 2, f"{0:#042x}", 0, siblings]) == ()


def test_a_slot_beyond_the_bucket_is_refused(program: Program) -> None:
    """Slots end at N - 1, though the path's arithmetic would wrap."""
    for slot in (32, 33, 65535):
        assert _refused("SlotOutOfRange", program, _bent(program.claim_args(1), slot=slot)) == (
            slot,
        )


def test_the_number_of_siblings_is_exact(program: Program) -> None:
    """Exactly 3L - 1 siblings: one less, one more, none and twice as many are refused."""
    args = program.claim_args(1)
    siblings = args[5]
    for bent in (siblings[:-1], [*siblings, 0], [], siblings * 2):
        assert _refused("WrongSiblingCount", program, _bent(args, siblings=bent)) == (len(bent), 8)


def test_siblings_are_field_elements(program: Program) -> None:
    """A sibling that is congruent to the true one but not below p is refused at every level."""
    args = program.claim_args(1)
    for i, sibling in enumerate(args[5]):
        bent = [*args[5][:i], sibling + P, *args[5][i + 1 :]]
        assert _refused("NotAFieldElement", program, _bent(args, siblings=bent)) == (sibling + P,)


def test_states_that_are_not_posted_are_refused(program: Program) -> None:
    """Sequence 0, one that is not posted, and any of a bucket without batches have no root to prove
    against."""
    args = program.claim_args(1)
    for changes in (
        {"sequence": 0},
        {"sequence": 3},
        {"sequence": 18},
        {"sequence": 2**64 - 1},
        {"bucket": 4},
    ):
        bent = _bent(args, **changes)
        assert _refused("UnknownRoot", program, bent) == (bent[0], bent[2])


def test_every_posted_root_stays(program: Program) -> None:
    """The view gives the root of each sequence, as it was when it was posted."""
    distributor, roots = program.distributor, [program.bucket().root]
    for _ in range(3):
        program.post([(ACCOUNTS[0], 1)])
        roots.append(program.bucket().root)
    assert [distributor.root(0, sequence) for sequence in range(2, 6)] == roots
    assert refused("UnknownRoot", distributor.root, 0, 6) == (0, 6)


def test_nothing_is_paid_twice(program: Program, token: Any) -> None:
    """A second claim, at the same or an older state, finds nothing."""
    old = program.claim_args(1)
    program.post([(ACCOUNTS[1], 7)])
    program.distributor.claim(*program.claim_args(1), sender=program.sender)
    assert _refused("NothingToClaim", program, program.claim_args(1)) == ()
    assert _refused("NothingToClaim", program, old) == ()
    assert token.balanceOf(f"{ACCOUNTS[1]:#042x}") == 2_007


def test_a_failing_transfer_reverts(
    hostile_program: Program, hostile_token: Any, deployer: Any
) -> None:
    """Where the token refuses, by false or by reverting, nothing is booked and the claim stays
    good."""
    distributor, account = hostile_program.distributor, f"{ACCOUNTS[1]:#042x}"
    args = hostile_program.claim_args(1)
    hostile_token.setBehaviour(1, sender=deployer)
    assert refused("SafeERC20FailedOperation", distributor.claim, *args) == (
        hostile_token.address.lower(),
    )
    hostile_token.setBehaviour(0, sender=deployer)
    hostile_token.setBlocked(account, True, sender=deployer)
    with pytest.raises(AssertionError, match="no error of Distributor"):
        refused("Blocked", distributor.claim, *args)
    hostile_token.setBlocked(account, False, sender=deployer)
    distributor.claim(*args, sender=hostile_program.sender)
    assert (
        hostile_token.balanceOf(account),
        distributor.claimed(0, 1),
        distributor.claimedTotal(),
    ) == (2_000, 2_000, 2_000)


def test_a_token_cannot_reenter(
    hostile_program: Program, hostile_token: Any, deployer: Any
) -> None:
    """From within the transfer of a claim, neither another claim nor a posting goes through."""
    distributor = hostile_program.distributor
    posting = hostile_program.posting(hostile_program.plan([(ACCOUNTS[5], 9)]), prove=False)
    calls = [
        distributor.claim.encode_input(*hostile_program.claim_args(2)),
        distributor.claimMany.encode_input(*hostile_program.claim_many_args([2])),
        distributor.postBatch.encode_input(*posting.args),
    ]
    hostile_token.setBehaviour(4, sender=deployer)
    for slot, call in enumerate(calls):
        hostile_token.setCall(distributor, call, sender=deployer)
        distributor.claim(*hostile_program.claim_args(slot), sender=hostile_program.sender)
        assert not hostile_token.callSucceeded()
        assert decode_error(distributor, bytes(hostile_token.callResult())) == (
            "ReentrancyGuardReentrantCall",
        )
    assert distributor.claimedTotal() == 6_000


def test_anyone_pays_an_account_what_it_earned(program: Program, token: Any, stranger: Any) -> None:
    """A stranger's claim pays the account, all of it, and books it."""
    account = f"{ACCOUNTS[1]:#042x}"
    receipt = program.distributor.claim(*program.claim_args(1), sender=stranger)
    (event,) = receipt.decode_logs(program.distributor.Claimed)
    assert (event.bucket, event.slot, int(event.account, 16), int(event.recipient, 16)) == (
        0,
        1,
        ACCOUNTS[1],
        ACCOUNTS[1],
    )
    assert event.amount == 2_000
    assert token.balanceOf(account) == 2_000
    assert program.distributor.claimed(0, 1) == 2_000
    assert program.distributor.claimedTotal() == 2_000
    assert program.distributor.committed() == 6_000


def test_later_rewards_are_paid_later(program: Program, token: Any) -> None:
    """A repeated claim pays the difference alone, and neighbours' payments do not touch one
    another."""
    distributor, sender = program.distributor, program.sender
    for slot in (0, 1, 2):
        distributor.claim(*program.claim_args(slot), sender=sender)
    program.post([(ACCOUNTS[1], 40), (ACCOUNTS[2], 2)])
    distributor.claim(*program.claim_args(1), sender=sender)
    assert [distributor.claimed(0, slot) for slot in range(4)] == [1_000, 2_040, 3_000, 0]
    assert [token.balanceOf(f"{account:#042x}") for account in ACCOUNTS[:3]] == [
        1_000,
        2_040,
        3_000,
    ]
    assert distributor.claimedTotal() == 6_040


def test_a_batch_that_lands_meanwhile_breaks_nothing(program: Program, token: Any) -> None:
    """A path read before a batch pays, after it, what it said."""
    args = program.claim_args(1)
    program.post([(ACCOUNTS[1], 40), (ACCOUNTS[6], 1)])
    program.distributor.claim(*args, sender=program.sender)
    assert token.balanceOf(f"{ACCOUNTS[1]:#042x}") == 2_000


def test_tokens_that_return_nothing_are_paid(
    hostile_program: Program, hostile_token: Any, deployer: Any
) -> None:
    """A token whose transfer returns no value works as one that returns true."""
    hostile_token.setBehaviour(2, sender=deployer)
    hostile_program.distributor.claim(*hostile_program.claim_args(1), sender=hostile_program.sender)
    assert hostile_token.balanceOf(f"{ACCOUNTS[1]:#042x}") == 2_000


def test_a_fee_is_the_recipients_loss_alone(
    hostile_program: Program, hostile_token: Any, deployer: Any
) -> None:
    """A token that takes its fee from the recipient (not supported) leaves the books of the
    contract exact."""
    hostile_token.setBehaviour(3, sender=deployer)
    distributor = hostile_program.distributor
    before = hostile_token.balanceOf(distributor)
    distributor.claim(*hostile_program.claim_args(1), sender=hostile_program.sender)
    assert hostile_token.balanceOf(distributor) == before - 2_000
    assert distributor.claimedTotal() == 2_000
