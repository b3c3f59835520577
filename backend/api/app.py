"""The API's composition root."""

import structlog
from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend import queue
from backend.api.routers import ROUTERS
from backend.config import Settings, settings
from backend.errors import Unavailable
from backend.kit.db import BUSY, Database
from backend.kit.http import add_error_handlers, add_handler, error_response
from backend.kit.log import configure

log = structlog.get_logger()

LOCK_MS_MAX, STATEMENT_MS_MAX = 5_000, 30_000
"""A request that waits longer than this for others, or for one statement, is answered with a 503:
its thread and connection are needed."""

DESCRIPTION = """Guerdon takes in partners' signed reports of rewarded interactions
and serves what accounts have earned and can claim.
Amounts are decimal texts in token base units; times are Unix seconds or RFC 3339 in UTC."""


def create_app(config: Settings | None = None) -> FastAPI:
    """The application. It needs PostgreSQL; Redis only wakes the worker sooner."""
    configure()
    config = config or settings()
    app = FastAPI(
        title="Guerdon",
        version="1",
        description=DESCRIPTION,
        docs_url="/docs",
        openapi_url="/openapi.json",
    )
    app.state.settings = config
    app.state.database = Database(
        config.database_url,
        pool_size=20,
        lock_ms_max=LOCK_MS_MAX,
        statement_ms_max=STATEMENT_MS_MAX,
    )
    app.state.wake = queue.soon
    app.state.ping_redis = lambda: queue.ping(config.redis_url)
    for router in ROUTERS:
        app.include_router(router)
    add_error_handlers(app)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        add_handler(app, kind, _database_error)
    return app


def _database_error(request: Request, error: SQLAlchemyError) -> Response:
    # The driver's text can hold statement parameters; only its kind is logged.
    cause = getattr(error, "orig", error)
    log.error("database_unavailable", kind=type(cause).__name__)
    busy = getattr(cause, "sqlstate", None) in BUSY
    message = f"the database {'is busy' if busy else 'does not answer'}: send again"
    return error_response(request, Unavailable(message))
