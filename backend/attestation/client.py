"""The lead's side of an attestor's HTTP: ask, and get a typed outcome. Nothing is raised for what an attestor or the network may do."""

from dataclasses import dataclass
from typing import Any

import httpx
from eth_keys import keys
from eth_keys.exceptions import BadSignature, ValidationError
from eth_utils import to_checksum_address

CONNECT_SECONDS = 5
ANSWER_SECONDS = 60
"""An attestor checks every signature and hashes every tree before it answers."""


@dataclass(frozen=True)
class Attested:
    """A signature (65 bytes) over a digest (32 bytes), checked to be the attestor's."""

    attestor: str
    digest: bytes
    signature: bytes


@dataclass(frozen=True)
class NotYet:
    """Ask again later: the attestor is down or its chain is behind. `already_landed` too: the watcher is about to see the batch."""

    code: str
    message: str


@dataclass(frozen=True)
class MissingLeaves:
    """Send the leaves of these (bucket, sequence), then ask again."""

    batches: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Refused:
    """The attestor will not sign this, however often it is asked. `reason` is its word for it, `item` the item or delivery at fault."""

    code: str
    message: str
    reason: str | None = None
    item: int | None = None
    field: str | None = None


Outcome = Attested | NotYet | MissingLeaves | Refused


def request_attestation(
    base_url: str, token: str | None, payload: dict[str, Any], *, digest: bytes | None = None, timeout: float = ANSWER_SECONDS
) -> Outcome:
    """Ask one attestor. With `digest` (what the lead computed), an answer over anything else is Refused as `bad_answer`."""
    response = _post(f"{base_url.rstrip('/')}/v1/attestations", token, payload, timeout)
    if isinstance(response, NotYet):
        return response
    if response.status_code != 200:
        return _failure(response)
    return _attested(response, digest)


def send_leaves(
    base_url: str, token: str | None, payload: dict[str, Any], *, timeout: float = ANSWER_SECONDS
) -> NotYet | Refused | None:
    """Send one landed batch's leaves; None once the attestor holds them."""
    response = _post(f"{base_url.rstrip('/')}/v1/leaves", token, payload, timeout)
    if isinstance(response, NotYet):
        return response
    if response.status_code == 204:
        return None
    outcome = _failure(response)
    return Refused("bad_answer", "leaves were answered with missing leaves") if isinstance(outcome, MissingLeaves) else outcome


def _post(url: str, token: str | None, payload: dict[str, Any], timeout: float) -> httpx.Response | NotYet:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        return httpx.post(url, json=payload, headers=headers, timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return NotYet("unreachable", type(error).__name__)


def _attested(response: httpx.Response, digest: bytes | None) -> Attested | Refused:
    try:
        answer = response.json()
        found = Attested(
            to_checksum_address(answer["attestor"]),
            bytes.fromhex(answer["digest"].removeprefix("0x")),
            bytes.fromhex(answer["signature"].removeprefix("0x")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused("bad_answer", "the answer is not an attestation")
    if digest is not None and found.digest != digest:
        return Refused("bad_answer", "the attestor signed another digest", field="digest")
    # Of what an attestor answers nothing is believed: a bad signature would cost a reverted transaction.
    if _signer(found) != found.attestor:
        return Refused("bad_answer", "the signature is not the attestor's", field="signature")
    return found


def _signer(attested: Attested) -> str | None:
    if len(attested.signature) != 65 or attested.signature[64] not in (27, 28):
        return None
    try:
        signature = keys.Signature(attested.signature[:64] + bytes([attested.signature[64] - 27]))
        return signature.recover_public_key_from_msg_hash(attested.digest).to_checksum_address()
    except (BadSignature, ValidationError, ValueError):
        return None


def _failure(response: httpx.Response) -> NotYet | MissingLeaves | Refused:
    try:
        error = response.json()["error"]
        code, message, retryable = str(error["code"]), str(error["message"]), bool(error["retryable"])
        if code == "missing_leaves":
            return MissingLeaves(tuple((int(batch["bucket"]), int(batch["sequence"])) for batch in error["batches"]))
    except (ValueError, KeyError, TypeError):
        unreadable = f"status {response.status_code} without a readable error"
        return NotYet("bad_answer", unreadable) if response.status_code >= 500 else Refused("bad_answer", unreadable)
    if retryable or response.status_code >= 500 or code == "already_landed":
        return NotYet(code, message)
    return Refused(code, message, error.get("reason"), error.get("item"), error.get("field"))
