"""The coordinator's side of an attestor's HTTP: one request, one typed outcome.

Nothing is raised for what an attestor or the network may do. An attestor is somebody else's
machine: a whole request has one deadline, an answer has a limit in bytes, and nothing in it is
trusted.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import httpx
from eth_utils import to_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from backend.kit.proxies import async_client

CONNECT_SECONDS = 5
ANSWER_SECONDS = 60
"""An attestor checks every signature and hashes every tree before it answers."""
ANSWER_BYTES_MAX = 2**20
SIGNATURE_BYTES_MAX = 4096
"""65 for a key; a contract (EIP-1271) may want several owners' signatures, and each byte is paid
for as calldata."""
TEXT_MAX = 300


@dataclass(frozen=True)
class Attested:
    """A signature over a digest (32 bytes): 65 bytes of a key's, or whatever the contract at the
    attestor's address takes. Not checked yet."""

    attestor: str
    digest: bytes
    signature: bytes


@dataclass(frozen=True)
class AskAgain:
    """Ask again later: the attestor is down or its chain is behind. `already_landed` too: the
    watcher is about to see the batch."""

    code: str
    message: str


@dataclass(frozen=True)
class LeavesAsked:
    """Send the leaves of these (bucket, sequence), then ask again. `distributor` is as the attestor
    has it: the program's, or a predecessor's."""

    batches: tuple[tuple[int, int], ...]
    distributor: str | None = None


@dataclass(frozen=True)
class Refusal:
    """The attestor will not sign this, however often it is asked. `reason` is its word for it,
    `item` the item or delivery at fault."""

    code: str
    message: str
    reason: str | None = None
    item: int | None = None
    field: str | None = None


AttestorOutcome = Attested | AskAgain | LeavesAsked | Refusal


def open_client(token: str | None, urls: Iterable[str]) -> httpx.AsyncClient:
    """A client for the attestors at `urls`, which `token` lets in. Close it when done.

    Raises Unavailable for a proxy of the environment that cannot be used.
    """
    # Not compressed: a few bytes must not become many.
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    # Each request has a deadline of its own for all of it; httpx's would be for each piece.
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
    return async_client(urls, headers=headers, timeout=timeout)


async def request_attestation(
    http: httpx.AsyncClient,
    base_url: str,
    body: bytes,
    digest: bytes,
    *,
    seconds: float = ANSWER_SECONDS,
) -> AttestorOutcome:
    """Ask one attestor for its signature of `digest`, which the coordinator computed.

    `body` is the JSON of the request.
    """
    answer = await _post(http, f"{base_url.rstrip('/')}/v1/attestations", body, seconds)
    if not isinstance(answer, _Response):
        return answer
    return _attested(answer, digest) if answer.status == 200 else _failure(answer)


async def send_leaves(
    http: httpx.AsyncClient, base_url: str, body: bytes, *, seconds: float = ANSWER_SECONDS
) -> AskAgain | Refusal | None:
    """Send one landed batch's leaves; None once the attestor holds them."""
    answer = await _post(http, f"{base_url.rstrip('/')}/v1/leaves", body, seconds)
    if not isinstance(answer, _Response):
        return answer
    if answer.status == 204:
        return None
    outcome = _failure(answer)
    return (
        Refusal("bad_answer", "leaves were answered with missing leaves")
        if isinstance(outcome, LeavesAsked)
        else outcome
    )


@dataclass(frozen=True)
class _Response:
    status: int
    body: bytes


async def _post(
    http: httpx.AsyncClient, url: str, body: bytes, seconds: float
) -> _Response | AskAgain | Refusal:
    try:
        async with asyncio.timeout(seconds), http.stream("POST", url, content=body) as response:
            answer = bytearray()
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > ANSWER_BYTES_MAX:
                    return Refusal(
                        "bad_answer", f"the answer is longer than {ANSWER_BYTES_MAX} bytes"
                    )
            return _Response(response.status_code, bytes(answer))
    except TimeoutError:
        return AskAgain("timeout", f"no whole answer within {seconds} s")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return AskAgain("unreachable", type(error).__name__)


def _printable(text: str) -> str:
    # It goes into a log and a database, which takes neither NUL nor half a character.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:TEXT_MAX])


_Text = Annotated[str, AfterValidator(_printable)]


class _Json(BaseModel):
    # Other keys are let through: an attestor may be newer than its coordinator.
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _SignatureJson(_Json):
    attestor: str
    digest: str
    signature: str


class _Place(_Json):
    bucket: int = Field(ge=0, lt=2**32)
    sequence: int = Field(ge=1, lt=2**63)


class _Error(_Json):
    code: _Text
    message: _Text
    retryable: bool
    reason: _Text | None = None
    item: int | None = Field(None, ge=0, lt=2**32)
    field: _Text | None = None
    batches: list[_Place] | None = None
    distributor: _Text | None = None


class _Failure(_Json):
    error: _Error


def _attested(answer: _Response, digest: bytes) -> Attested | Refusal:
    try:
        said = _SignatureJson.model_validate_json(answer.body)
        attestor, signed, signature = (
            to_checksum_address(said.attestor),
            _bytes(said.digest),
            _bytes(said.signature),
        )
    except ValueError:
        return Refusal("bad_answer", "the answer is not an attestation")
    if signed != digest:
        return Refusal("bad_answer", "the attestor signed another digest", field="digest")
    if len(signature) > SIGNATURE_BYTES_MAX:
        return Refusal(
            "bad_answer",
            f"the signature is longer than {SIGNATURE_BYTES_MAX} bytes",
            field="signature",
        )
    return Attested(attestor, signed, signature)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _failure(answer: _Response) -> AskAgain | LeavesAsked | Refusal:
    try:
        error = _Failure.model_validate_json(answer.body).error
    except ValueError:
        error = None
    if error is None or (error.code == "missing_leaves" and error.batches is None):
        unreadable = f"status {answer.status} without a readable error"
        return (
            AskAgain("bad_answer", unreadable)
            if answer.status >= 500
            else Refusal("bad_answer", unreadable)
        )
    if error.code == "missing_leaves" and error.batches is not None:
        places = tuple((place.bucket, place.sequence) for place in error.batches)
        return LeavesAsked(places, error.distributor)
    if error.retryable or answer.status >= 500 or error.code == "already_landed":
        return AskAgain(error.code, error.message)
    return Refusal(error.code, error.message, error.reason, error.item, error.field)
