"""Intake over HTTP, and the public state of one interaction."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import stamina
import structlog
from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from backend.api import lookup
from backend.api.dependencies import Snapshot, Using
from backend.api.received import delivery_head, read_header, read_target
from backend.api.schemas.error import ERRORS, ErrorOut, errors
from backend.api.schemas.interaction import DELIVERY_BODY, IntakeOut, InteractionOut
from backend.errors import Invalid, NotFound, Unauthorized
from backend.interaction import repository
from backend.interaction.service import ingest
from backend.kit.db import Database
from backend.kit.failpoint import failpoint
from backend.kit.metrics import INTAKE_ITEMS
from backend.kit.time import utc_now
from backend.partner import repository as partners
from backend.partner.evidence import PARTNER_HEADER, Delivery
from backend.partner.report import BodyError, ItemOutcome, ItemResult, Report, ReportError
from backend.partner.schemes.base import Scheme, SignatureError
from backend.partner.schemes.registry import scheme as find_scheme
from backend.program import repository as programs
from backend.program.halts import require_running
from backend.program.models import Program

log = structlog.get_logger()

INTAKE_ERRORS = errors(
    *("bad_request", "repeated_header", "unauthorized", "bad_signature", "stale_timestamp"),
    *("secret_revoked", "unknown_partner", "too_slow", "too_large", "unsupported_media", "invalid"),
    "program_halted",
)
INTAKE_RESPONSES: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    **INTAKE_ERRORS,
    207: {"model": IntakeOut, "description": "Some items were rejected."},
    422: {
        "model": IntakeOut | ErrorOut,
        "description": f"All items were rejected. {INTAKE_ERRORS[422]['description']}",
    },
}

router = APIRouter(prefix="/v1/programs/{program}/interactions", tags=["interactions"])


@router.post(
    "",
    response_model=IntakeOut,
    responses=INTAKE_RESPONSES,
    openapi_extra=DELIVERY_BODY,
    summary="Report 1 to 1,000 interactions",
)
async def report_interactions(program: str, request: Request, using: Using) -> Response:
    """The request is signed by the Standard Webhooks scheme: `webhook-id`, `webhook-timestamp`,
    `webhook-signature`. `guerdon-partner` is the partner's name.

    The answer has one result for each item, in order: `accepted`, `duplicate` (reported before;
    nothing changed), `held` (stored, with the reason) or `rejected` (with field and reason; for an
    event that was reported before with another content, `first` is what was reported). The status
    is 200 if no item was rejected, 207 if some were, 422 if all were. An answered item is stored.
    After a timeout or a 5xx, send the same items again under the same event ids. A 503
    `program_halted` says that the program takes nothing in until its operator has looked.
    """
    partner = read_header(request.headers, PARTNER_HEADER)
    read_target(request)
    # Who is nobody, or signs without form, is refused before a byte of the body is held.
    sender = await run_in_threadpool(_sender, using.database, program, partner)
    head = delivery_head(request, sender.scheme)
    with _signature_errors():
        sender.scheme.require_head(head, utc_now())
    async with using.bodies.read(request) as body:
        delivery = replace(head, body=body)
        results = await run_in_threadpool(_intake, using.database, sender, delivery)
    _note(program, partner, results)
    answer = sender.scheme.acknowledge(results)
    return Response(answer.body, answer.status, media_type=answer.media_type)


def _note(program: str, partner: str, results: list[ItemResult]) -> None:
    counts = {str(outcome): 0 for outcome in ItemOutcome} | Counter(
        str(result.outcome) for result in results
    )
    for outcome, count in counts.items():
        INTAKE_ITEMS.labels(outcome).inc(count)
    log.info("delivery_ingested", program=program, partner=partner, **counts)


def _ended_by_postgres(error: Exception) -> bool:
    """Whether PostgreSQL ended the transaction for a deadlock or a serialization failure."""
    if not isinstance(error, OperationalError):
        return False
    return getattr(error.orig, "sqlstate", None) in ("40P01", "40001")


@dataclass(frozen=True)
class Sender:
    """Who says to be reporting: a partner of a program, by their rows, and how it signs."""

    program_id: int
    partner_id: int
    scheme: Scheme


def _sender(database: Database, program_name: str, partner_name: str) -> Sender:
    with database.transaction() as session:
        program = programs.get(session, program_name)
        partner = partners.get(session, program.id, partner_name)
        return Sender(program.id, partner.id, find_scheme(partner.scheme))


# Such a transaction left nothing behind: the request can run again.
@stamina.retry(on=_ended_by_postgres, attempts=5)
def _intake(database: Database, sender: Sender, delivery: Delivery) -> list[ItemResult]:
    with database.transaction() as session:
        items = _authenticated_items(session, sender, delivery)
        require_running(session.get_one(Program, sender.program_id))
        results = ingest(session, sender.program_id, sender.partner_id, delivery, items)
        failpoint("intake.before_commit")
    failpoint("intake.after_commit")
    return results


def _authenticated_items(
    session: Session, sender: Sender, delivery: Delivery
) -> list[Report | ReportError]:
    now = utc_now()
    try:
        with _signature_errors():
            sender.scheme.authenticate(partners.secrets(session, sender.partner_id), delivery, now)
    except Unauthorized:
        _require_not_revoked(session, sender, delivery, now)
        raise
    try:
        return sender.scheme.parse(delivery)
    except BodyError as error:
        raise Invalid(str(error), error.field) from error


def _require_not_revoked(
    session: Session, sender: Sender, delivery: Delivery, now: datetime
) -> None:
    """Tell who signs with a secret that was valid once, and nobody else, that it is so.

    Raises Unauthorized.
    """
    with contextlib.suppress(SignatureError):
        sender.scheme.authenticate(
            partners.revoked_secrets(session, sender.partner_id), delivery, now
        )
        raise Unauthorized(
            "this secret has ended: sign with the partner's present secret, or ask the program's "
            "operator for one",
            delivery.headers[-1][0],
            "secret_revoked",
        )


@contextmanager
def _signature_errors() -> Iterator[None]:
    try:
        yield
    except SignatureError as error:
        raise Unauthorized(str(error), error.field, error.code) from error
    except BodyError as error:
        raise Invalid(str(error), error.field) from error


@router.get(
    "/{partner}/{event_id:path}",
    responses={**ERRORS, **errors("unknown_partner", "unknown_event", "invalid")},
    summary="Read one interaction and its proof",
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
