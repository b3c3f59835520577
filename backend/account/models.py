"""Accounts: wallet addresses with a home, one slot of one bucket, for ever."""

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, CreatedAt, Id, Money


class Account(Base):
    """Opened when its first interaction enters a batch. `claimed` and `posted` follow the chain's
    final events."""

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
    created_at: Mapped[CreatedAt]
