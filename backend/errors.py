"""Errors that a caller is told about, each with an HTTP status, a stable code and perhaps a field.

GuerdonError (500 internal)
├── BadRequest (400 bad_request)          the request cannot be read
│   └── Unauthorized (401 unauthorized)   the caller's identity is not proven
├── NotFound (404 not_found)
├── Conflict (409 conflict)               not in this state; `retryable` says whether waiting helps
│   └── NotYet (409 not_yet)              not in this state yet; retry
├── TooSlow (408 too_slow)            the request does not arrive in time; retry
├── TooLarge (413 too_large)
├── UnsupportedMedia (415 unsupported_media)
├── Invalid (422 invalid)                 a field breaks a rule
└── Unavailable (503 unavailable)         a server that we depend on is down; retry

The attestor adds its own kinds in backend/attestor/errors.py. They share this shape.

CommandError is apart: it ends a command of the command line, and no server answers with it.
"""


class GuerdonError(Exception):
    """Base of all errors with an answer for the caller. Messages never hold secrets or evidence."""

    status = 500
    code = "internal"
    retryable = False
    retry_seconds = 1
    """After how long a request that failed for this is to be sent again, if it is retryable."""

    def __init__(self, message: str, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if code is not None:
            self.code = code

    def details(self) -> dict[str, object]:
        """What a kind of error says beyond the shape that all errors share."""
        return {}

    def to_json(self) -> dict[str, dict[str, object]]:
        """The body of the answer."""
        shared = {
            "code": self.code,
            "message": self.message,
            "field": self.field,
            "retryable": self.retryable,
        }
        return {"error": shared | self.details()}


class BadRequest(GuerdonError):
    status, code = 400, "bad_request"


class Unauthorized(BadRequest):
    status, code = 401, "unauthorized"


class NotFound(GuerdonError):
    status, code = 404, "not_found"


class Conflict(GuerdonError):
    status, code = 409, "conflict"


class NotYet(Conflict):
    """The required state is not reached yet, but will be: retry."""

    code = "not_yet"
    retryable = True


class TooSlow(GuerdonError):
    status, code = 408, "too_slow"
    retryable = True


class TooLarge(GuerdonError):
    status, code = 413, "too_large"


class UnsupportedMedia(GuerdonError):
    status, code = 415, "unsupported_media"


class Invalid(GuerdonError):
    status, code = 422, "invalid"


class Unavailable(GuerdonError):
    status, code = 503, "unavailable"
    retryable = True


class CommandError(Exception):
    """Expected failure of a command. The message is for the person who ran the command."""
