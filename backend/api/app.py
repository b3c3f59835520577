"""The API's composition root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request, Response

from backend import queue
from backend.api.claims import ClaimsSeen
from backend.api.dependencies import Resources
from backend.api.routers import ROUTERS
from backend.chain.web3_node import connect
from backend.config import Settings, settings
from backend.errors import GuerdonError, Unavailable
from backend.kit.body import Bodies, BodyBounds
from backend.kit.db import AWAY, BUSY, Database, is_away
from backend.kit.http import add_error_handlers, add_handler, error_response
from backend.kit.log import configure
from backend.kit.metrics import HTTP_REFUSALS
from backend.kit.processes import end_on_hangup

log = structlog.get_logger()

LOCK_MS_MAX, STATEMENT_MS_MAX = 5_000, 30_000
"""Limits for one lock and one statement. A request that exceeds one is answered with 503, because
other requests need its thread and connection."""

PUBLIC = ("/v1/", "/openapi.json", "/docs")
"""Pages of any origin may read below these paths."""

DESCRIPTION = """Partners report rewarded interactions in signed requests. Everyone can read what an
account has earned, get the call that claims it, and check each interaction and batch.

Amounts are decimal strings in token base units. Times are Unix seconds, or RFC 3339 in UTC. Each
response has an `X-Request-ID` header: the request's own if it is well formed, else a new one."""


def create_app(config: Settings | None = None) -> FastAPI:
    """The application. It needs PostgreSQL. Redis only makes the workers start sooner."""
    configure()
    config = config or settings()
    app = FastAPI(
        title="Guerdon",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=_lifespan,
    )
    database = Database(
        config.database_url,
        pool_size=20,
        lock_ms_max=LOCK_MS_MAX,
        statement_ms_max=STATEMENT_MS_MAX,
    )
    app.state.resources = Resources(
        config,
        database,
        Bodies(BodyBounds(config.request_bytes_max, seconds=config.request_seconds)),
        ClaimsSeen(lambda: connect(config.rpc_url, hurried=True)),
        wake=queue.soon,
        ping_redis=lambda: queue.ping(config.redis_url),
    )
    for router in ROUTERS:
        app.include_router(router)
    add_error_handlers(app, _count, PUBLIC)
    for kind in AWAY:
        add_handler(app, kind, _database_error)
    return app


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    end_on_hangup()
    yield


def _count(_: Request, error: GuerdonError) -> None:
    HTTP_REFUSALS.labels(error.code).inc()
    # Neither the message nor the path: both can hold what a field held.
    log.info("request_refused", code=error.code, field=error.field, status=error.status)


def _database_error(request: Request, error: Exception) -> Response:
    # The driver's text can hold statement parameters; only its kind is logged.
    cause = getattr(error, "orig", None) or error
    busy = getattr(cause, "sqlstate", None) in BUSY
    if is_away(error):
        found: Resources = request.app.state.resources
        found.database.outage.failed(error)
    else:
        log.error("database_unavailable", kind=type(cause).__name__)
    message = f"the database {'is busy' if busy else 'does not answer'}: send again"
    answer = Unavailable(message)
    HTTP_REFUSALS.labels(answer.code).inc()
    return error_response(request, answer)
