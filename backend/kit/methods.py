"""What HTTP asks of every route: HEAD beside GET, OPTIONS, absolute targets; and reads across
origins."""

import re
from collections.abc import Collection, Iterable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_READS = ("GET", "HEAD")
_SHARED = "content-length, retry-after, x-request-id"


class Methods:
    """Answers HEAD as GET without a body, and OPTIONS from the routes. A target with scheme and
    host is the path in it.

    Pages of any origin may read what lies below `public`. Nobody's credentials are involved: the
    browser sends none, and the answer does not depend on them.
    """

    def __init__(self, app: ASGIApp, public: tuple[str, ...] = ()) -> None:
        self._app, self._public = app, public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _with_path(scope)
        if scope["method"] == "OPTIONS" and (allowed := allowed_methods(scope)):
            answer = Response(status_code=204, headers=self._options(scope, allowed))
            await answer(scope, receive, send)
            return
        asked = scope["method"]
        scope["shared"] = asked in _READS and scope["path"].startswith(self._public)

        async def send_as_asked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(shared_headers(scope))
            elif asked == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        if asked == "HEAD":
            # A copy: the server must still know that no body may follow.
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send_as_asked)

    def _options(self, scope: Scope, allowed: Collection[str]) -> dict[str, str]:
        wanted = Headers(scope=scope).get("access-control-request-method", "")
        preflight: dict[str, str] = {}
        if wanted in _READS and wanted in allowed and scope["path"].startswith(self._public):
            preflight = {
                "access-control-allow-origin": "*",
                "access-control-allow-methods": ", ".join(_READS),
                "access-control-allow-headers": "*",
                "access-control-max-age": "86400",
            }
        return {"allow": ", ".join(allowed)} | preflight


def shared_headers(scope: Scope) -> dict[str, str]:
    """The headers that let a page of any origin read the answer; none where it may not."""
    if not scope.get("shared"):
        return {}
    return {"access-control-allow-origin": "*", "access-control-expose-headers": _SHARED}


def allowed_methods(scope: Scope) -> list[str]:
    """The methods that the application has for the path; none for an unknown path."""
    routes: Iterable[BaseRoute] = scope["app"].routes
    found = [
        method
        for method in _METHODS
        if any(route.matches(_asked(scope, method))[0] is Match.FULL for route in routes)
    ]
    if "GET" in found:
        found.insert(1, "HEAD")
    return [*found, "OPTIONS"] if found else []


def _asked(scope: Scope, method: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": scope["path"], "root_path": "", "headers": []}


def _with_path(scope: Scope) -> Scope:
    """A proxy's form of a target, `http://host/path`, as the path alone (RFC 9112, 3.2.2)."""
    raw = scope.get("raw_path") or scope["path"].encode()
    origin, raw_origin = _ORIGIN.match(scope["path"]), _ORIGIN.match(raw.decode("latin-1"))
    if origin is None or raw_origin is None:
        return scope
    path, raw_path = scope["path"][origin.end() :], raw[raw_origin.end() :]
    return {**scope, "path": path or "/", "raw_path": raw_path or b"/"}


def without_slash(request: Request) -> str:
    """A hint for an unknown path that ends in a slash, else an empty text."""
    path = request.scope["path"]
    if path.endswith("/") and allowed_methods({**request.scope, "path": path.rstrip("/")}):
        return " There is one without the slash at its end."
    return ""
