"""Batches over HTTP: public reads, and the operator's closing."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from backend.api import lookup
from backend.api.operator_key import require_operator
from backend.api.schemas.batch import BatchDetailOut, BatchesOut, BatchOut
from backend.batch import repository
from backend.batch.close import close_all
from backend.program import repository as programs

router = APIRouter(prefix="/v1/programs/{program}/batches", tags=["batches"])

Number = Annotated[int, Path(ge=0, lt=2**31)]


@router.get("", response_model=BatchesOut, summary="Batches, newest first")
def list_batches(
    program: str,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="`next` of the page before")
    ] = None,
) -> BatchesOut:
    """A page of a program's batches."""
    with request.app.state.database.transaction() as session:
        rows = repository.listed(session, programs.get(session, program).id, limit, before)
        more = rows[-1].id if len(rows) == limit else None
        return BatchesOut(batches=[BatchOut.model_validate(row) for row in rows], next=more)


@router.get("/{bucket}/{sequence}", response_model=BatchDetailOut, summary="One batch")
def read_batch(program: str, bucket: Number, sequence: Number, request: Request) -> BatchDetailOut:
    """A batch with its touched slots, attestors and proof."""
    with request.app.state.database.transaction() as session:
        return lookup.batch_detail(session, programs.get(session, program), bucket, sequence)


@router.post(
    "/close",
    response_model=list[BatchOut],
    dependencies=[Depends(require_operator)],
    summary="Close batches now",
)
def close_now(program: str, request: Request) -> list[BatchOut]:
    """For the operator: close what is open without waiting for size or age; the worker takes it
    from there."""
    database = request.app.state.database
    with database.transaction() as session:
        program_id = programs.get(session, program).id
    closed = close_all(database, program_id, force=True)
    request.app.state.wake()
    return [BatchOut.model_validate(batch) for batch in closed]
