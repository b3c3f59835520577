"""Intake over HTTP, and the public state of one interaction."""

from typing import Annotated, Any

import stamina
from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from backend.api import lookup
from backend.api.schemas.interaction import DELIVERY_BODY, IntakeOut, InteractionOut
from backend.errors import BadRequest, Invalid, NotFound, Unauthorized
from backend.interaction import repository
from backend.interaction.report import BodyError, Report, ReportError, parse_body
from backend.interaction.service import Answer, Outcome, take_in
from backend.kit.db import Database
from backend.kit.failpoint import failpoint
from backend.kit.http import read_body
from backend.kit.time import utc_now
from backend.partner import repository as partners
from backend.partner.evidence import PARTNER_HEADER, Delivery
from backend.partner.schemes.standard_webhooks import (
    SignatureError,
    require_fresh,
    require_signature,
)
from backend.program import repository as programs

router = APIRouter(prefix="/v1/programs/{program}/interactions", tags=["interactions"])

HEADER_LENGTH_MAX = 1024


def _header(request: Request, name: str) -> str:
    value = request.headers.get(name, "")
    if not value:
        raise Unauthorized(f"the header {name} is missing", name)
    if len(value) > HEADER_LENGTH_MAX:
        raise BadRequest(f"the header is longer than {HEADER_LENGTH_MAX} characters", name)
    return value


@router.post(
    "",
    response_model=IntakeOut,
    responses={207: {"model": IntakeOut}, 422: {"model": IntakeOut}},
    openapi_extra=DELIVERY_BODY,
    summary="Report 1 to 1,000 interactions",
)
async def report_interactions(program: str, request: Request) -> JSONResponse:
    """Signed by the scheme of Standard Webhooks (`webhook-id`, `webhook-timestamp`,
    `webhook-signature`), with the partner's name in `guerdon-partner`. One answer an item, in
    order: `accepted`, `duplicate` (reported before, nothing changed), `held` (kept, with the
    reason) or `rejected` (with field and reason). 200 if no item was rejected, 207 if some were,
    422 if all were. What is answered is stored: send again after a timeout or a 5xx, under the same
    event ids."""
    state = request.app.state
    partner = _header(request, PARTNER_HEADER)
    headers = [
        _header(request, name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    ]
    delivery = Delivery(*headers, await read_body(request, state.settings.request_bytes_max))
    answers = await run_in_threadpool(_intake, state.database, program, partner, delivery)
    rejected = sum(answer.outcome is Outcome.REJECTED for answer in answers)
    status = 200 if not rejected else 422 if rejected == len(answers) else 207
    return JSONResponse({"results": [_answer_json(answer) for answer in answers]}, status)


# Deadlocks and serialization failures are PostgreSQL's to end and ours to try again; the
# transaction left nothing behind.
@stamina.retry(
    on=lambda error: (
        isinstance(error, OperationalError) and error.orig.sqlstate in ("40P01", "40001")
    ),
    attempts=5,
)
def _intake(
    database: Database, program_name: str, partner_name: str, delivery: Delivery
) -> list[Answer]:
    with database.transaction() as session:
        program = programs.get(session, program_name)
        partner = partners.get(session, program.id, partner_name)
        items = _authenticated_items(partners.secrets(session, partner.id), delivery)
        answers = take_in(session, program.id, partner.id, delivery, items)
        failpoint("intake.before_commit")
    failpoint("intake.after_commit")
    return answers


def _authenticated_items(secrets: list[str], delivery: Delivery) -> list[Report | ReportError]:
    try:
        require_signature(secrets, delivery)
        require_fresh(delivery, utc_now())
    except SignatureError as error:
        raise Unauthorized(str(error), error.field, "bad_signature") from error
    try:
        return parse_body(delivery.body)
    except BodyError as error:
        raise Invalid(str(error), error.field) from error


def _answer_json(answer: Answer) -> dict[str, Any]:
    value: dict[str, Any] = {"status": answer.outcome, "event_id": answer.event_id}
    for name in ("reason", "field", "message", "state"):
        if getattr(answer, name) is not None:
            value[name] = getattr(answer, name)
    return value


@router.get(
    "/{partner}/{event_id:path}",
    response_model=InteractionOut,
    summary="One interaction's state and proof",
)
def read_interaction(
    program: str, partner: str, event_id: Annotated[str, Path(max_length=128)], request: Request
) -> InteractionOut:
    """Where an interaction stands and, once its batch is final, the proof that it is a leaf of the
    batch's `interactionsRoot`."""
    with request.app.state.database.snapshot() as session:
        row = programs.get(session, program)
        found = repository.find(session, partners.get(session, row.id, partner).id, event_id)
        if found is None:
            raise NotFound("no interaction with this event id", "event_id", "unknown_event")
        return lookup.interaction_out(session, row, partner, found)
