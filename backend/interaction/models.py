"""Deliveries as received, and the interactions that they report."""

from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Bytes, CreatedAt, Id, Money
from backend.partner.evidence import Delivery

QUARANTINE_GROUP = (
    "(quarantine_batch_id IS NULL) = (quarantine_half IS NULL) AND quarantine_half IN (0, 1)"
)
"""The database's check of the two columns of a quarantine group."""


class QuarantineGroup(NamedTuple):
    """Interactions of one half of a quarantined batch: they are batched apart from all others."""

    batch_id: int
    half: int


def quarantine_group(batch_id: int | None, half: int | None) -> QuarantineGroup | None:
    """The group that two columns name; None if both are null."""
    return None if batch_id is None or half is None else QuarantineGroup(batch_id, half)


class InteractionState(StrEnum):
    """Held interactions are never batched; accepted ones stand in the ledger and belong to a batch
    once `batch_id` is set. Unprovable ones stand in the ledger, and alone in a batch they could not
    be proven: an operator decides."""

    HELD = "held"
    ACCEPTED = "accepted"
    UNPROVABLE = "unprovable"
    REVERSED = "reversed"
    """Its reward was taken back in the ledger before any batch held it. Nothing sets it yet."""


ABOVE_DAILY_LIMIT = "above_daily_limit"
"""How an accepted interaction is told that no batch can hold: alone it is more than the program may
commit in a day. It is batched once the limit is raised."""


class StoredDelivery(Base):
    """The raw evidence: one signed request that brought at least one new interaction."""

    __tablename__ = "delivery"

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    partner_id: Mapped[int] = mapped_column(ForeignKey("partner.id"))
    scheme: Mapped[str] = mapped_column(String(32))
    method: Mapped[str] = mapped_column(String(16))
    target: Mapped[str]
    headers: Mapped[list[list[str]]] = mapped_column(ARRAY(Text, dimensions=2))
    body: Mapped[Bytes]
    evidence: Mapped[Bytes]
    received_at: Mapped[CreatedAt]

    @property
    def delivery(self) -> Delivery:
        """The request as received."""
        headers = tuple((name, value) for name, value in self.headers)
        return Delivery(self.scheme, self.method, self.target, headers, self.body)


class DeliverySalt(Base):
    """The salt of a delivery's evidence hash, apart from it: without the salt the hash says nothing
    of the evidence."""

    __tablename__ = "delivery_salt"

    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    salt: Mapped[Bytes]


class Interaction(Base):
    """One reported, rewarded act. (partner, event_id) is unique for ever: that is what makes a
    report count once."""

    __tablename__ = "interaction"
    __table_args__ = (
        UniqueConstraint("partner_id", "event_id"),
        UniqueConstraint("batch_id", "item_index"),
        CheckConstraint(
            "amount > 0 AND amount < 79228162514264337593543950336", name="amount_uint96"
        ),
        CheckConstraint("state = 'accepted' OR batch_id IS NULL", name="held_is_not_batched"),
        CheckConstraint("(state = 'held') = (held_reason IS NOT NULL)", name="held_has_reason"),
        CheckConstraint("(batch_id IS NULL) = (item_index IS NULL)", name="item_of_batch"),
        CheckConstraint(QUARANTINE_GROUP, name="quarantine_group"),
        Index(
            "ix_interaction_open",
            "program_id",
            "id",
            postgresql_where=text("state = 'accepted' AND batch_id IS NULL"),
        ),
        Index("ix_interaction_held", "program_id", "id", postgresql_where=text("state = 'held'")),
        Index(
            "ix_interaction_reversed",
            "program_id",
            "id",
            postgresql_where=text("state = 'reversed'"),
        ),
        Index(
            "ix_interaction_held_amount",
            "program_id",
            "held_reason",
            "amount",
            postgresql_where=text("state = 'held'"),
        ),
        Index(
            "ix_interaction_account_open",
            "program_id",
            "account",
            postgresql_where=text("batch_id IS NULL"),
        ),
    )

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    partner_id: Mapped[int] = mapped_column(ForeignKey("partner.id"))
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), index=True)
    position: Mapped[int]
    event_id: Mapped[str] = mapped_column(String(128))
    account: Mapped[str] = mapped_column(String(42))
    amount: Mapped[Money]
    occurred_at: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    held_reason: Mapped[str | None]
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"))
    item_index: Mapped[int | None]
    quarantine_batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"))
    quarantine_half: Mapped[int | None]
    """The quarantine group: the batch that was quarantined with the interaction in it, and the half
    of that batch, 0 or 1. An interaction of a group is batched only with others of the group."""
    created_at: Mapped[CreatedAt]
