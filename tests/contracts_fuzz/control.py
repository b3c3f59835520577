"""Random calls of those who fund and control a Distributor."""

import random
from collections.abc import Callable

from tests.contracts_fuzz.cast import Cast, Move
from tests.contracts_fuzz.model import Model
from tests.contracts_fuzz.powers import DAY, NOBODY


def fund(rng: random.Random, model: Model, cast: Cast, time: int) -> Move:
    """Tokens for the program."""
    amount = 2**98 if model.reserve > 2**126 else rng.choice((1, 10**18, rng.randint(1, 10**24)))
    return Move(rng.choice(cast.everybody), "mint", (model.address, amount))


def control(rng: random.Random, model: Model, cast: Cast, time: int) -> Move:
    """An owner's or guardian's call, by the right one half of the time, else by one of the others,
    former holders included."""
    function, args = rng.choice(CONTROLS)(rng, model, cast)
    right = (
        model.guardian
        if function.startswith("pause") or (function == "lowerDailyLimit" and rng.random() < 0.4)
        else model.pending_owner
        if function == "acceptOwnership"
        else model.owner
    )
    right = rng.choice(cast.owners) if right == NOBODY else right
    sender = (
        right
        if rng.random() < 0.6
        else rng.choice([*cast.owners, *cast.guardians, *cast.everybody])
    )
    return Move(sender, function, args)


def _announce_attestors(rng: random.Random, model: Model, cast: Cast) -> tuple[str, tuple]:
    chosen = sorted(rng.sample(cast.attestors, rng.randint(1, len(cast.attestors))))
    threshold = rng.randint(1, len(chosen))
    if rng.random() < 0.3:
        chosen, threshold = rng.choice(
            [
                (chosen, 0),
                (chosen, len(chosen) + 1),
                ([], 0),
                ([], 1),
                (chosen[::-1], 1),
                (chosen + chosen[-1:], 1),
                ([NOBODY, *chosen], 1),
                ([f"{i + 1:#042x}" for i in range(65)], 33),
            ]
        )
    return "announceAttestors", (chosen, threshold)


def _announce_withdrawal(rng: random.Random, model: Model, cast: Cast) -> tuple[str, tuple]:
    free = max(0, model.reserve - model.committed)
    amount = rng.choice((0, free, free + 1, rng.randint(0, free), 2**256 - 1))
    return "announceWithdrawal", (
        rng.choice([*cast.strangers, *cast.accounts, model.address, NOBODY]),
        amount,
    )


def _limits(rng: random.Random, model: Model) -> int:
    """A daily limit around the current one, or of the size of rewards."""
    now, set_last = model.limit.per_day, model.limit.owner_set
    return rng.choice(
        (0, 1, now, now + 1, max(0, now - 1), now // 2, -(-set_last // 4), set_last // 4)
        if rng.random() < 0.5 and now
        else (10**18, rng.randint(1, 10**24), 10**25, 2**96 - 1)
    ) & (2**96 - 1)


CONTROLS: list[Callable[[random.Random, Model, Cast], tuple[str, tuple]]] = [
    _announce_attestors,
    _announce_attestors,
    _announce_withdrawal,
    _announce_withdrawal,
    *[lambda rng, model, cast: ("executeAttestors", ())] * 4,
    *[lambda rng, model, cast: ("executeWithdrawal", ())] * 4,
    lambda rng, model, cast: ("announceDailyLimit", (_limits(rng, model),)),
    lambda rng, model, cast: ("announceDailyLimit", (_limits(rng, model) * rng.randint(0, 1),)),
    *[lambda rng, model, cast: ("executeDailyLimit", ())] * 3,
    lambda rng, model, cast: ("cancelDailyLimit", ()),
    *[lambda rng, model, cast: ("lowerDailyLimit", (max(model.limit.per_day - 1, 1),))] * 2,
    *[lambda rng, model, cast: ("lowerDailyLimit", (_limits(rng, model),))] * 3,
    lambda rng, model, cast: (
        "raiseFamilies",
        (rng.choice((model.families * 2, model.families * 4, rng.randint(0, 2**17))) % 2**32,),
    ),
    lambda rng, model, cast: ("cancelAttestors", ()),
    lambda rng, model, cast: ("cancelWithdrawal", ()),
    lambda rng, model, cast: ("setGuardian", (rng.choice([*cast.guardians, NOBODY]),)),
    lambda rng, model, cast: (
        "pausePosting",
        (rng.choice((1, DAY, 14 * DAY, rng.choice((0, 14 * DAY + 1, 2**64 - 1)))),),
    ),
    lambda rng, model, cast: (
        "pauseClaims",
        (rng.choice((1, DAY, 7 * DAY, rng.choice((0, 7 * DAY + 1, 2**64 - 1)))),),
    ),
    lambda rng, model, cast: ("unpausePosting", ()),
    lambda rng, model, cast: ("unpauseClaims", ()),
    lambda rng, model, cast: ("transferOwnership", (rng.choice([*cast.owners, NOBODY]),)),
    *[lambda rng, model, cast: ("acceptOwnership", ())] * 2,
    lambda rng, model, cast: (
        ("renounceOwnership", ()) if rng.random() < 0.02 else ("acceptOwnership", ())
    ),
]
