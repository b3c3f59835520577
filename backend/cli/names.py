"""Finding what a person has named, with a suggestion where the name is mistyped."""

from difflib import get_close_matches
from typing import TYPE_CHECKING

from sqlalchemy import select

from backend.batch import repository as batches
from backend.errors import NotFound
from backend.partner import repository as partners
from backend.partner.models import Partner
from backend.program import repository as programs

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from backend.batch.models import Batch
    from backend.program.models import Program


def find_program(session: "Session", name: str) -> "Program":
    """The program of that name or Distributor. Raises NotFound, Conflict."""
    try:
        return programs.get(session, name)
    except NotFound as error:
        known = [program.name for program in programs.all_programs(session)]
        raise _with_suggestion(error, name, known, "program list") from None


def find_partner(session: "Session", program: "Program", name: str) -> Partner:
    """The program's partner of that name. Raises NotFound."""
    try:
        return partners.get(session, program.id, name)
    except NotFound as error:
        query = select(Partner.name).where(Partner.program_id == program.id)
        known = list(session.scalars(query))
        raise _with_suggestion(error, name, known, f"partner list {program.name}") from None


def find_batch(session: "Session", program: "Program", bucket: int, sequence: int) -> "Batch":
    """The bucket's batch of that sequence. Raises NotFound."""
    found = batches.get(session, program.id, bucket, sequence)
    if found is None:
        newest = batches.listed(session, program.id, 1, bucket=bucket)
        there = f"; its newest is {newest[0].sequence}" if newest else "; it has none yet"
        raise NotFound(
            f"bucket {bucket} has no batch {sequence}{there} (`guerdon batch list {program.name}`)",
            "sequence",
            "unknown_batch",
        )
    return found


def _with_suggestion(error: NotFound, name: str, known: list[str], command: str) -> NotFound:
    close = get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return NotFound(f"{error.message}{meant} (`guerdon {command}`)", error.field, error.code)
