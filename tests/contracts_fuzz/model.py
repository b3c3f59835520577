"""The Distributor as plain Python: what each call does by the protocol, and which error refuses it.
No chain, no ABI, no storage.

A call is a method of its name that takes the sender, the block's time and the call's arguments. It
returns the events, as (name, arguments...), or raises Refused and has changed nothing. Addresses
are lower-case texts, amounts in base units, times in Unix seconds.
"""

from dataclasses import dataclass, field
from typing import Any

from eth_utils import keccak

from prover.eip712 import BatchEnvelope, Domain, claim_to_digest
from prover.field import P
from prover.tree import Tree
from tests.contracts_fuzz.node import ideal_proof, sign

DAY = 86_400
DELAY, LIFETIME, COOLDOWN = 7 * DAY, 14 * DAY, 30 * DAY
LONGEST = {"posting": 14 * DAY, "claims": 7 * DAY}
ATTESTORS_MAX = 64
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
class Bucket:
    """`trees` holds the tree after every sequence, 0 included; `pairs` is (address, cumulative) of
    the slots in use."""

    trees: list[Tree]
    pairs: list[tuple[int, int]] = field(default_factory=list)
    claimed: dict[int, int] = field(default_factory=dict)

    @property
    def sequence(self) -> int:
        return len(self.trees) - 1


@dataclass
class Model:
    """`keys` gives the key behind each address that can sign: its own, or its holder's if it is a
    wallet contract."""

    domain: Domain
    levels: int
    keys: dict[str, int]
    owner: str
    guardian: str
    attestors: list[str]
    threshold: int
    epoch: int = 1
    pending_owner: str = NOBODY
    paused_until: dict[str, int] = field(default_factory=lambda: {"posting": 0, "claims": 0})
    pending_attestors: tuple[list[str], int, int] | None = None
    pending_withdrawal: tuple[str, int, int] | None = None
    committed: int = 0
    claimed_total: int = 0
    balances: dict[str, int] = field(default_factory=dict)
    buckets: dict[int, Bucket] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        return 4**self.levels // 2

    @property
    def address(self) -> str:
        return self.domain.distributor

    @property
    def reserve(self) -> int:
        """What the contract holds and has paid."""
        return self.balance(self.address) + self.claimed_total

    def balance(self, account: str) -> int:
        return self.balances.get(account, 0)

    def bucket(self, index: int) -> Bucket:
        return self.buckets.setdefault(index, Bucket([Tree(self.levels)]))

    def _pay(self, recipient: str, amount: int) -> None:
        self.balances[self.address] = self.balance(self.address) - amount
        self.balances[recipient] = self.balance(recipient) + amount

    # ----------------------------------------------------------------------------------------------
    # posting

    def mint(self, sender: str, time: int, to: str, amount: int) -> Events:
        """The token's: anyone funds the program."""
        self.balances[to] = self.balance(to) + amount
        return []

    def postBatch(
        self,
        sender: str,
        time: int,
        batch: tuple,
        deltas: bytes,
        proof: list[int],
        attestations: list,
    ) -> Events:
        index, sequence, new_root, items_root, interactions_root, ledger_head, valid_until = batch
        if time < self.paused_until["posting"]:
            raise Refused("PostingPaused", self.paused_until["posting"])
        bucket = self.bucket(index)
        if sequence != bucket.sequence + 1:
            raise Refused("WrongSequence", sequence, bucket.sequence + 1)
        if time > valid_until:
            raise Refused("BatchExpired", valid_until)
        if new_root == 0:
            raise Refused("ZeroRoot")
        for root in (new_root, items_root):
            if root >= P:
                raise Refused("NotAFieldElement", root)
        old_root = bucket.trees[-1].root
        digest = self.digest(batch, deltas)
        self._require_attested(digest, attestations)
        existing, openings = read_deltas(deltas, len(bucket.pairs), self.slots)
        r = int.from_bytes(digest, "big") % P
        prints = fingerprint(existing, openings, len(bucket.pairs), self.slots, r)
        if proof != ideal_proof([old_root, new_root, items_root, r, prints]):
            raise Refused("InvalidProof")
        total = sum(delta for _, delta in existing + openings)
        if self.committed + total > self.reserve:
            raise Refused("ReserveExceeded", self.committed + total, self.reserve)
        if self.committed + total >= 2**127:
            raise Refused("CommittedTooLarge", self.committed + total)
        self.committed += total
        for slot, delta in existing:
            account, cumulative = bucket.pairs[slot]
            bucket.pairs[slot] = (account, cumulative + delta)
        bucket.pairs += openings
        bucket.trees.append(
            Tree(self.levels, [element for pair in bucket.pairs for element in pair])
        )
        assert bucket.trees[-1].root == new_root, "the test proved a false statement"
        return [
            (
                "BatchPosted",
                index,
                sequence,
                new_root,
                items_root,
                interactions_root,
                ledger_head,
                total,
                deltas,
            )
        ]

    def digest(self, batch: tuple, deltas: bytes, **changes: Any) -> bytes:
        """What attestors sign for a batch now, or with other values in the envelope."""
        index, sequence, new_root, items_root, interactions_root, ledger_head, valid_until = batch
        envelope = {
            "bucket": index,
            "sequence": sequence,
            "old_root": self.bucket(index).trees[-1].root,
            "new_root": new_root,
            "items_root": items_root,
            "interactions_root": interactions_root,
            "ledger_head": ledger_head,
            "deltas_hash": keccak(deltas),
            "attestor_epoch": self.epoch,
            "valid_until": valid_until,
        }
        domain = changes.pop("domain", self.domain)
        return BatchEnvelope(**(envelope | changes)).digest(domain)

    def _require_attested(self, digest: bytes, attestations: list[tuple[str, bytes]]) -> None:
        if len(attestations) < self.threshold:
            raise Refused("TooFewAttestations", len(attestations), self.threshold)
        previous = NOBODY
        for attestor, signature in attestations:
            if attestor <= previous:
                raise Refused("AttestorsNotAscending", attestor)
            if attestor not in self.attestors:
                raise Refused("UnknownAttestor", attestor)
            if signature != sign(digest, self.keys[attestor]):
                raise Refused("InvalidAttestation", attestor)
            previous = attestor

    # ----------------------------------------------------------------------------------------------
    # claims

    def claim(
        self,
        sender: str,
        time: int,
        index: int,
        slot: int,
        sequence: int,
        account: str,
        cumulative: int,
        siblings: list[int],
    ) -> Events:
        return self._claim(time, index, sequence, (slot, account, cumulative), siblings, account)

    def claimTo(
        self,
        sender: str,
        time: int,
        index: int,
        slot: int,
        sequence: int,
        account: str,
        cumulative: int,
        siblings: list[int],
        recipient: str,
        deadline: int,
        permission: bytes,
    ) -> Events:
        if recipient == NOBODY:
            raise Refused("ZeroAddress")
        if sender != account:
            if time > deadline:
                raise Refused("PermissionExpired", deadline)
            digest = claim_to_digest(self.domain, index, slot, cumulative, recipient, deadline)
            if account not in self.keys or permission != sign(digest, self.keys[account]):
                raise Refused("InvalidPermission")
        return self._claim(time, index, sequence, (slot, account, cumulative), siblings, recipient)

    def _claim(
        self,
        time: int,
        index: int,
        sequence: int,
        payout: tuple,
        siblings: list[int],
        recipient: str,
    ) -> Events:
        tree = self._claimable(time, index, sequence)
        slot, account, cumulative = payout
        if account == NOBODY:
            raise Refused("ZeroAddress")
        self._require_path(index, sequence, tree, [payout], siblings)
        bucket = self.bucket(index)
        amount = cumulative - bucket.claimed.get(slot, 0)
        if amount <= 0:
            raise Refused("NothingToClaim")
        bucket.claimed[slot] = cumulative
        self.claimed_total += amount
        self._pay(recipient, amount)
        return [("Claimed", index, slot, account, recipient, amount)]

    def claimMany(
        self,
        sender: str,
        time: int,
        index: int,
        sequence: int,
        payouts: list[tuple],
        siblings: list[int],
    ) -> Events:
        tree = self._claimable(time, index, sequence)
        self._require_path(index, sequence, tree, payouts, siblings)
        if any(account == NOBODY for _, account, _ in payouts):
            raise Refused("ZeroAddress")
        bucket, events = self.bucket(index), []
        for slot, account, cumulative in payouts:
            amount = cumulative - bucket.claimed.get(slot, 0)
            if amount <= 0:
                events.append(("PayoutSkipped", index, slot, account, 0))
                continue
            bucket.claimed[slot] = cumulative
            self.claimed_total += amount
            self._pay(account, amount)
            events.append(("Claimed", index, slot, account, account, amount))
        return events

    def _claimable(self, time: int, index: int, sequence: int) -> Tree:
        if time < self.paused_until["claims"]:
            raise Refused("ClaimsPaused", self.paused_until["claims"])
        if not self.posted(index, sequence):
            raise Refused("UnknownRoot", index, sequence)
        return self.bucket(index).trees[sequence]

    def posted(self, index: int, sequence: int) -> bool:
        """Whether a claim can be made against that state."""
        return 0 < sequence <= self.bucket(index).sequence

    def _require_path(
        self, index: int, sequence: int, tree: Tree, payouts: list[tuple], siblings: list[int]
    ) -> None:
        if not payouts:
            raise Refused("NoPayouts")
        numbers = [slot for slot, _, _ in payouts]
        if any(slot >= self.slots for slot in numbers):
            raise Refused("SlotOutOfRange", unsaid=True)
        if numbers != sorted(set(numbers)):
            raise Refused("SlotsNotAscending", unsaid=True)
        expected = tree.multi_siblings(numbers)
        if len(siblings) != len(expected):
            raise Refused("WrongSiblingCount", unsaid=True)
        for sibling in siblings:
            if sibling >= P:
                raise Refused("NotAFieldElement", sibling)
        if siblings != expected or any(
            tree.pair(slot) != (int(account, 16), paid) for slot, account, paid in payouts
        ):
            raise Refused("NotInBucket", index, sequence)

    # ----------------------------------------------------------------------------------------------
    # control

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
        self.attestors, self.threshold, _ = _executable(self.pending_attestors, time)
        self.pending_attestors = None
        self.epoch += 1
        return [("AttestorsChanged", self.epoch, tuple(self.attestors), self.threshold)]

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

    def executeWithdrawal(self, sender: str, time: int) -> Events:
        self._require_owner(sender)
        recipient, amount, _ = _executable(self.pending_withdrawal, time)
        uncommitted = self.reserve - self.committed
        if amount > uncommitted:
            raise Refused("ExceedsUncommitted", amount, uncommitted)
        self.pending_withdrawal = None
        self._pay(recipient, amount)
        return [("Withdrawn", recipient, amount)]

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


def _executable(announced: tuple[Any, Any, int] | None, time: int) -> tuple[Any, Any, int]:
    if announced is None:
        raise Refused("NothingAnnounced")
    if time < announced[2]:
        raise Refused("TooEarly", announced[2])
    if time > announced[2] + LIFETIME:
        raise Refused("AnnouncementExpired", announced[2] + LIFETIME)
    return announced


def read_deltas(
    data: bytes, opened: int, slots: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """((slot, delta) of existing accounts, (address, delta) of openings). The contract reads
    records from the last to the first."""
    count = int.from_bytes(data[:2], "big")
    existing, rest = data[2 : 2 + 14 * count], data[2 + 14 * count :]
    if len(data) < 3 or len(existing) < 14 * count or len(rest) % 32:
        raise Refused("DeltasLength")
    openings = [
        (int.from_bytes(rest[i : i + 20], "big"), int.from_bytes(rest[i + 20 : i + 32], "big"))
        for i in range(0, len(rest), 32)
    ]
    if opened + len(openings) > slots:
        raise Refused("BucketFull")
    for slot, (address, delta) in reversed(list(enumerate(openings, start=opened))):
        if address == 0:
            raise Refused("ZeroAddress")
        if delta == 0:
            raise Refused("ZeroDelta", slot)
    found = [
        (
            int.from_bytes(existing[i : i + 2], "big"),
            int.from_bytes(existing[i + 2 : i + 14], "big"),
        )
        for i in range(0, len(existing), 14)
    ]
    above = opened
    for slot, delta in reversed(found):
        if slot >= opened:
            raise Refused("SlotNotOpen", slot)
        if slot >= above:
            raise Refused("SlotsNotAscending", slot)
        if delta == 0:
            raise Refused("ZeroDelta", slot)
        above = slot
    return found, openings


def fingerprint(
    existing: list[tuple[int, int]],
    openings: list[tuple[int, int]],
    opened: int,
    slots: int,
    r: int,
) -> int:
    """sum of delta_s * r^s and, over openings, of address_s * r^(slots + s), mod p."""
    total = sum(delta * pow(r, slot, P) for slot, delta in existing)
    for slot, (address, delta) in enumerate(openings, start=opened):
        total += delta * pow(r, slot, P) + address * pow(r, slots + slot, P)
    return total % P
