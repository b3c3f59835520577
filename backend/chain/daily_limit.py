"""The daily limit as the contract counts it: a leaky bucket, in exact integers.

Amounts are base units, times are Unix seconds by the chain's clock. What is used is counted in base
units times the seconds of a day: then a second refills exactly `per_day`, and nothing is rounded.
Within `t` seconds at most `per_day * (1 + t / DAY)` base units are committed.
"""

from dataclasses import dataclass

DAY = 86_400
NO_LIMIT = 2**256 - 1
"""What `dailyLimit()` says is left where there is no limit."""


@dataclass(frozen=True, slots=True)
class LeakyBucket:
    """The limit in force, 0 for none, and what was used of it at `updated_at`, in base units times
    DAY."""

    per_day: int = 0
    used: int = 0
    updated_at: int = 0

    def used_at(self, time: int) -> int:
        """What is used at `time`, in base units times DAY. A time before `updated_at` refills
        nothing."""
        return max(0, self.used - self.per_day * max(0, time - self.updated_at))

    def left(self, time: int) -> int:
        """Base units that can be committed at `time`; NO_LIMIT without a limit."""
        if not self.per_day:
            return NO_LIMIT
        # After a lowering more may be used than the limit allows.
        return max(0, self.per_day * DAY - self.used_at(time)) // DAY

    def takes(self, total: int, time: int) -> bool:
        """Whether `total` can be committed at `time`."""
        return total <= self.left(time)

    def fits_at(self, total: int, time: int) -> int | None:
        """The first second, from `time` on, at which `total` can be committed if nothing else is;
        None if the limit is below it."""
        if self.takes(total, time):
            return time
        if total > self.per_day:
            return None
        too_much = self.used_at(time) + (total - self.per_day) * DAY
        return max(time, self.updated_at) - (-too_much // self.per_day)

    def post(self, total: int, time: int) -> "LeakyBucket":
        """After `total` was committed at `time`, whether or not the limit takes it."""
        if not self.per_day:
            return self
        return LeakyBucket(
            self.per_day, self.used_at(time) + total * DAY, max(time, self.updated_at)
        )

    def change(self, per_day: int, time: int) -> "LeakyBucket":
        """Under another limit from `time` on: what is used then stays used; without a limit nothing
        is."""
        used = self.used_at(time) if self.per_day and per_day else 0
        return LeakyBucket(per_day, used, max(time, self.updated_at))
