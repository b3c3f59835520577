"""How far a program's history has been checked: rows that are written once are read once."""

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Time


class InvariantCheckpoint(Base):
    """All rules held up to these ids and to this block of the ledger.

    A checkpoint proves nothing against a writer with access to this database. The check from the
    beginning does; the last one was made at `full_at`.
    """

    __tablename__ = "invariant_checkpoint"

    program_id: Mapped[int] = mapped_column(
        ForeignKey("program.id"), primary_key=True, autoincrement=False
    )
    interaction_id: Mapped[int] = mapped_column(BigInteger)
    transaction_id: Mapped[int] = mapped_column(BigInteger)
    batch_id: Mapped[int] = mapped_column(BigInteger)
    block_height: Mapped[int]
    full_at: Mapped[Time]
