"""Probes and metrics of the process, and the page about the API."""

from collections.abc import Callable

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from backend.api.dependencies import Using, require_metrics_token
from backend.api.measures import DatabaseMeasures
from backend.api.pages import page
from backend.api.schemas.health import AliveOut, ReadyOut
from backend.kit.db import Database
from backend.kit.metrics import CONTENT_TYPE, exposition
from backend.program.halts import halted_names

log = structlog.get_logger()

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Check that the process is alive")
def healthz() -> AliveOut:
    """Answers whatever else is down."""
    return AliveOut(status="ok")


@router.get(
    "/readyz",
    responses={503: {"model": ReadyOut, "description": "A server does not answer."}},
    summary="Check that the process can serve",
)
def readyz(using: Using, response: Response) -> ReadyOut:
    """Returns 200 if PostgreSQL and Redis answer, else 503 with the names of those that do not.

    A halted program makes the status `degraded`, and the answer stays 200: other programs are
    served.
    """
    failed: list[str] = []
    halted: list[str] = []
    checks: list[tuple[str, Callable[[], None]]] = [
        ("database", lambda: halted.extend(_halted(using.database))),
        ("redis", using.ping_redis),
    ]
    for name, check in checks:
        try:
            check()
        except Exception as error:  # Whatever the driver raises: the server is not ready.
            log.warning("not_ready", server=name, error=type(error).__name__)
            failed.append(name)
    if failed:
        response.status_code = 503
    status = "unavailable" if failed else "degraded" if halted else "ok"
    return ReadyOut.model_validate({"status": status, "failed": failed, "halted": halted})


@router.get(
    "/metrics",
    include_in_schema=False,  # for the operator's Prometheus, not for callers of the API
    dependencies=[Depends(require_metrics_token)],
)
def metrics(using: Using) -> Response:
    """Prometheus metrics of this process and of the database."""
    return Response(exposition(DatabaseMeasures(using.database)), media_type=CONTENT_TYPE)


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page."""
    only_styles = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(page(request.app.openapi()), headers=only_styles)


def _halted(database: Database) -> list[str]:
    """The halted programs; raises if the database does not answer."""
    with database.transaction() as session:
        return halted_names(session)
