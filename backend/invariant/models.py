"""How far a program's history has been checked, so that what is written once is not read again on every run."""

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Time


class InvariantCheckpoint(Base):
    """One rule's mark: everything up to `position` held when it was read. `full_at`: when the rule was last checked from the beginning."""

    __tablename__ = "invariant_checkpoint"

    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"), primary_key=True)
    rule: Mapped[str] = mapped_column(String(32), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    full_at: Mapped[Time]
