"""The rules of PROTOCOL section 6, one function each. Pure: what they need comes in, what they find
wrong goes out as an error."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.attestor.errors import AlreadyLanded, Refused, StateBehind
from backend.attestor.partner_keys import PartnerKeys
from backend.partner.evidence import Delivery
from backend.partner.report import BodyError, Report, ReportError
from backend.partner.schemes.base import SignatureError
from backend.partner.schemes.registry import scheme
from prover.circuit import Instance
from prover.eip712 import TypedInteraction, event_hash, partner_hash
from prover.merkle import InteractionsTree, Leaf
from prover.state import ProgramState, StateError, family
from prover.tree import Tree
from prover.wire import UINT96_MAX, Deltas


@dataclass(frozen=True)
class SaltedDelivery:
    """A delivery as the coordinator sent it: the partner's id, the request as received, the 32-byte
    salt of its hash."""

    partner: str
    delivery: Delivery
    salt: bytes


@dataclass(frozen=True)
class ItemClaim:
    """Where an item comes from, position `position` of delivery `delivery`, and its amount in base
    units."""

    delivery: int
    position: int
    amount: int


@dataclass(frozen=True)
class Authenticated:
    """A delivery whose signature holds: 32-byte hashes of partner and evidence, and its parsed
    items."""

    partner: bytes
    evidence: bytes
    reports: tuple[Report | ReportError, ...]


@dataclass(frozen=True)
class DerivedItem:
    """One item: the interaction behind it and what of it is paid out."""

    interaction: TypedInteraction
    amount: int

    @property
    def address(self) -> int:
        return int(self.interaction.account, 16)


def authenticate(
    partner_keys: Mapping[str, PartnerKeys], deliveries: Sequence[SaltedDelivery]
) -> list[Authenticated]:
    """Every delivery is of a known partner, in the partner's scheme, signed with one of its keys.

    How long ago it was signed does not matter.
    """
    found = []
    for i, salted in enumerate(deliveries):
        where = f"deliveries.{i}"
        keys = partner_keys.get(salted.partner)
        if keys is None:
            raise Refused(
                "unknown_partner",
                "the attestor holds no key of this partner for the program",
                item=i,
                field=f"{where}.partner",
            )
        try:
            with_scheme = scheme(keys.scheme)
            with_scheme.authenticate(keys.secrets, salted.delivery, None)
            reports = with_scheme.parse(salted.delivery)
        except SignatureError as error:
            raise Refused("signature", str(error), item=i, field=f"{where}.{error.field}") from None
        except BodyError as error:
            raise Refused(
                "body",
                "the attestor's parser cannot read the body",
                item=i,
                field=f"{where}.{error.field}",
            ) from None
        found.append(
            Authenticated(
                partner_hash(salted.partner), salted.delivery.hash(salted.salt), tuple(reports)
            )
        )
    return found


def derive_items(
    program: bytes, deliveries: Sequence[Authenticated], items: Sequence[ItemClaim]
) -> list[DerivedItem]:
    """Every field of every interaction follows from the evidence. No reversals exist, so no debt
    lowers an item."""
    derived = []
    for j, item in enumerate(items):
        if item.delivery >= len(deliveries):
            raise Refused("no_such_delivery", f"delivery: expected below {len(deliveries)}", item=j)
        delivery = deliveries[item.delivery]
        if item.position >= len(delivery.reports):
            raise Refused(
                "no_such_position", f"position: expected below {len(delivery.reports)}", item=j
            )
        report = delivery.reports[item.position]
        if isinstance(report, ReportError):
            raise Refused(
                "invalid_report", f"what was reported breaks a rule: {report.field}", item=j
            )
        require_amount(j, report.amount)
        if item.amount != report.amount:
            raise Refused(
                "amount",
                "differs from the amount that the partner signed, and no debt is on record",
                item=j,
            )
        event = event_hash(report.event_id)
        interaction = TypedInteraction(
            program,
            delivery.partner,
            event,
            report.account,
            report.amount,
            report.occurred_at,
            delivery.evidence,
        )
        derived.append(DerivedItem(interaction, item.amount))
    return derived


def require_amount(index: int, amount: int) -> None:
    """1 .. 2^96-1: the circuit relies on it."""
    if not 0 < amount <= UINT96_MAX:
        raise Refused("amount", "expected 1 .. 2^96-1", item=index)


def require_size(instance: Instance, items: Sequence[object]) -> None:
    """At least one item, and no more than the circuit takes."""
    if not 1 <= len(items) <= instance.items:
        raise Refused(
            "items", f"expected 1 to {instance.items} items, got {len(items)}", field="items"
        )


def require_distinct(items: Sequence[DerivedItem]) -> None:
    """No (partner, eventId) twice in the batch."""
    first: dict[tuple[bytes, bytes], int] = {}
    for j, item in enumerate(items):
        key = (item.interaction.partner, item.interaction.event_id)
        if key in first:
            raise Refused("repeated_event", f"the same event as item {first[key]}", item=j)
        first[key] = j


def require_next(state: ProgramState, bucket: int, sequence: int) -> None:
    """The batch is the next one of its bucket on the final chain."""
    stored = state.buckets[bucket].sequence if bucket in state.buckets else 0
    if sequence <= stored:
        raise AlreadyLanded(f"bucket {bucket} is at sequence {stored}", field="sequence")
    if sequence > stored + 1:
        raise StateBehind(
            f"bucket {bucket} is at sequence {stored} on the final chain", field="sequence"
        )


def require_epoch(chain_epoch: int, epoch: int) -> None:
    """The attestor set that is signed for is the one of the final chain."""
    if epoch > chain_epoch:
        raise StateBehind(
            f"the final chain is at attestor epoch {chain_epoch}", field="attestor_epoch"
        )
    if epoch < chain_epoch:
        raise Refused(
            "attestor_epoch",
            f"the chain is at attestor epoch {chain_epoch}",
            field="attestor_epoch",
        )


def require_validity(
    valid_until: int, head_timestamp: int, now: int, validity_seconds_max: int
) -> None:
    """Not expired at the chain's head, and not valid for longer than allowed: while it is, nothing
    else is signed in its place."""
    if valid_until <= head_timestamp:
        raise Refused(
            "expired",
            f"expected later than the chain's head ({head_timestamp})",
            field="valid_until",
        )
    # An idle local chain's head is old, so the clock counts as well.
    latest = max(head_timestamp, now) + validity_seconds_max
    if valid_until > latest:
        raise Refused(
            "validity",
            f"expected at most {latest}, {validity_seconds_max} seconds ahead",
            field="valid_until",
        )


def require_homes(state: ProgramState, bucket: int, items: Sequence[DerivedItem]) -> list[int]:
    """Every account is in its home bucket, opened once. Returns the addresses that the batch opens,
    in order of first appearance.

    A lower bucket that is not full yet may fill, hence StateBehind.
    """
    opening: dict[int, int] = {}
    for j, item in enumerate(items):
        address = item.address
        if address in opening:
            continue
        home = state.home.get(address)
        if home is not None:
            if home[0] != bucket:
                raise Refused("home", f"the account lives in bucket {home[0]}", item=j)
            continue
        if bucket % state.families != family(address, state.families):
            raise Refused("home", f"the account is not of the family of bucket {bucket}", item=j)
        for lower in range(bucket % state.families, bucket, state.families):
            if lower not in state.buckets or not state.buckets[lower].full:
                raise StateBehind(
                    f"item {j} opens an account, and bucket {lower} has a free slot on the "
                    "final chain",
                    field="items",
                )
        try:
            state.require_home(bucket, address, len(opening))
        except StateError:
            raise Refused(
                "home", f"bucket {bucket} has no free slot for the account", item=j
            ) from None
        opening[address] = j
    return list(opening)


def plan_deltas(
    state: ProgramState, bucket: int, items: Sequence[DerivedItem], opening: Sequence[int]
) -> Deltas:
    """What the items add to each slot. Each sum must fit the format."""
    sums: dict[int, int] = {}
    for j, item in enumerate(items):
        sums[item.address] = sums.get(item.address, 0) + item.amount
        if sums[item.address] > UINT96_MAX:
            raise Refused("amount", "the account's sum in this batch does not fit 96 bits", item=j)
    existing = sorted(
        (state.home[address][1], amount)
        for address, amount in sums.items()
        if address not in set(opening)
    )
    return Deltas(tuple(existing), tuple((address, sums[address]) for address in opening))


def next_root(state: ProgramState, bucket: int, deltas: bytes) -> int:
    """The bucket's root after `deltas`; the state itself is left alone."""
    after = copy.deepcopy(state.bucket(bucket))
    after.apply(after.sequence + 1, deltas)
    return after.root


def items_root(instance: Instance, items: Sequence[DerivedItem]) -> int:
    """Root of the items tree."""
    return Tree(
        instance.item_levels, [element for item in items for element in (item.address, item.amount)]
    ).root


def interactions_root(items: Sequence[DerivedItem]) -> bytes:
    """Root of the StandardMerkleTree over the items' leaves."""
    leaves = [
        Leaf(j, item.interaction.hash, item.interaction.account, item.amount)
        for j, item in enumerate(items)
    ]
    return InteractionsTree(leaves).root


def require_equal(field: str, expected: object, given: object) -> None:
    """A value that the request states is the one that follows."""
    if expected != given:
        raise Refused(field, "not what follows from the evidence and the final chain", field=field)
