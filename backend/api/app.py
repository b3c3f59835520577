"""The API's composition root."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from backend import queue
from backend.api.routers import ROUTERS
from backend.config import Settings, settings
from backend.errors import BadRequest, GuerdonError, NotFound, Unavailable
from backend.kit.db import BUSY, Database
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
    app.add_exception_handler(GuerdonError, _known_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _database_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _known_error(_: Request, error: GuerdonError) -> JSONResponse:
    headers = {"retry-after": "1"} if error.retryable else None
    return JSONResponse(error.to_json(), error.status, headers)


def _validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    answer = BadRequest(str(first["msg"]), field, "invalid")
    return JSONResponse(answer.to_json(), 422)


def _database_error(_: Request, error: SQLAlchemyError) -> JSONResponse:
    # The driver's text can hold statement parameters; only its kind is logged.
    cause = getattr(error, "orig", error)
    log.error("database_unavailable", kind=type(cause).__name__)
    busy = getattr(cause, "sqlstate", None) in BUSY
    answer = Unavailable(f"the database {'is busy' if busy else 'does not answer'}: send again")
    return JSONResponse(answer.to_json(), 503, {"retry-after": "1"})


def _http_error(_: Request, error: HTTPException) -> JSONResponse:
    """What the framework refuses by itself, in the one shape of errors."""
    known = {
        404: NotFound("no such path", "path"),
        405: BadRequest("not with this method", "method", "method_not_allowed"),
    }
    answer = known.get(error.status_code, BadRequest(str(error.detail)))
    return JSONResponse(answer.to_json(), error.status_code, error.headers)


def _unexpected(_: Request, error: Exception) -> JSONResponse:
    """The server logs the traceback; the caller learns that it was not their fault."""
    return JSONResponse(
        GuerdonError("an error of ours: send again, or tell the operator").to_json(), 500
    )
