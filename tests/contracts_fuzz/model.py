"""The Distributor as plain Python: what each call does by the protocol, and which error refuses it.
No chain, no ABI, no storage.

A call is a method of its name that takes the sender, the block's time and the call's arguments. It
returns the events, as (name, arguments...), or raises Refused and has changed nothing. Addresses
are lower-case texts, amounts in base units, times in Unix seconds.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

from eth_utils import keccak

from prover.eip712 import BatchEnvelope, Domain, claim_to_digest
from prover.field import P
from prover.tree import Tree
from tests.contracts_fuzz.node import ideal_proof, sign
from tests.contracts_fuzz.powers import (
    ERC6492_SUFFIX,
    NOBODY,
    POSTS_MAX,
    SKIPPED,
    Events,
    Powers,
    Refused,
    executable,
)


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


@dataclass(kw_only=True)
class Model(Powers):
    """`keys` gives the key behind each address that can sign: its own, or its holder's if it is a
    wallet contract."""

    domain: Domain
    levels: int
    keys: dict[str, int]
    wallet: str
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
        index, sequence, *_, valid_until = batch
        if time < self.paused_until["posting"]:
            raise Refused("PostingPaused", self.paused_until["posting"])
        bucket = self.bucket(index)
        if sequence != bucket.sequence + 1:
            raise Refused("WrongSequence", sequence, bucket.sequence + 1)
        if time > valid_until:
            raise Refused("BatchExpired", valid_until)
        self._require_roots(batch)
        self._require_attested(self.digest(batch, deltas), attestations)
        existing, openings, signals = self._statement(batch, deltas)
        if proof != ideal_proof(signals):
            raise Refused("InvalidProof")
        total = sum(delta for _, delta in existing + openings)
        if self.exceeds_limit(time, total):
            raise Refused("DailyLimitExceeded", total, self.limit.left(time))
        if self.committed + total > self.reserve:
            raise Refused("ReserveExceeded", self.committed + total, self.reserve)
        if self.committed + total >= 2**127:
            raise Refused("CommittedTooLarge", self.committed + total)
        return self._land(time, batch, deltas, existing, openings)

    def _land(
        self,
        time: int,
        batch: tuple,
        deltas: bytes,
        existing: list[tuple[int, int]],
        openings: list[tuple[int, int]],
        true: bool = True,
    ) -> Events:
        index, sequence, new_root, items_root, interactions_root, ledger_head, _ = batch
        bucket, total = self.bucket(index), sum(delta for _, delta in existing + openings)
        self.committed += total
        self.limit.take(time, total)
        for slot, delta in existing:
            account, cumulative = bucket.pairs[slot]
            bucket.pairs[slot] = (account, cumulative + delta)
        bucket.pairs += openings
        bucket.trees.append(
            Tree(self.levels, [element for pair in bucket.pairs for element in pair])
        )
        assert not true or bucket.trees[-1].root == new_root, "the test proved a false statement"
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

    def postBatches(self, sender: str, time: int, posts: list[tuple]) -> Events:
        if not 0 < len(posts) <= POSTS_MAX:
            raise Refused("TooManyBatches", len(posts))
        if time < self.paused_until["posting"]:
            raise Refused("PostingPaused", self.paused_until["posting"])
        before = copy.deepcopy((self.buckets, self.committed, self.limit))
        try:
            return self._post_or_skip(time, posts)
        except Refused:
            self.buckets, self.committed, self.limit = before
            raise

    def _post_or_skip(self, time: int, posts: list[tuple]) -> Events:
        events: Events = []
        proven = True
        for batch, struct_hash, deltas, proof, attestations in posts:
            reason = self._invalid(time, batch, struct_hash, deltas, attestations)
            if reason is None:
                self._require_roots(batch)
                existing, openings, signals = self._statement(batch, deltas)
                total = sum(delta for _, delta in existing + openings)
                reason = self._beyond(time, total)
            if reason is not None:
                events.append(("BatchSkipped", batch[0], batch[1], SKIPPED.index(reason)))
                continue
            proven = proven and proof == ideal_proof(signals)
            events += self._land(time, batch, deltas, existing, openings, true=proven)
        if all(event[0] == "BatchSkipped" for event in events):
            raise Refused("NothingPosted")
        if not proven:
            raise Refused("InvalidProof")
        return events

    def _invalid(
        self, time: int, batch: tuple, struct_hash: bytes, deltas: bytes, attestations: list
    ) -> str | None:
        """Why a batch of a set is skipped, but for what it adds up to."""
        if batch[1] != self.bucket(batch[0]).sequence + 1:
            return "WrongSequence"
        if time > batch[6]:
            return "Expired"
        if struct_hash != self.envelope(batch, deltas).struct_hash:
            return "WrongHash"
        holding, previous = 0, NOBODY
        digest = self.digest(batch, deltas)
        for attestor, signature in attestations:
            if attestor <= previous or attestor not in self.attestors:
                continue
            if signature == sign(digest, self.keys[attestor]):
                holding, previous = holding + 1, attestor
        return "TooFew" if holding < self.threshold else None

    def exceeds_limit(self, time: int, total: int) -> bool:
        """Whether a batch is more than is left of the daily limit."""
        return self.limit.exceeds(time, total)

    def _beyond(self, time: int, total: int) -> str | None:
        if self.exceeds_limit(time, total):
            return "DailyLimit"
        beyond = self.committed + total > self.reserve or self.committed + total >= 2**127
        return "Reserve" if beyond else None

    def _require_roots(self, batch: tuple) -> None:
        if batch[2] == 0:
            raise Refused("ZeroRoot")
        for root in batch[2:4]:
            if root >= P:
                raise Refused("NotAFieldElement", root)

    def _statement(
        self, batch: tuple, deltas: bytes
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[int]]:
        """(existing, openings, public signals) of a batch that is the next of its bucket."""
        bucket = self.bucket(batch[0])
        existing, openings = read_deltas(deltas, len(bucket.pairs), self.slots)
        r = int.from_bytes(self.digest(batch, deltas), "big") % P
        prints = fingerprint(existing, openings, len(bucket.pairs), self.slots, r)
        return existing, openings, [bucket.trees[-1].root, batch[2], batch[3], r, prints]

    def digest(self, batch: tuple, deltas: bytes, **changes: Any) -> bytes:
        """What attestors sign for a batch now, or with other values in the envelope."""
        domain = changes.pop("domain", self.domain)
        return self.envelope(batch, deltas, **changes).digest(domain)

    def envelope(self, batch: tuple, deltas: bytes, **changes: Any) -> BatchEnvelope:
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
        return BatchEnvelope(**(envelope | changes))

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
                raise self._not_signed(attestor, signature, Refused("InvalidAttestation", attestor))
            previous = attestor

    def _not_signed(self, signer: str, signature: bytes, otherwise: Refused) -> Refused:
        """How a signature that does not hold is refused."""
        if signer != self.wallet and signature.endswith(ERC6492_SUFFIX):
            return Refused("CounterfactualSignature", signer)
        return otherwise

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
        payout = (slot, account, cumulative)
        self._require_payout(time, index, sequence, payout, siblings)
        if sender != account:
            if time > deadline:
                raise Refused("PermissionExpired", deadline)
            digest = claim_to_digest(self.domain, index, slot, cumulative, recipient, deadline)
            if account not in self.keys or permission != sign(digest, self.keys[account]):
                raise self._not_signed(account, permission, Refused("InvalidPermission"))
        return self._claim(time, index, sequence, payout, siblings, recipient)

    def _claim(
        self,
        time: int,
        index: int,
        sequence: int,
        payout: tuple,
        siblings: list[int],
        recipient: str,
    ) -> Events:
        self._require_payout(time, index, sequence, payout, siblings)
        slot, account, cumulative = payout
        bucket = self.bucket(index)
        amount = cumulative - bucket.claimed.get(slot, 0)
        if amount <= 0:
            raise Refused("NothingToClaim")
        bucket.claimed[slot] = cumulative
        self.claimed_total += amount
        self._pay(recipient, amount)
        return [("Claimed", index, slot, account, recipient, amount)]

    def _require_payout(
        self, time: int, index: int, sequence: int, payout: tuple, siblings: list[int]
    ) -> None:
        tree = self._claimable(time, index, sequence)
        if payout[1] == NOBODY:
            raise Refused("ZeroAddress")
        self._require_path(index, sequence, tree, [payout], siblings)

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

    def executeWithdrawal(self, sender: str, time: int) -> Events:
        self._require_owner(sender)
        recipient, amount, _ = executable(self.pending_withdrawal, time)
        uncommitted = self.reserve - self.committed
        if amount > uncommitted:
            raise Refused("ExceedsUncommitted", amount, uncommitted)
        self.pending_withdrawal = None
        self._pay(recipient, amount)
        return [("Withdrawn", recipient, amount)]


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
