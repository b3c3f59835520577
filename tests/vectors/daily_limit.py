"""Scenarios of the daily limit: who posts or changes it when, and what the contract must answer.

Each scenario starts with a limit that the owner has set. A step: `at` is in Unix seconds, `by` is
the owner, the guardian or a stranger, `do` is post (anybody's batch of `amount`), announce, cancel,
execute, lower or setGuardian, amounts are decimal strings, a `perDay` of "0" is no limit. `expect`
is "ok" or the name of the contract's error, `left` what `dailyLimit()` says at the step's time
afterwards, with 2^256 - 1 for no limit.
"""

from typing import Any

from tests.contracts_fuzz.powers import COOLDOWN, DAY, DELAY, LIFETIME, UINT96_MAX, Powers, Refused

START = 1_800_000_000
CALLS = {
    "announce": "announceDailyLimit",
    "cancel": "cancelDailyLimit",
    "execute": "executeDailyLimit",
    "lower": "lowerDailyLimit",
}
OWNER, GUARDIAN, STRANGER = "owner", "guardian", "stranger"

Step = tuple[Any, ...]
"""(seconds after the step before, do, amount or perDay, by)"""
SCENARIOS: dict[str, tuple[int, list[Step]]] = {
    "exact refill": (
        1_000,
        [
            (0, "post", 1_001),
            (0, "post", 1_000),
            (86, "post", 1),  # a unit comes back after 86.4 seconds
            (1, "post", 1),
            (86, "post", 1),
            (86, "post", 1),
            (DAY, "post", 1_000),
            (1, "post", 1),
            (10 * DAY, "post", 1_001),  # no credit is saved up
            (0, "post", 1_000),
        ],
    ),
    "a limit below a unit a second": (
        7,
        [(0, "post", 7), (12_342, "post", 1), (1, "post", 1), (3 * 12_343, "post", 3)],
    ),
    "the largest limit": (
        UINT96_MAX,
        [
            (0, "post", UINT96_MAX),
            (0, "post", 1),
            (1, "post", UINT96_MAX // DAY + 1),
            (0, "post", 1),
            (3_000 * DAY, "post", UINT96_MAX),
        ],
    ),
    "lowered below what is used": (
        1_000,
        [
            (0, "post", 800),
            (0, "lower", 400, OWNER),
            (0, "post", 1),
            (DAY, "post", 1),  # 800 used, 400 refilled: 400 of 400 are still used
            (217, "post", 1),
            (2 * DAY, "post", 400),
        ],
    ),
    "a raise after a lowering is weighed anew": (
        1_000,
        [
            (0, "announce", 5_000, OWNER),
            (DAY, "lower", 250, GUARDIAN),
            (DELAY, "execute", None, OWNER),
            (0, "announce", 1_000, OWNER),
            (DELAY - 1, "execute", None, OWNER),
            (1, "execute", None, GUARDIAN),
            (0, "execute", None, OWNER),
            (0, "post", 1_000),
        ],
    ),
    "a raise keeps what is used": (
        1_000,
        [
            (0, "announce", 2_000, OWNER),
            (DELAY - 10, "post", 1_000),
            (10, "execute", None, OWNER),
            (0, "post", 1_001),
            (0, "post", 1_000),
        ],
    ),
    "the guardian's bounds": (
        1_001,
        [
            (0, "lower", 250, GUARDIAN),
            (0, "lower", 251, STRANGER),
            (0, "lower", 0, GUARDIAN),
            (0, "lower", 1_001, GUARDIAN),
            (0, "lower", 600, GUARDIAN),
            (COOLDOWN - 1, "lower", 251, GUARDIAN),
            (0, "setGuardian", "stranger", OWNER),
            (0, "lower", 251, STRANGER),  # another guardian does not start the month anew
            (1, "lower", 250, STRANGER),  # a quarter of what the owner set, not of what is left
            (0, "lower", 251, STRANGER),
            (COOLDOWN, "lower", 250, STRANGER),
            (0, "lower", 3, OWNER),
            (0, "lower", 1, STRANGER),
        ],
    ),
    "no limit is infinite": (
        10,
        [
            (0, "announce", 10, OWNER),
            (0, "announce", 0, OWNER),
            (DELAY + LIFETIME + 1, "execute", None, OWNER),
            (0, "cancel", None, OWNER),
            (0, "cancel", None, OWNER),
            (0, "announce", 0, OWNER),
            (DELAY, "post", 10),
            (0, "execute", None, OWNER),
            (0, "post", UINT96_MAX),
            (0, "announce", UINT96_MAX, OWNER),
            (0, "lower", 5, GUARDIAN),
            (0, "lower", 5, OWNER),
            (0, "post", 5),  # nothing is used when a limit begins
        ],
    ),
}


def daily_limit_vectors() -> dict[str, Any]:
    """The scenarios, answered by the fuzzer's model of the contract."""
    return {
        name: {"perDay": str(per_day), "start": START, "steps": _answered(per_day, steps)}
        for name, (per_day, steps) in SCENARIOS.items()
    }


def _answered(per_day: int, steps: list[Step]) -> list[dict[str, Any]]:
    powers = Powers(owner=OWNER, guardian=GUARDIAN, attestors=[], threshold=1)
    powers.limit.owner_set = per_day
    powers.limit.change(START, per_day)
    at, answered = START, []
    for wait, do, *rest in steps:
        at += wait
        value, by = (*rest, STRANGER)[:2]
        expect = "ok"
        try:
            _do(powers, do, value, by, at)
        except Refused as refused:
            expect = refused.name
        step: dict[str, Any] = {"at": at, "by": by, "do": do}
        if value is not None:
            key = {"post": "amount", "setGuardian": "guardian"}.get(do, "perDay")
            step[key] = str(value)
        answered.append(step | {"expect": expect, "left": str(powers.limit.left(at))})
    return answered


def _do(powers: Powers, do: str, value: Any, by: str, at: int) -> None:
    if do == "post":
        if powers.limit.exceeds(at, value):
            raise Refused("DailyLimitExceeded", value, powers.limit.left(at))
        powers.limit.take(at, value)
    elif do == "setGuardian":
        powers.setGuardian(by, at, value)
    else:
        getattr(powers, CALLS[do])(by, at, *([] if value is None else [value]))
