"""The attestations of batches: who has signed which digest, and whose signature failed a post."""

from sqlalchemy import ForeignKey, String, func
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Bytes, CreatedAt, Time


class Attestation(Base):
    """One attestor's signature of one digest of a batch."""

    __tablename__ = "attestation"

    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True)
    attestor: Mapped[str] = mapped_column(String(42), primary_key=True)
    digest: Mapped[Bytes]
    signature: Mapped[Bytes]
    created_at: Mapped[CreatedAt]


class AttestorFault(Base):
    """How many posts of a program an attestor made revert. A quorum takes such attestors last."""

    __tablename__ = "attestor_fault"

    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"), primary_key=True)
    attestor: Mapped[str] = mapped_column(String(42), primary_key=True)
    refused: Mapped[int] = mapped_column(default=0)
    """Posts in which the contract named it: it refused a signature that it had accepted."""
    suspected: Mapped[int] = mapped_column(default=0)
    """Posts that reverted, or could not be simulated, and nobody can say because of whom: it was in
    the quorum."""
    reason: Mapped[str | None]
    """What the newest of them reverted with."""
    updated_at: Mapped[Time] = mapped_column(server_default=func.now())
