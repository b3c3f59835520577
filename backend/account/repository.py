"""Shared queries of accounts."""

from collections.abc import Sequence

from sqlalchemy import String, any_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from backend.account.models import Account


def by_address(session: Session, program_id: int, address: str) -> Account | None:
    """The account of a checksummed address; None before its first batch."""
    return session.scalar(
        select(Account).where(Account.program_id == program_id, Account.address == address)
    )


def at_slot(session: Session, program_id: int, bucket: int, slot: int) -> Account | None:
    """The account in a slot; None if the slot is free."""
    query = select(Account).where(
        Account.program_id == program_id, Account.bucket == bucket, Account.slot == slot
    )
    return session.scalar(query)


def landed_in(session: Session, program_id: int, bucket: int) -> int:
    """How many accounts of a bucket are open on the final chain."""
    query = select(func.count()).where(
        Account.program_id == program_id, Account.bucket == bucket, Account.posted > 0
    )
    return session.scalar(query) or 0


def owed(session: Session, program_id: int, addresses: Sequence[str]) -> list[Account]:
    """Those of `addresses` that can claim something now, by bucket and slot."""
    # One parameter for all addresses. IN would take one each, and PostgreSQL takes 65,535 in all.
    among = any_(literal(list(addresses), ARRAY(String)))
    query = select(Account).where(
        Account.program_id == program_id, Account.address == among, Account.posted > Account.claimed
    )
    return list(session.scalars(query.order_by(Account.bucket, Account.slot)))
