"""What a partner's request says in its target and headers, read before its body.

A proxy may repeat a header, join repetitions, or change the space between values. What still has
one meaning is read; the rest is refused with what was seen.
"""

import re

from fastapi import Request
from starlette.datastructures import Headers

from backend.errors import BadRequest, Unauthorized
from backend.partner.evidence import HEADER_LENGTH_MAX, TARGET_LENGTH_MAX, Delivery
from backend.partner.schemes.base import Scheme

TARGET = re.compile(rf"[\x21-\x7e]{{1,{TARGET_LENGTH_MAX}}}")


def delivery_head(request: Request, scheme: Scheme) -> Delivery:
    """What the scheme takes of the request, with an empty body. Raises Unauthorized, BadRequest."""
    named = tuple(
        (name, _evidence_header(request.headers, name, name in scheme.lists))
        for name in scheme.headers
    )
    return Delivery(scheme.name, request.method, read_target(request), named, b"")


def read_header(headers: Headers, name: str, is_list: bool = False) -> str:
    """A header's one value. The values of a list are joined by spaces.

    Raises:
        Unauthorized: the header is missing.
        BadRequest: it is too long, or there are several values and no list.
    """
    values = [value.strip() for value in headers.getlist(name)]
    value = " ".join(" ".join(values).split()) if is_list else _only(values, name)
    if not value:
        raise Unauthorized(f"the header {name} is missing", name)
    if len(value) > HEADER_LENGTH_MAX:
        raise BadRequest(f"the header is longer than {HEADER_LENGTH_MAX} characters", name)
    return value


def _only(values: list[str], name: str) -> str:
    different = set(values)
    joined = [part.strip() for value in different for part in value.split(",")]
    if len(different) > 1 or (len(joined) > 1 and len(set(joined)) == 1):
        raise BadRequest(
            f"the header {name} was sent several times, or a proxy has joined several: expected "
            "it once",
            name,
            "repeated_header",
        )
    return next(iter(different), "")


def _evidence_header(headers: Headers, name: str, is_list: bool) -> str:
    """A header that the scheme signs or checks: a part of the evidence.

    Characters other than printable ASCII would grow sixfold on the way to the attestors, beyond
    what they accept for a batch.
    """
    value = read_header(headers, name, is_list)
    if not (value.isascii() and value.isprintable()):
        raise Unauthorized("expected printable ASCII", name, "bad_signature")
    return value


def read_target(request: Request) -> str:
    """Path and query as received. Raises BadRequest."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    query: bytes = request.scope.get("query_string", b"")
    target = (raw.split(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")
    if not TARGET.fullmatch(target):
        raise BadRequest(
            f"expected path and query of at most {TARGET_LENGTH_MAX} visible ASCII characters",
            "target",
        )
    return target
