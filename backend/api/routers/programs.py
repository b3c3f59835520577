"""Programs over HTTP."""

from fastapi import APIRouter

from backend.api.dependencies import Snapshot
from backend.api.schemas.error import ERRORS, errors
from backend.api.schemas.program import ProgramDetailOut, ProgramOut
from backend.ledger import service as ledger
from backend.program import repository
from backend.program.models import Program

router = APIRouter(prefix="/v1/programs", tags=["programs"], responses=ERRORS)


@router.get("", responses=errors(program=False), summary="List all programs")
def list_programs(session: Snapshot) -> list[ProgramOut]:
    """Returns the public facts of every program."""
    return [_program_out(program) for program in repository.all_programs(session)]


@router.get("/{program}", responses=errors(), summary="Read one program")
def read_program(program: str, session: Snapshot) -> ProgramDetailOut:
    """Returns a program, by name or Distributor address, with its ledger balances.

    `reserve` is what the Distributor holds. `available_budget` is funded and not yet promised.
    `deficit` is promised and no longer funded. A deficit appears when the owner withdraws promised
    funds; new funding fills it first.
    """
    row = repository.get(session, program)
    available = ledger.available_budget(session, row.id)
    return ProgramDetailOut(
        **_program_out(row).model_dump(),
        reserve=str(ledger.reserve(session, row.id)),
        available_budget=str(max(available, 0)),
        deficit=str(max(-available, 0)),
    )


def _program_out(row: Program) -> ProgramOut:
    # Why a program is halted is for the operator only: the text can hold a node's answer.
    return ProgramOut(
        name=row.name,
        chain_id=row.chain_id,
        distributor=row.distributor,
        token=row.token,
        token_symbol=row.token_symbol,
        token_decimals=row.token_decimals,
        verifier=row.verifier,
        instance=row.instance,
        families=row.families,
        finality=row.finality,
        last_indexed_block=row.last_indexed_block,
        halted=row.halted is not None,
    )
