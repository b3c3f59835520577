"""What every HTTP server of the project shares: request ids and error answers."""

import re
import uuid
from collections.abc import Callable, Mapping
from typing import TypeVar

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import BadRequest, GuerdonError, NotFound
from backend.kit.methods import Methods, allowed_methods, shared_headers, without_slash

log = structlog.get_logger()

REQUEST_ID = "x-request-id"
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")

E = TypeVar("E", bound=Exception)


def add_error_handlers(
    app: FastAPI,
    refused: Callable[[Request, GuerdonError], None] | None = None,
    public: tuple[str, ...] = (),
) -> None:
    """Answer every error in the one shape of GuerdonError.to_json, and give each request an id.

    `refused` is called with each GuerdonError that is answered, for logs and metrics. Pages of any
    origin may read below the paths of `public`.
    """

    def known(request: Request, error: GuerdonError) -> JSONResponse:
        if refused is not None:
            refused(request, error)
        return error_response(request, error)

    add_handler(app, GuerdonError, known)
    add_handler(app, RequestValidationError, _validation_error)
    add_handler(app, HTTPException, _http_error)
    add_handler(app, ClientDisconnect, _gone)
    add_handler(app, Exception, _unexpected)
    # A redirect loses the body of a POST, and whose signature it carried.
    app.router.redirect_slashes = False
    app.add_middleware(Methods, public=public)
    app.add_middleware(RequestIds)


def add_handler(app: FastAPI, kind: type[E], handle: Callable[[Request, E], Response]) -> None:
    """Answer exceptions of `kind` with `handle`."""

    async def handler(request: Request, error: Exception) -> Response:
        if not isinstance(error, kind):
            raise error
        return handle(request, error)

    app.add_exception_handler(kind, handler)


def error_response(
    request: Request,
    error: GuerdonError,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer for `error`. A retryable error says when to retry; each names the request."""
    own = request_id(request)
    body = error.to_json()
    body["error"]["request_id"] = own
    # An unexpected error is answered outside of all middleware.
    more = {REQUEST_ID: own, **shared_headers(request.scope)}
    more |= {"retry-after": str(error.retry_seconds)} if error.retryable else {}
    return JSONResponse(body, status or error.status, {**(headers or {}), **more})


def request_id(request: Request) -> str:
    """The request's id: what X-Request-ID said if that was well formed, else a new one."""
    own: str = request.scope["state"]["request_id"]
    return own


class RequestIds:
    """Gives each request an id: in its log lines, in `request_id`, and in the response's header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own = _accepted_id(scope)
        scope.setdefault("state", {})["request_id"] = own

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = own
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=own):
            await self._app(scope, receive, send_with_id)


def _accepted_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == REQUEST_ID.encode():
            text = value.decode("latin-1")
            if _REQUEST_ID_FORM.fullmatch(text):
                return str(text)
    return uuid.uuid4().hex


def _validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return error_response(
        request, BadRequest(str(first["msg"]).removeprefix("Value error, "), field, "invalid"), 422
    )


def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    """What the framework refuses by itself, in the one shape of errors."""
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    answer: GuerdonError = BadRequest(str(error.detail))
    if error.status_code == 404:
        answer = NotFound(f"Path not found.{without_slash(request)}", "path")
    elif error.status_code == 405:
        allowed = ", ".join(allowed_methods(request.scope))
        headers["allow"] = allowed
        message = f"Method not allowed: expected one of {allowed}."
        answer = BadRequest(message, "method", "method_not_allowed")
    return error_response(request, answer, error.status_code, headers)


def _gone(_: Request, __: ClientDisconnect) -> Response:
    log.info("client_disconnected")
    return Response(status_code=400)  # nobody reads it


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # The text of the error may hold what a field held. The server prints the traceback.
    log.error("request_failed", request_id=request_id(request), error=type(error).__name__)
    return error_response(request, GuerdonError("Internal error. Retry, or contact the operator."))
