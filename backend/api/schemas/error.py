"""The one shape of errors."""

from typing import Any

from backend.kit.schema import Out


class ErrorFields(Out):
    """`code` is stable, `message` is for people. `field` is the field at fault, if one is.

    If `retryable` is true, the same request can succeed later. `request_id` names the request in
    the server's log; it is the X-Request-ID header of the response too.
    """

    code: str
    message: str
    field: str | None
    retryable: bool
    request_id: str


class ErrorOut(Out):
    """The body of every answer with a status of 400 or more, but for intake's 422 with results."""

    error: ErrorFields


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorOut, "description": "The request is refused."},
    "5XX": {"model": ErrorOut, "description": "A server failed or does not answer. Retry."},
}
"""For every router: the answers to requests that fail."""
