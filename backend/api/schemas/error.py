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

CODES = {
    "bad_request": (400, "the target, or a header, cannot be read"),
    "repeated_header": (400, "a header that has one value was sent several times"),
    "unauthorized": (401, "a header that proves who asks is missing or wrong"),
    "bad_signature": (401, "no signature matches"),
    "stale_timestamp": (401, "signed more than five minutes ago or ahead: sign again"),
    "secret_revoked": (401, "rightly signed, by a secret that has ended"),
    "unknown_program": (404, "no such program"),
    "unknown_partner": (404, "the program has no such partner"),
    "unknown_event": (404, "the partner has reported no such event"),
    "unknown_batch": (404, "the bucket has no such batch"),
    "nothing_posted": (404, "the account has nothing on chain yet"),
    "too_slow": (408, "the body does not arrive in time"),
    "conflict": (409, "several chains have a program at this address: call it by its name"),
    "nothing_to_claim": (409, "the account has claimed everything that is on chain"),
    "claim_not_final": (409, "the account has claimed everything; a claim is not final yet"),
    "too_large": (413, "the body is too large"),
    "unsupported_media": (415, "the body is compressed, or not JSON in UTF-8"),
    "invalid": (422, "a field breaks a rule"),
    "internal": (500, "a fault of the server"),
    "unavailable": (503, "a server that the API needs does not answer"),
    "busy": (503, "too much arrives at once"),
    "program_halted": (503, "the program takes nothing in until its operator has looked"),
}
"""Every code of an error, with its status and what it means."""

_PROGRAM = ("unknown_program", "conflict")
_SERVER = ("internal", "unavailable", "busy")


def errors(*codes: str, program: bool = True) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that answers with these codes. `program` is for a route below a
    program."""
    texts: dict[int, list[str]] = {}
    for code in (*codes, *(_PROGRAM if program else ()), *_SERVER):
        status, text = CODES[code]
        texts.setdefault(status, []).append(f"`{code}`: {text}.")
    return {
        status: {"model": ErrorOut, "description": " ".join(lines)}
        for status, lines in sorted(texts.items())
    }
