"""Payouts that the operator pushes, and the transactions that were tried for them.

The rows are written before anything is sent. A push that dies leaves them behind: its open attempts
say which transactions are under way, and the next push takes them up.
"""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, CreatedAt, Id, Money, Time


class PayoutState(StrEnum):
    """open → paid | paid_elsewhere. A payout stays open while the chain may still owe it."""

    OPEN = "open"
    PAID = "paid"
    """A final transaction of ours paid it."""
    PAID_ELSEWHERE = "paid_elsewhere"
    """The indexer has recorded claims that cover it, and none of its attempts paid it."""


class AttemptState(StrEnum):
    """open → one of the others, once the attempt's transaction is settled."""

    OPEN = "open"
    PAID = "paid"
    ALREADY_PAID = "already_paid"
    """Another transaction was first."""
    SKIPPED = "skipped"
    """The token refused the transfer."""
    REFUSED = "refused"
    """The transaction reverted, or its nonce was used by another transaction."""


class Payout(Base):
    """Everything that the chain owes to one account, up to one cumulative.

    (account, cumulative) is unique: runs that push the same claim share the row.
    """

    __tablename__ = "payout"
    __table_args__ = (
        UniqueConstraint("account_id", "cumulative"),
        CheckConstraint("state IN ('open', 'paid', 'paid_elsewhere')", name="state"),
        CheckConstraint("amount > 0 AND amount <= cumulative", name="amount"),
        Index("ix_payout_open", "program_id", "id", postgresql_where=text("state = 'open'")),
    )

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    cumulative: Mapped[Money]
    amount: Mapped[Money]
    """What was owed when the payout was first pushed."""
    state: Mapped[str] = mapped_column(String(16))
    note: Mapped[str | None]
    """Why the last call for it was not sent, or did not pay."""
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Time] = mapped_column(server_default=func.now())


class PayoutAttempt(Base):
    """One transaction that names a payout. A payout has at most one open attempt."""

    __tablename__ = "payout_attempt"
    __table_args__ = (
        UniqueConstraint("payout_id", "transaction_id"),
        CheckConstraint(
            "state IN ('open', 'paid', 'already_paid', 'skipped', 'refused')", name="state"
        ),
        CheckConstraint("(state = 'paid') = (amount IS NOT NULL)", name="paid_amount"),
        Index(
            "uq_payout_attempt_open",
            "payout_id",
            unique=True,
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_payout_attempt_transaction", "transaction_id"),
    )

    id: Mapped[Id]
    payout_id: Mapped[int] = mapped_column(ForeignKey("payout.id"))
    transaction_id: Mapped[int] = mapped_column(ForeignKey("outgoing_transaction.id"))
    state: Mapped[str] = mapped_column(String(16))
    amount: Mapped[Money | None]
    """What the transaction paid, in base units."""
    note: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Time] = mapped_column(server_default=func.now())
