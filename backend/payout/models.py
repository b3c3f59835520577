"""Claims that the chain has paid."""

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Id, Money


class Claim(Base):
    """One final Claimed event. That it is booked once is the ledger's doing: its reference is
    unique. Block and log index are those at which it was booked; after a reorg another claim may
    stand there."""

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
