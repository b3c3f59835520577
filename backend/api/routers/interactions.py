"""Intake over HTTP, and the public state of one interaction."""

from collections import Counter
from typing import Annotated, Any

import stamina
import structlog
from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from backend.api import lookup
from backend.api.dependencies import Snapshot, Using
from backend.api.schemas.error import ERRORS
from backend.api.schemas.interaction import DELIVERY_BODY, IntakeOut, InteractionOut
from backend.errors import BadRequest, Invalid, NotFound, Unauthorized
from backend.interaction import repository
from backend.interaction.report import BodyError, Report, ReportError, parse_body
from backend.interaction.service import Answer, Outcome, take_in
from backend.kit.db import Database
from backend.kit.failpoint import failpoint
from backend.kit.http import read_body
from backend.kit.metrics import INTAKE_ITEMS
from backend.kit.time import utc_now
from backend.partner import repository as partners
from backend.partner.evidence import PARTNER_HEADER, Delivery
from backend.partner.schemes.standard_webhooks import (
    SignatureError,
    require_fresh,
    require_signature,
)
from backend.program import repository as programs

log = structlog.get_logger()

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
    responses={
        **ERRORS,
        207: {"model": IntakeOut, "description": "Some items were rejected."},
        422: {"model": IntakeOut, "description": "All items were rejected."},
    },
    openapi_extra=DELIVERY_BODY,
    summary="Report 1 to 1,000 interactions",
)
async def report_interactions(program: str, request: Request, using: Using) -> JSONResponse:
    """The request is signed by the Standard Webhooks scheme: `webhook-id`, `webhook-timestamp`,
    `webhook-signature`. `guerdon-partner` is the partner's name.

    The answer has one result for each item, in order: `accepted`, `duplicate` (reported before;
    nothing changed), `held` (stored, with the reason) or `rejected` (with field and reason). The
    status is 200 if no item was rejected, 207 if some were, 422 if all were. An answered item is
    stored. After a timeout or a 5xx, send the same items again under the same event ids.
    """
    partner = _header(request, PARTNER_HEADER)
    headers = [
        _header(request, name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    ]
    delivery = Delivery(*headers, await read_body(request, using.settings.request_bytes_max))
    answers = await run_in_threadpool(_intake, using.database, program, partner, delivery)
    _note(program, partner, answers)
    rejected = sum(answer.outcome is Outcome.REJECTED for answer in answers)
    status = 200 if not rejected else 422 if rejected == len(answers) else 207
    return JSONResponse({"results": [_answer_json(answer) for answer in answers]}, status)


def _note(program: str, partner: str, answers: list[Answer]) -> None:
    counts = {str(outcome): 0 for outcome in Outcome} | Counter(
        str(answer.outcome) for answer in answers
    )
    for outcome, count in counts.items():
        INTAKE_ITEMS.labels(outcome).inc(count)
    log.info("delivery_ingested", program=program, partner=partner, **counts)


def _ended_by_postgres(error: Exception) -> bool:
    """Whether PostgreSQL ended the transaction for a deadlock or a serialization failure."""
    if not isinstance(error, OperationalError):
        return False
    return getattr(error.orig, "sqlstate", None) in ("40P01", "40001")


# Such a transaction left nothing behind: the request can run again.
@stamina.retry(on=_ended_by_postgres, attempts=5)
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
    "/{partner}/{event_id:path}", responses=ERRORS, summary="Read one interaction and its proof"
)
def read_interaction(
    program: str, partner: str, event_id: Annotated[str, Path(max_length=128)], session: Snapshot
) -> InteractionOut:
    """Returns an interaction and its state.

    Once its batch is final, `membership` proves that it is a leaf of the batch's
    `interactionsRoot`.
    """
    row = programs.get(session, program)
    found = repository.find(session, partners.get(session, row.id, partner).id, event_id)
    if found is None:
        raise NotFound("no interaction with this event id", "event_id", "unknown_event")
    return lookup.interaction_out(session, row, partner, found)
