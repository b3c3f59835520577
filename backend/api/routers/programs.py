"""Programs over HTTP."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from backend.api.dependencies import IsOperator, Snapshot
from backend.api.schemas.error import ERRORS, errors
from backend.api.schemas.program import DailyLimitOut, ProgramDetailOut, ProgramOut
from backend.interaction import repository as interactions
from backend.kit.db import db_now
from backend.ledger import service as ledger
from backend.program import repository
from backend.program.halts import public_reason, what_to_do
from backend.program.models import Program

router = APIRouter(prefix="/v1/programs", tags=["programs"], responses=ERRORS)


@router.get("", responses=errors(program=False), summary="List all programs")
def list_programs(session: Snapshot, operator: IsOperator) -> list[ProgramOut]:
    """Returns the public facts of every program."""
    return [_program_out(program, operator) for program in repository.all_programs(session)]


@router.get("/{program}", responses=errors(), summary="Read one program")
def read_program(program: str, session: Snapshot, operator: IsOperator) -> ProgramDetailOut:
    """Returns a program, by name or Distributor address, with its ledger balances.

    `reserve` is what the Distributor holds. `available_budget` is funded and not yet promised.
    `deficit` is promised and no longer funded. A deficit appears when the owner withdraws promised
    funds; new funding fills it first.
    """
    row = repository.get(session, program)
    available = ledger.available_budget(session, row.id)
    return ProgramDetailOut(
        **_program_out(row, operator).model_dump(),
        reserve=str(ledger.reserve(session, row.id)),
        available_budget=str(max(available, 0)),
        deficit=str(max(-available, 0)),
        daily_limit=_daily_limit_out(session, row),
    )


def _daily_limit_out(session: Session, row: Program) -> DailyLimitOut | None:
    if not row.daily_limit:
        return None
    now = int(db_now(session).timestamp())
    whole_at = row.limit.fits_at(row.daily_limit, now)
    above = interactions.above_daily_limit(session, row)
    return DailyLimitOut(
        per_day=str(row.daily_limit),
        left=str(row.limit.left(now)),
        whole_at=now if whole_at is None else whole_at,
        above=str(above.amount),
        above_interactions=above.interactions,
    )


def _halted_reason(row: Program, operator: bool) -> str | None:
    """Why the program is halted: with the next step for the operator, in public words for others.
    The full text can hold a node's answer."""
    if row.halted is None:
        return None
    return f"{row.halted}: {what_to_do(row.name)}" if operator else public_reason(row.halted)


def _program_out(row: Program, operator: bool) -> ProgramOut:
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
        halted_reason=_halted_reason(row, operator),
    )
