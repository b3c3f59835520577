"""Programs over HTTP."""

from typing import Any

from fastapi import APIRouter, Request

from backend.ledger import service as ledger
from backend.program import repository

router = APIRouter(prefix="/v1/programs", tags=["programs"])


@router.get("", summary="All programs")
def list_programs(request: Request) -> list[dict[str, Any]]:
    """The public facts of every program."""
    with request.app.state.database.transaction() as session:
        return [program.summary() for program in repository.all_programs(session)]


@router.get("/{program}", summary="One program")
def read_program(program: str, request: Request) -> dict[str, Any]:
    """A program by name or Distributor address, with what the ledger holds: reserve, what is funded
    and not promised yet, and what is promised and not funded any more: the deficit that a
    withdrawal of the owner can leave, and that funding fills first."""
    with request.app.state.database.transaction() as session:
        row = repository.get(session, program)
        reserve, available = (
            ledger.reserve(session, row.id),
            ledger.available_budget(session, row.id),
        )
        budget = {"available_budget": str(max(available, 0)), "deficit": str(max(-available, 0))}
        return row.summary() | {"reserve": str(reserve)} | budget
