"""Intake over HTTP, and the public state of one interaction."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import stamina
import structlog
from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from backend.api import lookup
from backend.api.dependencies import Snapshot, Using
from backend.api.schemas.error import ERRORS
from backend.api.schemas.interaction import DELIVERY_BODY, IntakeOut, InteractionOut
from backend.errors import BadRequest, Invalid, NotFound, Unauthorized
from backend.interaction import repository
from backend.interaction.service import ingest
from backend.kit.db import Database
from backend.kit.failpoint import failpoint
from backend.kit.http import read_body
from backend.kit.metrics import INTAKE_ITEMS
from backend.kit.time import utc_now
from backend.partner import repository as partners
from backend.partner.evidence import HEADER_LENGTH_MAX, PARTNER_HEADER, TARGET_LENGTH_MAX, Delivery
from backend.partner.report import BodyError, ItemOutcome, ItemResult, Report, ReportError
from backend.partner.schemes.base import Scheme, SignatureError
from backend.partner.schemes.registry import scheme as find_scheme
from backend.program import repository as programs

log = structlog.get_logger()

router = APIRouter(prefix="/v1/programs/{program}/interactions", tags=["interactions"])

TARGET = re.compile(rf"[\x21-\x7e]{{1,{TARGET_LENGTH_MAX}}}")


@dataclass(frozen=True)
class Received:
    """A request before the partner's scheme is known."""

    method: str
    target: str
    headers: Headers
    body: bytes

    def delivery(self, scheme: Scheme) -> Delivery:
        """Return what the scheme takes of the request. Raises Unauthorized, BadRequest."""
        named = tuple((name, _evidence_header(self.headers, name)) for name in scheme.headers)
        return Delivery(scheme.name, self.method, self.target, named, self.body)


def _header(headers: Headers, name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise Unauthorized(f"the header {name} is missing", name)
    if len(value) > HEADER_LENGTH_MAX:
        raise BadRequest(f"the header is longer than {HEADER_LENGTH_MAX} characters", name)
    return value


def _evidence_header(headers: Headers, name: str) -> str:
    """Return a header that the scheme signs or checks: a part of the evidence.

    Characters other than printable ASCII would grow sixfold on the way to the attestors, beyond
    what they accept for a batch.
    """
    value = _header(headers, name)
    if not (value.isascii() and value.isprintable()):
        raise Unauthorized("expected printable ASCII", name, "bad_signature")
    return value


def _target(request: Request) -> str:
    """Return path and query as received. Raises BadRequest."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    query: bytes = request.scope.get("query_string", b"")
    target = (raw.split(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")
    if not TARGET.fullmatch(target):
        raise BadRequest(
            f"expected path and query of at most {TARGET_LENGTH_MAX} visible ASCII characters",
            "target",
        )
    return target


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
async def report_interactions(program: str, request: Request, using: Using) -> Response:
    """The request is signed by the Standard Webhooks scheme: `webhook-id`, `webhook-timestamp`,
    `webhook-signature`. `guerdon-partner` is the partner's name.

    The answer has one result for each item, in order: `accepted`, `duplicate` (reported before;
    nothing changed), `held` (stored, with the reason) or `rejected` (with field and reason). The
    status is 200 if no item was rejected, 207 if some were, 422 if all were. An answered item is
    stored. After a timeout or a 5xx, send the same items again under the same event ids.
    """
    partner = _header(request.headers, PARTNER_HEADER)
    target = _target(request)
    body = await read_body(request, using.settings.request_bytes_max)
    received = Received(request.method, target, request.headers, body)
    scheme, results = await run_in_threadpool(_intake, using.database, program, partner, received)
    _note(program, partner, results)
    answer = scheme.acknowledge(results)
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


# Such a transaction left nothing behind: the request can run again.
@stamina.retry(on=_ended_by_postgres, attempts=5)
def _intake(
    database: Database, program_name: str, partner_name: str, received: Received
) -> tuple[Scheme, list[ItemResult]]:
    with database.transaction() as session:
        program = programs.get(session, program_name)
        partner = partners.get(session, program.id, partner_name)
        scheme = find_scheme(partner.scheme)
        delivery = received.delivery(scheme)
        items = _authenticated_items(scheme, partners.secrets(session, partner.id), delivery)
        results = ingest(session, program.id, partner.id, delivery, items)
        failpoint("intake.before_commit")
    failpoint("intake.after_commit")
    return scheme, results


def _authenticated_items(
    scheme: Scheme, secrets: list[str], delivery: Delivery
) -> list[Report | ReportError]:
    try:
        scheme.authenticate(secrets, delivery, utc_now())
    except SignatureError as error:
        raise Unauthorized(str(error), error.field, "bad_signature") from error
    try:
        return scheme.parse(delivery)
    except BodyError as error:
        raise Invalid(str(error), error.field) from error


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
