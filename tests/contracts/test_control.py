"""Attestors, withdrawals, pauses and construction: who can do what, when, and who cannot."""

import json
from pathlib import Path
from typing import Any

import pytest
from ape import networks
from web3.exceptions import ContractLogicError

from tests.contracts.conftest import ACCOUNTS, FUNDING
from tests.contracts.program import ATTESTORS, Program, key
from tests.contracts.refusal import decode_error, refused

DAY = 24 * 3600
OLD = [attestor.address for attestor in ATTESTORS]
NEW = sorted((key(i).address for i in range(10, 14)), key=lambda address: int(address, 16))
RECIPIENT = key(30).address


@pytest.fixture
def delay(distributor: Any) -> int:
    return distributor.DELAY()


# Construction.


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"levels": 0}, ("InvalidLevels", 0)),
        ({"levels": 9}, ("InvalidLevels", 9)),
        ({"families": 0}, ("InvalidFamilies", 0, 0)),
        ({"families": 3}, ("InvalidFamilies", 3, 0)),
        ({"families": 2**17}, ("InvalidFamilies", 2**17, 0)),
        ({"token": f"{0:#042x}"}, ("ZeroAddress",)),
        ({"owner": f"{0:#042x}"}, ("OwnableInvalidOwner", f"{0:#042x}")),
        ({"threshold": 0}, ("InvalidThreshold", 0, 3)),
        ({"threshold": 4}, ("InvalidThreshold", 4, 3)),
        ({"attestors": OLD[::-1]}, ("AttestorsNotAscending", OLD[1].lower())),
    ],
    ids=[
        "no level",
        "too high",
        "no family",
        "no power of two",
        "too many families",
        "no token",
        "no owner",
        "m of 0",
        "m above n",
        "attestors unsorted",
    ],
)
def test_a_senseless_distributor_is_not_deployed(
    project: Any,
    distributor: Any,
    config: dict[str, Any],
    token: Any,
    changes: dict[str, Any],
    error: tuple[Any, ...],
) -> None:
    """The constructor refuses shapes, addresses and attestors that could not work."""
    data = project.Distributor.constructor.encode_input(config | {"token": token} | changes)
    code = json.loads(
        (Path(__file__).parents[2] / "build" / "contracts" / "Distributor.json").read_text()
    )["bytecode"]
    with pytest.raises(ContractLogicError) as raised:
        networks.provider.web3.eth.call({"data": code + bytes(data).hex()})
    assert (
        decode_error(distributor, bytes.fromhex(str(raised.value.data).removeprefix("0x"))) == error
    )


def test_the_log_names_the_first_attestors(distributor: Any, chain: Any) -> None:
    """The attestor set of any time follows from the log alone: deployment logs epoch 1 with the
    full set."""
    receipt = distributor.creation_metadata.receipt
    (event,) = receipt.decode_logs(distributor.AttestorsChanged)
    assert (event.epoch, list(event.attestors), event.threshold) == (1, OLD, 2)
    assert (
        distributor.attestorEpoch(),
        list(distributor.attestors()),
        distributor.threshold(),
    ) == (1, OLD, 2)


def test_views_show_what_it_was_deployed_with(
    distributor: Any,
    config: dict[str, Any],
    token: Any,
    owner: Any,
    guardian: Any,
    program: Program,
) -> None:
    """Token, verifier, hasher, shape, families, owner, guardian and EIP-712 domain can be read on
    chain."""
    assert (distributor.token(), distributor.verifier(), distributor.hasher()) == (
        token,
        config["verifier"],
        config["hasher"],
    )
    assert (distributor.levels(), distributor.slots(), distributor.families()) == (3, 32, 1)
    assert (distributor.owner(), distributor.guardian()) == (owner, guardian)
    fields, name, version, chain_id, contract, _, _ = distributor.eip712Domain()
    assert (name, version, chain_id, contract) == (
        "Guerdon Distributor",
        "2",
        program.chain_id,
        distributor,
    )
    assert bytes(fields) == b"\x0f"


# Whose call it is.


def test_only_the_owner_controls(distributor: Any, stranger: Any, guardian: Any) -> None:
    """Neither a stranger nor the guardian makes any of the owner's calls."""
    calls = [
        (distributor.announceAttestors, NEW, 3),
        (distributor.cancelAttestors,),
        (distributor.executeAttestors,),
        (distributor.announceWithdrawal, RECIPIENT, 1),
        (distributor.cancelWithdrawal,),
        (distributor.executeWithdrawal,),
        (distributor.setGuardian, RECIPIENT),
        (distributor.unpausePosting,),
        (distributor.unpauseClaims,),
        (distributor.transferOwnership, RECIPIENT),
        (distributor.renounceOwnership,),
    ]
    for caller in (stranger, guardian):
        for call in calls:
            assert refused("OwnableUnauthorizedAccount", *call, sender=caller) == (
                caller.address.lower(),
            )


def test_ownership_moves_in_two_steps(distributor: Any, owner: Any, stranger: Any) -> None:
    """A new owner owns nothing until it accepts, and nobody else can accept."""
    distributor.transferOwnership(stranger, sender=owner)
    assert distributor.owner() == owner
    assert refused("OwnableUnauthorizedAccount", distributor.acceptOwnership, sender=owner)
    distributor.acceptOwnership(sender=stranger)
    assert distributor.owner() == stranger


# Attestors.


def test_attestors_must_be_a_set_with_a_threshold(distributor: Any, owner: Any) -> None:
    """Unsorted, repeated, zero and too many attestors and impossible thresholds are refused when
    announced."""
    many = [f"{i + 1:#042x}" for i in range(65)]
    for attestors, threshold, error in [
        (NEW[::-1], 2, ("AttestorsNotAscending", NEW[2].lower())),
        ([NEW[0], NEW[0]], 2, ("AttestorsNotAscending", NEW[0].lower())),
        ([f"{0:#042x}", NEW[0]], 1, ("AttestorsNotAscending", f"{0:#042x}")),
        (NEW, 0, ("InvalidThreshold", 0, 4)),
        (NEW, 5, ("InvalidThreshold", 5, 4)),
        ([], 1, ("InvalidThreshold", 1, 0)),
        (many, 1, ("TooManyAttestors", 65)),
    ]:
        name, *arguments = error
        assert refused(
            name, distributor.announceAttestors, attestors, threshold, sender=owner
        ) == tuple(arguments)


def test_a_change_of_attestors_waits_for_the_delay(
    distributor: Any, owner: Any, chain: Any, delay: int
) -> None:
    """Nothing is executed that is not announced, before the delay, after its lifetime, or when
    cancelled."""
    assert refused("NothingAnnounced", distributor.executeAttestors, sender=owner) == ()
    assert refused("NothingAnnounced", distributor.cancelAttestors, sender=owner) == ()
    distributor.announceAttestors(NEW, 3, sender=owner)
    attestors, threshold, executable_at = distributor.pendingAttestors()
    assert (list(attestors), threshold) == (NEW, 3)
    assert executable_at == chain.blocks.head.timestamp + delay
    chain.mine(timestamp=executable_at - 60)
    assert refused("TooEarly", distributor.executeAttestors, sender=owner) == (executable_at,)
    last = executable_at + distributor.ANNOUNCEMENT_LIFETIME()
    chain.mine(timestamp=last + 1)
    assert refused("AnnouncementExpired", distributor.executeAttestors, sender=owner) == (last,)
    distributor.cancelAttestors(sender=owner)
    assert refused("NothingAnnounced", distributor.executeAttestors, sender=owner) == ()
    assert list(distributor.attestors()) == OLD


def test_a_new_announcement_starts_the_delay_anew(
    distributor: Any, owner: Any, chain: Any, delay: int
) -> None:
    """Attestors cannot be swapped for others in the last moment of a delay."""
    distributor.announceAttestors(NEW, 3, sender=owner)
    chain.mine(deltatime=delay + 1)
    distributor.announceAttestors(NEW[:2], 1, sender=owner)
    assert refused("TooEarly", distributor.executeAttestors, sender=owner)


def test_new_attestors_take_over_whole(
    program: Program, distributor: Any, owner: Any, chain: Any, delay: int
) -> None:
    """After the change the new ones attest, the old ones do not, the epoch is 2, and the log says
    it all."""
    distributor.announceAttestors(NEW, 3, sender=owner)
    program.post([(ACCOUNTS[0], 1)])
    chain.mine(deltatime=delay + 1)
    receipt = distributor.executeAttestors(sender=owner)
    (event,) = receipt.decode_logs(distributor.AttestorsChanged)
    assert (event.epoch, list(event.attestors), event.threshold) == (2, NEW, 3)
    assert (
        distributor.attestorEpoch(),
        list(distributor.attestors()),
        distributor.threshold(),
    ) == (2, NEW, 3)
    assert distributor.pendingAttestors()[2] == 0
    program.epoch = 2
    plan = program.plan([(ACCOUNTS[0], 1)])
    old = program.posting(plan, signers=ATTESTORS, prove=False)
    assert refused("UnknownAttestor", distributor.postBatch, *old.args) == (OLD[0].lower(),)
    signers = sorted((key(i) for i in range(10, 13)), key=lambda signer: int(signer.address, 16))
    program.post([(ACCOUNTS[0], 1)], signers=signers)


# Withdrawals.


def test_a_withdrawal_waits_for_the_delay(
    distributor: Any, owner: Any, chain: Any, delay: int
) -> None:
    """Nothing is withdrawn that is not announced, before the delay, after its lifetime, or when
    cancelled."""
    assert refused("NothingAnnounced", distributor.executeWithdrawal, sender=owner) == ()
    assert refused("NothingAnnounced", distributor.cancelWithdrawal, sender=owner) == ()
    assert (
        refused("ZeroAddress", distributor.announceWithdrawal, f"{0:#042x}", 5, sender=owner) == ()
    )
    distributor.announceWithdrawal(RECIPIENT, 5, sender=owner)
    recipient, amount, executable_at = distributor.pendingWithdrawal()
    assert (recipient, amount, executable_at) == (RECIPIENT, 5, chain.blocks.head.timestamp + delay)
    chain.mine(timestamp=executable_at - 60)
    assert refused("TooEarly", distributor.executeWithdrawal, sender=owner) == (executable_at,)
    last = executable_at + distributor.ANNOUNCEMENT_LIFETIME()
    chain.mine(timestamp=last + 1)
    assert refused("AnnouncementExpired", distributor.executeWithdrawal, sender=owner) == (last,)
    distributor.cancelWithdrawal(sender=owner)
    assert refused("NothingAnnounced", distributor.executeWithdrawal, sender=owner) == ()


def test_committed_tokens_cannot_be_withdrawn(
    program: Program, distributor: Any, owner: Any, chain: Any, delay: int, token: Any
) -> None:
    """Up to the last uncommitted unit and not one more, whatever was claimed; the accounts are paid
    in full afterwards."""
    free = FUNDING - 6_000
    distributor.claim(*program.claim_args(2), sender=program.sender)
    distributor.announceWithdrawal(RECIPIENT, free + 1, sender=owner)
    chain.mine(deltatime=delay + 1)
    assert refused("ExceedsUncommitted", distributor.executeWithdrawal, sender=owner) == (
        free + 1,
        free,
    )
    distributor.announceWithdrawal(RECIPIENT, free, sender=owner)
    chain.mine(deltatime=delay + 1)
    receipt = distributor.executeWithdrawal(sender=owner)
    (event,) = receipt.decode_logs(distributor.Withdrawn)
    assert (event.recipient, event.amount) == (RECIPIENT, free)
    assert token.balanceOf(distributor) == 3_000
    assert refused("NothingAnnounced", distributor.executeWithdrawal, sender=owner) == ()
    distributor.claimMany(*program.claim_many_args([0, 1]), sender=program.sender)
    assert token.balanceOf(distributor) == 0


def test_what_is_committed_meanwhile_stays(
    program: Program, distributor: Any, owner: Any, chain: Any, delay: int
) -> None:
    """A batch that lands between announcement and execution is safe from the withdrawal."""
    free = FUNDING - 6_000
    distributor.announceWithdrawal(RECIPIENT, free, sender=owner)
    program.post([(ACCOUNTS[0], 1)])
    chain.mine(deltatime=delay + 1)
    assert refused("ExceedsUncommitted", distributor.executeWithdrawal, sender=owner) == (
        free,
        free - 1,
    )


def test_a_token_cannot_reenter_a_withdrawal(
    hostile_program: Program, hostile_token: Any, deployer: Any, owner: Any, chain: Any
) -> None:
    """From within the transfer of a withdrawal no claim goes through."""
    distributor = hostile_program.distributor
    distributor.announceWithdrawal(RECIPIENT, 5, sender=owner)
    chain.mine(deltatime=distributor.DELAY() + 1)
    hostile_token.setBehaviour(4, sender=deployer)
    hostile_token.setCall(
        distributor, distributor.claim.encode_input(*hostile_program.claim_args(0)), sender=deployer
    )
    distributor.executeWithdrawal(sender=owner)
    assert decode_error(distributor, bytes(hostile_token.callResult())) == (
        "ReentrancyGuardReentrantCall",
    )
    assert hostile_token.balanceOf(RECIPIENT) == 5


# Pauses.


@pytest.mark.parametrize(("kind", "longest"), [("Posting", 14 * DAY), ("Claims", 7 * DAY)])
def test_pauses_are_the_guardians_and_short(
    distributor: Any, guardian: Any, owner: Any, stranger: Any, kind: str, longest: int
) -> None:
    """Only the guardian pauses, not even the owner, and for no longer than the longest pause."""
    pause = getattr(distributor, f"pause{kind}")
    for caller in (owner, stranger):
        assert refused("NotGuardian", pause, 60, sender=caller) == (caller.address.lower(),)
    for duration in (0, longest + 1, 2**64 - 1):
        assert refused("InvalidDuration", pause, duration, sender=guardian) == (duration, longest)
    assert refused("NotPaused", getattr(distributor, f"unpause{kind}"), sender=owner) == ()
    pause(longest, sender=guardian)


@pytest.mark.parametrize(("kind", "longest"), [("Posting", 14 * DAY), ("Claims", 7 * DAY)])
def test_no_guardian_extends_a_pause(
    distributor: Any, guardian: Any, owner: Any, stranger: Any, chain: Any, kind: str, longest: int
) -> None:
    """While a pause runs and for 30 days after its end there is no other of its kind, not by a new
    guardian either."""
    pause, ends = (
        getattr(distributor, f"pause{kind}"),
        getattr(distributor, f"{kind.lower()}PausedUntil"),
    )
    pause(longest, sender=guardian)
    until = ends()
    assert until == chain.blocks.head.timestamp + longest
    distributor.setGuardian(stranger, sender=owner)
    assert refused("NotGuardian", pause, 60, sender=guardian)
    again = until + 30 * DAY
    assert refused("PauseNotAllowedUntil", pause, 60, sender=stranger) == (again,)
    chain.mine(timestamp=until + 1)
    assert refused("PauseNotAllowedUntil", pause, 60, sender=stranger) == (again,)
    chain.mine(timestamp=again - 60)
    assert refused("PauseNotAllowedUntil", pause, 60, sender=stranger) == (again,)
    chain.mine(timestamp=again)
    pause(60, sender=stranger)


@pytest.mark.parametrize("kind", ["Posting", "Claims"])
def test_the_cooldown_runs_from_an_early_end(
    distributor: Any, guardian: Any, owner: Any, chain: Any, kind: str
) -> None:
    """When the owner ends a pause early the cooldown runs from that moment."""
    pause, ends = (
        getattr(distributor, f"pause{kind}"),
        getattr(distributor, f"{kind.lower()}PausedUntil"),
    )
    pause(5 * DAY, sender=guardian)
    getattr(distributor, f"unpause{kind}")(sender=owner)
    ended = ends()
    assert ended == chain.blocks.head.timestamp
    assert refused("PauseNotAllowedUntil", pause, 60, sender=guardian) == (ended + 30 * DAY,)
    chain.mine(timestamp=ended + 30 * DAY)
    pause(60, sender=guardian)


def test_a_posting_pause_stops_posting_alone(
    program: Program, distributor: Any, guardian: Any, chain: Any
) -> None:
    """While posting is paused batches are refused and claims are paid; afterwards batches land
    again."""
    distributor.pausePosting(14 * DAY, sender=guardian)
    until = distributor.postingPausedUntil()
    posting = program.posting(program.plan([(ACCOUNTS[0], 1)]))
    assert refused("PostingPaused", distributor.postBatch, *posting.args) == (until,)
    distributor.claim(*program.claim_args(0), sender=program.sender)
    chain.mine(timestamp=until - 60)
    assert refused("PostingPaused", distributor.postBatch, *posting.args) == (until,)
    chain.mine(timestamp=until)
    program.land(posting)


def test_a_claims_pause_stops_claims_alone(
    program: Program, distributor: Any, guardian: Any, owner: Any, accounts: Any
) -> None:
    """While claims are paused none of the three calls pays and batches land; the owner can end
    it."""
    distributor.pauseClaims(7 * DAY, sender=guardian)
    until = distributor.claimsPausedUntil()
    to_other = [*program.claim_args(0), RECIPIENT, 0, b""]
    to_other[3] = accounts[4].address
    assert refused("ClaimsPaused", distributor.claim, *program.claim_args(0)) == (until,)
    assert refused("ClaimsPaused", distributor.claimMany, *program.claim_many_args([0, 1])) == (
        until,
    )
    assert refused("ClaimsPaused", distributor.claimTo, *to_other, sender=accounts[4]) == (until,)
    program.post([(ACCOUNTS[0], 1)])
    distributor.unpauseClaims(sender=owner)
    distributor.claim(*program.claim_args(0), sender=program.sender)


def test_a_program_may_have_no_guardian(distributor: Any, owner: Any, guardian: Any) -> None:
    """With the guardian set to nobody, nobody pauses."""
    receipt = distributor.setGuardian(f"{0:#042x}", sender=owner)
    assert [event.guardian for event in receipt.decode_logs(distributor.GuardianChanged)] == [
        f"{0:#042x}"
    ]
    assert refused("NotGuardian", distributor.pausePosting, 60, sender=guardian) == (
        guardian.address.lower(),
    )
