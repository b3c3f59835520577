"""Batches over HTTP: public reads, and the operator's closing."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BeforeValidator

from backend.api import lookup
from backend.api.dependencies import Snapshot, Using, require_operator
from backend.api.schemas.batch import BatchDetailOut, BatchesOut, BatchOut
from backend.api.schemas.error import ERRORS, errors
from backend.api.schemas.token import token_fields
from backend.batch import repository
from backend.batch.close import close_all
from backend.program import repository as programs
from backend.program.halts import require_running

router = APIRouter(prefix="/v1/programs/{program}/batches", tags=["batches"], responses=ERRORS)


def _plain(value: Any) -> Any:
    """Only digits: a sign, a point or an underscore in a number is a mistake of somebody's."""
    if isinstance(value, str) and not re.fullmatch("[0-9]{1,20}", value):
        raise ValueError("expected a whole number in decimal digits")
    return value


_PLAIN = BeforeValidator(_plain)
Number = Annotated[int, _PLAIN, Path(ge=0, lt=2**31)]


@router.get("", responses=errors("invalid"), summary="List batches, newest first")
def list_batches(
    program: str,
    session: Snapshot,
    limit: Annotated[int, _PLAIN, Query(ge=1, le=200, description="Most batches in the page")] = 50,
    before: Annotated[
        int | None, _PLAIN, Query(ge=1, lt=2**63, description="`next` of the previous page")
    ] = None,
) -> BatchesOut:
    """Returns one page of a program's batches."""
    owner = programs.get(session, program)
    rows = repository.listed(session, owner.id, limit, before)
    return BatchesOut(
        batches=[BatchOut.model_validate(row) for row in rows],
        next=rows[-1].id if len(rows) == limit else None,
        **token_fields(owner).model_dump(),
    )


@router.get(
    "/{bucket}/{sequence}", responses=errors("unknown_batch", "invalid"), summary="Read one batch"
)
def read_batch(program: str, bucket: Number, sequence: Number, session: Snapshot) -> BatchDetailOut:
    """Returns a batch with the slots that it touches, its attestors and its proof."""
    return lookup.batch_detail(session, programs.get(session, program), bucket, sequence)


@router.post(
    "/close",
    dependencies=[Depends(require_operator)],
    responses=errors("unauthorized", "program_halted"),
    summary="Close batches now",
)
def close_now(program: str, using: Using) -> list[BatchOut]:
    """For the operator: closes what is open, whatever its size and age. Returns the new batches.

    Workers then attest, prove and post them.
    """
    with using.database.transaction() as session:
        row = programs.get(session, program)
        require_running(row)
    closed = close_all(using.database, row.id, force=True)
    using.wake()
    return [BatchOut.model_validate(batch) for batch in closed]
