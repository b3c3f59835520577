"""Errors that a caller is told about. Each has an HTTP status, a stable code, and the field at
fault where there is one.

GuerdonError (500 internal)
├── BadRequest (400 bad_request)          the request cannot be read
│   └── Unauthorized (401 unauthorized)   who is asking is not proven
├── NotFound (404 not_found)
├── Conflict (409 conflict)               not in this state; `retryable` says whether waiting helps
├── TooLarge (413 too_large)
├── Invalid (422 invalid)                 a field breaks a rule
└── Unavailable (503 unavailable)         something that we depend on is down; try again
"""


class GuerdonError(Exception):
    """Base of all errors with an answer for the caller. Messages never hold secrets or evidence."""

    status = 500
    code = "internal"
    retryable = False

    def __init__(self, message: str, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if code is not None:
            self.code = code

    def to_json(self) -> dict[str, object]:
        """The body of the answer."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "field": self.field,
                "retryable": self.retryable,
            }
        }


class BadRequest(GuerdonError):
    status, code = 400, "bad_request"


class Unauthorized(BadRequest):
    status, code = 401, "unauthorized"


class NotFound(GuerdonError):
    status, code = 404, "not_found"


class Conflict(GuerdonError):
    status, code = 409, "conflict"


class NotYet(Conflict):
    """The state that this needs is not there yet, but will be: try again."""

    code = "not_yet"
    retryable = True


class TooLarge(GuerdonError):
    status, code = 413, "too_large"


class Invalid(GuerdonError):
    status, code = 422, "invalid"


class Unavailable(GuerdonError):
    status, code = 503, "unavailable"
    retryable = True
