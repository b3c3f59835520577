"""Accounts and their claims.

An account is a wallet address with one slot of one bucket. The slot never changes.
"""

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, CreatedAt, Id, Money


class Account(Base):
    """Opened by its first interaction in a batch. Final events move `posted` and `claimed`."""

    __tablename__ = "account"
    __table_args__ = (
        UniqueConstraint("program_id", "address"),
        UniqueConstraint("program_id", "bucket", "slot"),
    )

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    address: Mapped[str] = mapped_column(String(42))
    bucket: Mapped[int]
    slot: Mapped[int]
    posted: Mapped[Money] = mapped_column(default=0)
    """Cumulative of the newest final batch: what the chain says the account has earned."""
    claimed: Mapped[Money] = mapped_column(default=0)
    """Sum of its rows in `claim`."""
    created_at: Mapped[CreatedAt]


class Claim(Base):
    """One final Claimed event. The ledger's unique reference makes sure that it is recorded once.

    Block and log index are those at which the event was recorded. After a reorg, another claim may
    be there.
    """

    __tablename__ = "claim"
    __table_args__ = (UniqueConstraint("program_id", "tx_hash", "log_index"),)

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    recipient: Mapped[str] = mapped_column(String(42))
    amount: Mapped[Money]
    tx_hash: Mapped[str] = mapped_column(String(66))
    block_number: Mapped[int]
    log_index: Mapped[int]
