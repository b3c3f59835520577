"""Finding and making partners."""

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import Conflict, Invalid, NotFound
from backend.partner.models import Partner, PartnerSecret
from backend.partner.scheme import require_secret

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def get(session: Session, program_id: int, name: str) -> Partner:
    """The partner. Raises NotFound."""
    # What cannot be a name is not asked for: PostgreSQL refuses a text with a NUL in it.
    possible = NAME.fullmatch(name)
    partner = session.scalar(select(Partner).where(Partner.program_id == program_id, Partner.name == name)) if possible else None
    if partner is None:
        raise NotFound(f"no partner called {name!r} in this program", "partner", "unknown_partner")
    return partner


def secrets(session: Session, partner_id: int) -> list[str]:
    """The secrets in force, newest first."""
    query = (
        select(PartnerSecret.secret)
        .where(PartnerSecret.partner_id == partner_id, PartnerSecret.revoked_at.is_(None))
        .order_by(PartnerSecret.id.desc())
    )
    return list(session.scalars(query))


def add(session: Session, program_id: int, name: str, secret: str) -> Partner:
    """A new partner with its first secret. Raises Invalid, Conflict."""
    if not NAME.fullmatch(name):
        raise Invalid("expected 1 to 64 of a-z, 0-9, dot, dash and underscore, starting with a letter or digit", "partner")
    try:
        require_secret(secret)
    except ValueError as error:
        raise Invalid(str(error), "secret") from error
    if session.scalar(select(Partner.id).where(Partner.program_id == program_id, Partner.name == name)):
        raise Conflict(f"partner {name!r} exists already", "partner")
    partner = Partner(program_id=program_id, name=name)
    session.add(partner)
    session.flush()
    session.add(PartnerSecret(partner_id=partner.id, secret=secret))
    return partner
