"""Finding programs."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.errors import Conflict, NotFound
from backend.kit.address import checked_address, looks_like_address
from backend.kit.names import is_name
from backend.program.models import Program


def get(session: Session, name: str, lock: bool = False) -> Program:
    """The program called `name`, or at that Distributor address. `lock` serializes closing and
    booking.

    Raises NotFound, Invalid for an address with a wrong checksum, and Conflict for one that
    programs on several chains share.
    """
    by = (
        func.lower(Program.distributor) == checked_address(name, "program").lower()
        if looks_like_address(name)
        else Program.name == name
    )
    query = select(Program).where(by)
    # What cannot be a name is not asked for: PostgreSQL refuses a text with a NUL in it.
    possible = is_name(name.lower())
    found = (
        session.scalars(query.with_for_update(key_share=True) if lock else query).all()
        if possible
        else []
    )
    if not found:
        raise NotFound(f"no program called {name!r}", "program", "unknown_program")
    if len(found) > 1:
        names = ", ".join(sorted(program.name for program in found))
        raise Conflict(
            f"several chains have a program at this address: call it by its name, one of {names}",
            "program",
        )
    return found[0]


def at(session: Session, chain_id: int, distributor: str) -> Program | None:
    """The program of a Distributor, checksummed."""
    query = select(Program).where(Program.chain_id == chain_id, Program.distributor == distributor)
    return session.scalar(query)


def lock(session: Session, program_id: int) -> Program:
    """The program's row, locked until the transaction ends."""
    return session.scalars(
        select(Program).where(Program.id == program_id).with_for_update(key_share=True)
    ).one()


def all_programs(session: Session) -> list[Program]:
    """All programs, oldest first."""
    return list(session.scalars(select(Program).order_by(Program.id)))
