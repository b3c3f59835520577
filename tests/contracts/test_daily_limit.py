"""The daily limit, with the real verifier and real proofs: who may change it, and what it lets
through."""

from typing import Any

import pytest

from tests.contracts.conftest import ACCOUNTS
from tests.contracts.program import Posting, Program
from tests.contracts.refusal import refused

DAY, DELAY, COOLDOWN = 86_400, 7 * 86_400, 30 * 86_400
NONE = 2**256 - 1


@pytest.fixture
def limited(
    project: Any, deployer: Any, config: dict[str, Any], token: Any, proofs: Any, chain: Any
) -> Program:
    """A fresh program that commits at most 1,000 units a day."""
    distributor = deployer.deploy(
        project.Distributor, config | {"token": token, "dailyLimit": 1_000}
    )
    token.mint(distributor, 10**9, sender=deployer)
    return Program(chain.chain_id, distributor, proofs, deployer)


def _next(program: Program, amount: int) -> Posting:
    return program.posting(program.plan([(ACCOUNTS[0], amount)]))


def _exceeded(program: Program, amount: int) -> tuple[Any, ...]:
    return refused(
        "DailyLimitExceeded", program.distributor.postBatch, *_next(program, amount).args
    )


def _raise(program: Program, per_day: int, owner: Any, chain: Any) -> Any:
    program.distributor.announceDailyLimit(per_day, sender=owner)
    chain.mine(timestamp=program.distributor.pendingDailyLimit()[1])
    return program.distributor.executeDailyLimit(sender=owner)


# Who may change it.


def test_only_the_owner_raises(limited: Program, guardian: Any, stranger: Any) -> None:
    """Neither the guardian nor a stranger announces, cancels or executes; a stranger does not
    lower."""
    distributor = limited.distributor
    calls = [
        (distributor.announceDailyLimit, 2_000),
        (distributor.cancelDailyLimit,),
        (distributor.executeDailyLimit,),
    ]
    for caller in (guardian, stranger):
        for call in calls:
            assert refused("OwnableUnauthorizedAccount", *call, sender=caller)
    assert refused("NotGuardian", distributor.lowerDailyLimit, 999, sender=stranger)


@pytest.mark.parametrize("per_day", [1_000, 999, 1])
def test_what_is_no_raise_is_not_announced(limited: Program, owner: Any, per_day: int) -> None:
    """The same limit and lower ones are no raise. No limit, 0, is above every limit."""
    announce = limited.distributor.announceDailyLimit
    assert refused("NotARaise", announce, per_day, sender=owner) == (per_day, 1_000)
    limited.distributor.announceDailyLimit(0, sender=owner)


def test_a_program_without_a_limit_cannot_raise_it(distributor: Any, owner: Any) -> None:
    """Nothing is above no limit."""
    assert distributor.dailyLimit() == (0, NONE, 0)
    for per_day in (0, 1, 2**96 - 1):
        refusal = refused("NotARaise", distributor.announceDailyLimit, per_day, sender=owner)
        assert refusal == (per_day, 0)


def test_a_raise_waits_for_the_delay(limited: Program, owner: Any, chain: Any) -> None:
    """Nothing is executed that is not announced, before the delay, after its lifetime, or when
    cancelled."""
    distributor = limited.distributor
    assert refused("NothingAnnounced", distributor.executeDailyLimit, sender=owner) == ()
    assert refused("NothingAnnounced", distributor.cancelDailyLimit, sender=owner) == ()
    distributor.announceDailyLimit(5_000, sender=owner)
    per_day, at = distributor.pendingDailyLimit()
    assert (per_day, at) == (5_000, chain.blocks.head.timestamp + DELAY)
    chain.mine(timestamp=at - 60)
    assert refused("TooEarly", distributor.executeDailyLimit, sender=owner) == (at,)
    last = at + distributor.ANNOUNCEMENT_LIFETIME()
    chain.mine(timestamp=last + 1)
    assert refused("AnnouncementExpired", distributor.executeDailyLimit, sender=owner) == (last,)
    distributor.cancelDailyLimit(sender=owner)
    assert refused("NothingAnnounced", distributor.executeDailyLimit, sender=owner) == ()
    assert distributor.dailyLimit() == (1_000, 1_000, 1_000)


def test_a_raise_is_logged_and_counts(limited: Program, owner: Any, chain: Any) -> None:
    """Announcement, change and the new limit can be read; it is what the owner set last."""
    receipt = _raise(limited, 5_000, owner, chain)
    (event,) = receipt.decode_logs(limited.distributor.DailyLimitChanged)
    assert (event.perDay, event.by) == (5_000, owner)
    assert limited.distributor.dailyLimit() == (5_000, 5_000, 5_000)
    assert limited.distributor.pendingDailyLimit() == (0, 0)


def test_the_guardian_lowers_to_a_quarter_once_in_a_while(
    limited: Program, owner: Any, guardian: Any, chain: Any
) -> None:
    """Not below a quarter of what the owner set last, rounded up, and not again for 30 days, a new
    guardian included; the owner sets anew by a raise."""
    distributor = limited.distributor
    distributor.lowerDailyLimit(999, sender=owner)  # ceil(999 / 4) is 250
    assert refused("BelowQuarter", distributor.lowerDailyLimit, 249, sender=guardian) == (249, 250)
    assert refused("NotALowering", distributor.lowerDailyLimit, 999, sender=guardian) == (999, 999)
    assert refused("NotALowering", distributor.lowerDailyLimit, 0, sender=guardian) == (0, 999)
    receipt = distributor.lowerDailyLimit(300, sender=guardian)
    (event,) = receipt.decode_logs(distributor.DailyLimitChanged)
    assert (event.perDay, event.by) == (300, guardian)
    assert distributor.dailyLimit() == (300, 300, 999)

    again = chain.blocks.head.timestamp + COOLDOWN
    distributor.setGuardian(owner, sender=owner)
    distributor.setGuardian(guardian, sender=owner)
    lower = distributor.lowerDailyLimit
    assert refused("LoweringNotAllowedUntil", lower, 250, sender=guardian) == (again,)
    chain.mine(timestamp=again)
    lower(250, sender=guardian)
    assert distributor.dailyLimit()[2] == 999


def test_the_guardian_cannot_set_a_first_limit(distributor: Any, owner: Any, guardian: Any) -> None:
    """A quarter of no limit is no limit. The owner may, at once."""
    lower = distributor.lowerDailyLimit
    assert refused("BelowQuarter", lower, 10**20, sender=guardian) == (10**20, 2**96 - 1)
    lower(10**20, sender=owner)
    assert distributor.dailyLimit() == (10**20, 10**20, 10**20)


def test_a_lowering_voids_an_announced_raise(
    limited: Program, owner: Any, guardian: Any, chain: Any
) -> None:
    """A raise that was announced before the guardian saw reason to lower is not executed."""
    distributor = limited.distributor
    distributor.announceDailyLimit(10**6, sender=owner)
    receipt = distributor.lowerDailyLimit(250, sender=guardian)
    assert receipt.decode_logs(distributor.DailyLimitCancelled)
    chain.mine(deltatime=DELAY + 1)
    assert refused("NothingAnnounced", distributor.executeDailyLimit, sender=owner) == ()


# What it lets through.


def test_a_batch_above_the_limit_does_not_land(limited: Program) -> None:
    """Not even into a bucket that is never used: one unit above is refused, the limit itself
    lands."""
    assert _exceeded(limited, 1_001) == (1_001, 1_000)
    limited.land(_next(limited, 1_000))
    assert limited.distributor.dailyLimit()[1] <= 1


def test_the_limit_refills_evenly(limited: Program, chain: Any) -> None:
    """Half a day after it was used up, half of it is left, to the unit; a refused batch uses
    nothing; a day later it is whole again and does not grow further."""
    limited.land(_next(limited, 1_000))
    start = chain.blocks.head.timestamp
    chain.mine(timestamp=start + DAY // 2)
    assert limited.distributor.dailyLimit()[1] == 500
    assert _exceeded(limited, 600)[0] == 600
    limited.land(_next(limited, 500))
    chain.mine(timestamp=chain.blocks.head.timestamp + 3 * DAY)
    assert limited.distributor.dailyLimit()[1] == 1_000


def test_small_refills_are_not_lost(limited: Program, chain: Any) -> None:
    """A unit comes back every 86.4 seconds. Posts at shorter intervals do not round it away."""
    limited.land(_next(limited, 990))
    start = chain.blocks.head.timestamp
    for i in range(1, 5):
        chain.pending_timestamp = start + 50 * i
        limited.land(_next(limited, 2))
    left = limited.distributor.dailyLimit()[1]
    now = chain.blocks.head.timestamp
    assert left == (1_000 * DAY - 998 * DAY + 1_000 * (now - start)) // DAY


def test_a_lowering_keeps_what_is_used(limited: Program, owner: Any, chain: Any) -> None:
    """Under a lower limit nothing lands until what was used has refilled at the new rate."""
    limited.land(_next(limited, 800))
    limited.distributor.lowerDailyLimit(400, sender=owner)
    assert limited.distributor.dailyLimit()[:2] == (400, 0)
    assert _exceeded(limited, 1)[1] == 0
    chain.mine(deltatime=DAY + 10)
    assert limited.distributor.dailyLimit()[1] in (0, 1)
    chain.mine(deltatime=DAY)
    assert limited.distributor.dailyLimit()[1] in (400, 399)


def test_without_a_limit_everything_lands(limited: Program, owner: Any, chain: Any) -> None:
    """Raised to none, a batch is bounded by the reserve alone; a limit that is set later starts
    unused."""
    limited.land(_next(limited, 1_000))
    _raise(limited, 0, owner, chain)
    assert limited.distributor.dailyLimit() == (0, NONE, 0)
    limited.land(_next(limited, 10**6))
    limited.distributor.lowerDailyLimit(10, sender=owner)
    assert limited.distributor.dailyLimit() == (10, 10, 10)
