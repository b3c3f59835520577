"""A program that is halted: said in the log at once and again, and what others are told of it."""

from datetime import timedelta

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.errors import Unavailable
from backend.program.models import Program

log = structlog.get_logger()

TOLD_EVERY_SECONDS = 600
RESUMING = "being resumed; if that ended early, resume again"

_PUBLIC = (
    ("block ", "a block that was final has changed"),
    ("recording blocks ", "what the chain says could not be recorded"),
    ("an invariant is broken", "a check of the balances has failed"),
    ("it could not be resumed", "it could not be resumed"),
    (RESUMING, "it is being resumed"),
)
"""How a reason begins -> what the public is told. The reason itself may hold words of a node or of
the database, and is the operator's."""


class ProgramHalted(Unavailable):
    """Nothing is taken in or closed for a halted program: what is answered might not outlast the
    repair."""

    code = "program_halted"
    retry_seconds = 300


def halt(program: Program, reason: str) -> None:
    """Halt the program, in the caller's transaction, and say so."""
    program.halted, program.halt_told_at = reason, func.now()
    _tell("program_halted", program.name, reason)


def tell(session: Session) -> None:
    """Say again which programs are halted, each once in TOLD_EVERY_SECONDS over all processes."""
    due = (
        select(Program.id)
        .where(
            Program.halted.is_not(None),
            (Program.halt_told_at.is_(None))
            | (Program.halt_told_at <= func.now() - timedelta(seconds=TOLD_EVERY_SECONDS)),
        )
        .with_for_update(key_share=True, skip_locked=True)
    )
    told = (
        update(Program)
        .where(Program.id.in_(due))
        .values(halt_told_at=func.now())
        .returning(Program.name, Program.halted)
        .execution_options(synchronize_session=False)
    )
    for name, reason in session.execute(told).all():
        _tell("program_still_halted", name, reason)


def _tell(event: str, name: str, reason: str | None) -> None:
    log.error(event, program=name, reason=reason, what_to_do=what_to_do(name))


def what_to_do(name: str) -> str:
    """The operator's next step."""
    return (
        f"find the cause, then run: guerdon program resume {name} "
        "(docs/OPERATIONS.md, Resume a halted program)"
    )


def public_reason(reason: str) -> str:
    """Why a program is halted, in words that anybody may read."""
    return next(
        (said for beginning, said in _PUBLIC if reason.startswith(beginning)),
        "its operator has to look",
    )


def require_running(program: Program) -> None:
    """Raises ProgramHalted."""
    if program.halted is not None:
        raise ProgramHalted(
            f"the program is halted ({public_reason(program.halted)}) and takes nothing in until "
            "its operator has looked. Nothing of this request is stored: send it again later, "
            "under the same event ids",
            "program",
        )


def halted_names(session: Session) -> list[str]:
    """The halted programs."""
    query = select(Program.name).where(Program.halted.is_not(None)).order_by(Program.name)
    return list(session.scalars(query))
