"""The powers over a Distributor, as plain Python: see model.py."""

from dataclasses import dataclass, field
from typing import Any

DAY = 86_400
DELAY, LIFETIME, COOLDOWN = 7 * DAY, 14 * DAY, 30 * DAY
LONGEST = {"posting": 14 * DAY, "claims": 7 * DAY}
ATTESTORS_MAX, POSTS_MAX, FAMILIES_MAX = 64, 64, 2**16
UINT96_MAX, NO_LIMIT = 2**96 - 1, 2**256 - 1
ERC6492_SUFFIX = bytes.fromhex("6492" * 16)
SKIPPED = ("WrongSequence", "Expired", "WrongHash", "TooFew", "DailyLimit", "Reserve")
"""The reasons of `postBatches`, in the order of the contract's enum."""
NOBODY = "0x" + "00" * 20
Events = list[tuple[Any, ...]]


class Refused(Exception):
    """The call is refused by the custom error `name`; `arguments` is None where the model does not
    say them."""

    def __init__(self, name: str, *arguments: Any, unsaid: bool = False) -> None:
        super().__init__(name, *arguments)
        self.name = name
        self.arguments = None if unsaid else arguments


@dataclass
class Limit:
    """The daily limit, 0 for none. `used` is in base units times DAY."""

    per_day: int = 0
    used: int = 0
    updated_at: int = 0
    owner_set: int = 0
    lowered_at: int = 0
    pending: tuple[int, int] | None = None

    def used_at(self, time: int) -> int:
        return max(0, self.used - self.per_day * (time - self.updated_at))

    def left(self, time: int) -> int:
        if not self.per_day:
            return NO_LIMIT
        return max(0, self.per_day * DAY - self.used_at(time)) // DAY

    def exceeds(self, time: int, total: int) -> bool:
        return bool(self.per_day) and self.used_at(time) + total * DAY > self.per_day * DAY

    def take(self, time: int, total: int) -> None:
        if self.per_day:
            self.used, self.updated_at = self.used_at(time) + total * DAY, time

    def change(self, time: int, per_day: int) -> None:
        used = self.used_at(time) if self.per_day else 0
        self.per_day, self.used, self.updated_at = per_day, used, time


@dataclass(kw_only=True)
class Powers:
    """Who may change what, and what is announced."""

    owner: str
    guardian: str
    attestors: list[str]
    threshold: int
    epoch: int = 1
    families: int = 1
    limit: Limit = field(default_factory=Limit)
    pending_owner: str = NOBODY
    paused_until: dict[str, int] = field(default_factory=lambda: {"posting": 0, "claims": 0})
    pending_attestors: tuple[list[str], int, int] | None = None
    pending_withdrawal: tuple[str, int, int] | None = None

    def _require_owner(self, sender: str) -> None:
        if sender != self.owner:
            raise Refused("OwnableUnauthorizedAccount", sender)

    def transferOwnership(self, sender: str, time: int, new_owner: str) -> Events:
        self._require_owner(sender)
        self.pending_owner = new_owner
        return [("OwnershipTransferStarted", self.owner, new_owner)]

    def acceptOwnership(self, sender: str, time: int) -> Events:
        if sender != self.pending_owner:
            raise Refused("OwnableUnauthorizedAccount", sender)
        previous, self.owner, self.pending_owner = self.owner, sender, NOBODY
        return [("OwnershipTransferred", previous, sender)]

    def renounceOwnership(self, sender: str, time: int) -> Events:
        self._require_owner(sender)
        self.owner = self.pending_owner = NOBODY
        return [("OwnershipTransferred", sender, NOBODY)]

    def announceAttestors(
        self, sender: str, time: int, attestors: list[str], threshold: int
    ) -> Events:
        self._require_owner(sender)
        if len(attestors) > ATTESTORS_MAX:
            raise Refused("TooManyAttestors", len(attestors))
        if not 0 < threshold <= len(attestors):
            raise Refused("InvalidThreshold", threshold, len(attestors))
        for previous, attestor in zip([NOBODY, *attestors], attestors, strict=False):
            if attestor <= previous:
                raise Refused("AttestorsNotAscending", attestor)
        self.pending_attestors = (attestors, threshold, time + DELAY)
        return [("AttestorsAnnounced", tuple(attestors), threshold, time + DELAY)]

    def cancelAttestors(self, sender: str, time: int) -> Events:
        self._require_owner(sender)
        if self.pending_attestors is None:
            raise Refused("NothingAnnounced")
        self.pending_attestors = None
        return [("AttestorsCancelled",)]

    def executeAttestors(self, sender: str, time: int) -> Events:
        self._require_owner(sender)
        self.attestors, self.threshold, _ = executable(self.pending_attestors, time)
        self.pending_attestors = None
        self.epoch += 1
        return [("AttestorsChanged", self.epoch, tuple(self.attestors), self.threshold)]

    def raiseFamilies(self, sender: str, time: int, families: int) -> Events:
        self._require_owner(sender)
        power = families > 0 and families & (families - 1) == 0
        if not power or families > FAMILIES_MAX or families <= self.families:
            raise Refused("InvalidFamilies", families, self.families)
        self.families = families
        self.epoch += 1
        return [
            ("FamiliesChanged", families),
            ("AttestorsChanged", self.epoch, tuple(self.attestors), self.threshold),
        ]

    def announceDailyLimit(self, sender: str, time: int, per_day: int) -> Events:
        self._require_owner(sender)
        current = self.limit.per_day
        if not current or 0 < per_day <= current:
            raise Refused("NotARaise", per_day, current)
        self.limit.pending = (per_day, time + DELAY)
        return [("DailyLimitAnnounced", per_day, time + DELAY)]

    def cancelDailyLimit(self, sender: str, time: int) -> Events:
        self._require_owner(sender)
        if self.limit.pending is None:
            raise Refused("NothingAnnounced")
        self.limit.pending = None
        return [("DailyLimitCancelled",)]

    def executeDailyLimit(self, sender: str, time: int) -> Events:
        self._require_owner(sender)
        per_day, at = self.limit.pending or (0, 0)
        executable(self.limit.pending and (None, None, at), time)
        self.limit.pending = None
        self.limit.owner_set = per_day
        self.limit.change(time, per_day)
        return [("DailyLimitChanged", per_day, sender)]

    def lowerDailyLimit(self, sender: str, time: int, per_day: int) -> Events:
        limit = self.limit
        if per_day == 0 or (limit.per_day and per_day >= limit.per_day):
            raise Refused("NotALowering", per_day, limit.per_day)
        if sender != self.owner:
            self._require_guardian_may_lower(sender, time, per_day)
            limit.lowered_at = time
        else:
            limit.owner_set = per_day
        voided: Events = [("DailyLimitCancelled",)] if limit.pending else []
        limit.pending = None
        limit.change(time, per_day)
        return [*voided, ("DailyLimitChanged", per_day, sender)]

    def _require_guardian_may_lower(self, sender: str, time: int, per_day: int) -> None:
        if sender != self.guardian:
            raise Refused("NotGuardian", sender)
        least = -(-self.limit.owner_set // 4) or UINT96_MAX
        if per_day < least:
            raise Refused("BelowQuarter", per_day, least)
        if self.limit.lowered_at and time < self.limit.lowered_at + COOLDOWN:
            raise Refused("LoweringNotAllowedUntil", self.limit.lowered_at + COOLDOWN)

    def announceWithdrawal(self, sender: str, time: int, recipient: str, amount: int) -> Events:
        self._require_owner(sender)
        if recipient == NOBODY:
            raise Refused("ZeroAddress")
        self.pending_withdrawal = (recipient, amount, time + DELAY)
        return [("WithdrawalAnnounced", recipient, amount, time + DELAY)]

    def cancelWithdrawal(self, sender: str, time: int) -> Events:
        self._require_owner(sender)
        if self.pending_withdrawal is None:
            raise Refused("NothingAnnounced")
        self.pending_withdrawal = None
        return [("WithdrawalCancelled",)]

    def setGuardian(self, sender: str, time: int, guardian: str) -> Events:
        self._require_owner(sender)
        self.guardian = guardian
        return [("GuardianChanged", guardian)]

    def pausePosting(self, sender: str, time: int, duration: int) -> Events:
        return self._pause("posting", "PostingPausedUntil", sender, time, duration)

    def pauseClaims(self, sender: str, time: int, duration: int) -> Events:
        return self._pause("claims", "ClaimsPausedUntil", sender, time, duration)

    def unpausePosting(self, sender: str, time: int) -> Events:
        return self._unpause("posting", "PostingPausedUntil", sender, time)

    def unpauseClaims(self, sender: str, time: int) -> Events:
        return self._unpause("claims", "ClaimsPausedUntil", sender, time)

    def _pause(self, what: str, event: str, sender: str, time: int, duration: int) -> Events:
        if sender != self.guardian:
            raise Refused("NotGuardian", sender)
        if not 0 < duration <= LONGEST[what]:
            raise Refused("InvalidDuration", duration, LONGEST[what])
        if self.paused_until[what] and time < self.paused_until[what] + COOLDOWN:
            raise Refused("PauseNotAllowedUntil", self.paused_until[what] + COOLDOWN)
        self.paused_until[what] = time + duration
        return [(event, time + duration)]

    def _unpause(self, what: str, event: str, sender: str, time: int) -> Events:
        self._require_owner(sender)
        if time >= self.paused_until[what]:
            raise Refused("NotPaused")
        self.paused_until[what] = time
        return [(event, time)]


def executable(announced: tuple[Any, Any, int] | None, time: int) -> tuple[Any, Any, int]:
    if announced is None:
        raise Refused("NothingAnnounced")
    if time < announced[2]:
        raise Refused("TooEarly", announced[2])
    if time > announced[2] + LIFETIME:
        raise Refused("AnnouncementExpired", announced[2] + LIFETIME)
    return announced
