"""How far a program's history has been checked, so that what is written once is not read again on
every run."""

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Time


class InvariantCheckpoint(Base):
    """Up to which ids, and to which block of the ledger, all rules held when they were read. They
    hold nothing against whoever can write to this database: that is what the check from the
    beginning is for, which was last made at `full_at`."""

    __tablename__ = "invariant_checkpoint"

    program_id: Mapped[int] = mapped_column(
        ForeignKey("program.id"), primary_key=True, autoincrement=False
    )
    interaction_id: Mapped[int] = mapped_column(BigInteger)
    transaction_id: Mapped[int] = mapped_column(BigInteger)
    batch_id: Mapped[int] = mapped_column(BigInteger)
    block_height: Mapped[int]
    full_at: Mapped[Time]
