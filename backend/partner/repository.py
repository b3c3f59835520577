"""Finding and making partners."""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, not_, or_, select, update
from sqlalchemy.orm import Session

from backend.errors import Conflict, Invalid, NotFound
from backend.kit.names import is_name, require_name
from backend.partner.models import Partner, PartnerSecret
from backend.partner.schemes.registry import scheme as find_scheme


def get(session: Session, program_id: int, name: str) -> Partner:
    """The partner. Raises NotFound."""
    # What cannot be a name is not asked for: PostgreSQL refuses a text with a NUL in it.
    possible = is_name(name)
    partner = (
        session.scalar(
            select(Partner).where(Partner.program_id == program_id, Partner.name == name)
        )
        if possible
        else None
    )
    if partner is None:
        raise NotFound(f"no partner called {name!r} in this program", "partner", "unknown_partner")
    return partner


class Listed(NamedTuple):
    """A partner, and its secrets that are in force."""

    name: str
    scheme: str
    created_at: datetime
    secrets: int
    ends_at: datetime | None
    """When the first of them ends, if one does."""


def listed(session: Session, program_id: int) -> list[Listed]:
    """A program's partners by name."""
    query = (
        select(
            Partner.name,
            Partner.scheme,
            Partner.created_at,
            func.count(PartnerSecret.id),
            func.min(PartnerSecret.revoked_at),
        )
        .outerjoin(PartnerSecret, (PartnerSecret.partner_id == Partner.id) & _in_force())
        .where(Partner.program_id == program_id)
        .group_by(Partner.id)
        .order_by(Partner.name)
    )
    return [Listed(*row) for row in session.execute(query)]


def secrets(session: Session, partner_id: int) -> list[str]:
    """The secrets in force, newest first."""
    query = select(PartnerSecret.secret).where(PartnerSecret.partner_id == partner_id, _in_force())
    return list(session.scalars(query.order_by(PartnerSecret.id.desc())))


def revoked_secrets(session: Session, partner_id: int) -> list[str]:
    """The secrets that have ended, newest first."""
    query = select(PartnerSecret.secret).where(
        PartnerSecret.partner_id == partner_id, not_(_in_force())
    )
    return list(session.scalars(query.order_by(PartnerSecret.id.desc())))


def _in_force() -> ColumnElement[bool]:
    return or_(PartnerSecret.revoked_at.is_(None), PartnerSecret.revoked_at > func.now())


def add(
    session: Session, program_id: int, name: str, secret: str, scheme: str = "standard-webhooks"
) -> Partner:
    """Add a partner with its first secret. Raises Invalid, Conflict."""
    require_name(name, "partner")
    _require_secret(scheme, secret)
    if session.scalar(
        select(Partner.id).where(Partner.program_id == program_id, Partner.name == name)
    ):
        raise Conflict(f"partner {name!r} exists already", "partner")
    partner = Partner(program_id=program_id, name=name, scheme=scheme)
    session.add(partner)
    session.flush()
    session.add(PartnerSecret(partner_id=partner.id, secret=secret))
    return partner


def rotate(session: Session, partner: Partner, secret: str, overlap_seconds: int) -> None:
    """Give the partner a new secret; those in force stay so for `overlap_seconds`, or less if they
    end before. Raises Invalid, Conflict."""
    _require_secret(partner.scheme, secret)
    # One after another: two that rotate at once would each leave the other's secret in force.
    session.scalars(
        select(Partner.id).where(Partner.id == partner.id).with_for_update(key_share=True)
    ).one()
    if session.scalar(
        select(PartnerSecret.id).where(
            PartnerSecret.partner_id == partner.id, PartnerSecret.secret == secret
        )
    ):
        raise Conflict(f"partner {partner.name!r} has or had this secret already", "secret")
    _revoke(session, partner, overlap_seconds)
    session.add(PartnerSecret(partner_id=partner.id, secret=secret))
    session.flush()


def revoke(session: Session, partner: Partner) -> int:
    """End all of the partner's secrets now: it can report nothing until it gets another. Returns
    how many were in force."""
    return _revoke(session, partner, 0)


def _revoke(session: Session, partner: Partner, after_seconds: int) -> int:
    end = func.least(PartnerSecret.revoked_at, func.now() + timedelta(seconds=after_seconds))
    mine = update(PartnerSecret).where(PartnerSecret.partner_id == partner.id, _in_force())
    ended = mine.values(revoked_at=end).returning(PartnerSecret.id)
    options = {"synchronize_session": False}
    return len(session.scalars(ended, execution_options=options).all())


def _require_secret(scheme: str, secret: str) -> None:
    try:
        known = find_scheme(scheme)
    except ValueError as error:
        raise Invalid(str(error), "scheme") from error
    try:
        known.require_secret(secret)
    except ValueError as error:
        raise Invalid(str(error), "secret") from error
