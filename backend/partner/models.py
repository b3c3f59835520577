"""Partners and their secrets."""

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, CreatedAt, Id, Time


class Partner(Base):
    """A party that reports interactions to one program. `name` is its id in the protocol: keccak256
    of it is what is attested."""

    __tablename__ = "partner"
    __table_args__ = (UniqueConstraint("program_id", "name"),)

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    name: Mapped[str] = mapped_column(String(64))
    scheme: Mapped[str] = mapped_column(String(32), server_default="standard-webhooks")
    """How the partner signs: a name in partner/schemes/registry.py."""
    created_at: Mapped[CreatedAt]


class PartnerSecret(Base):
    """One secret of a partner under its scheme; several are valid during a rotation."""

    __tablename__ = "partner_secret"

    id: Mapped[Id]
    partner_id: Mapped[int] = mapped_column(ForeignKey("partner.id"), index=True)
    secret: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[CreatedAt]
    revoked_at: Mapped[Time | None]
    """It signs nothing from then on; may lie ahead, while its successor is being handed over."""

    def __repr__(self) -> str:
        return f"PartnerSecret(id={self.id}, partner_id={self.partner_id})"
