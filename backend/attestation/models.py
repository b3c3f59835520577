"""The attestations of batches: who has signed which digest."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Bytes, CreatedAt


class Attestation(Base):
    """One attestor's signature of one digest of a batch."""

    __tablename__ = "attestation"

    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True)
    attestor: Mapped[str] = mapped_column(String(42), primary_key=True)
    digest: Mapped[Bytes]
    signature: Mapped[Bytes]
    created_at: Mapped[CreatedAt]
