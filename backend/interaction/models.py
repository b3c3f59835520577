"""Deliveries as received, and the interactions that they report."""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Bytes, CreatedAt, Id, Money


class InteractionState(StrEnum):
    """Held interactions are never batched; accepted ones stand in the ledger and belong to a batch
    once `batch_id` is set. Unprovable ones stand in the ledger, and alone in a batch they could not
    be proven: an operator decides."""

    HELD = "held"
    ACCEPTED = "accepted"
    UNPROVABLE = "unprovable"


class DeliveryRow(Base):
    """The raw evidence: one signed request that brought at least one new interaction."""

    __tablename__ = "delivery"

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    partner_id: Mapped[int] = mapped_column(ForeignKey("partner.id"))
    message_id: Mapped[str]
    timestamp: Mapped[str]
    signature: Mapped[str]
    body: Mapped[Bytes]
    evidence: Mapped[Bytes]
    received_at: Mapped[CreatedAt]


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
        Index(
            "ix_interaction_open",
            "program_id",
            "id",
            postgresql_where=text("state = 'accepted' AND batch_id IS NULL"),
        ),
        Index("ix_interaction_held", "program_id", "id", postgresql_where=text("state = 'held'")),
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
    isolation: Mapped[int | None] = mapped_column(BigInteger)
    """A suspect: it was in a batch that was set aside, and is batched only with others of the same
    group."""
    created_at: Mapped[CreatedAt]
