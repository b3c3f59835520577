"""Standard Webhooks: HMAC-SHA256 over `id.timestamp.body` (https://www.standardwebhooks.com).

This module is pure: the API and the attestors share it. Everybody who holds the secret can sign, so
this evidence convinces only those who hold the secret.
"""

import base64
import json
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

from backend.partner.evidence import Delivery
from backend.partner.report import ItemOutcome, ItemResult, Report, ReportError, decoded, parse_body
from backend.partner.schemes.base import Acknowledgement, SignatureError, require_form

NAME = "standard-webhooks"
METHOD = "POST"
ID, TIMESTAMP, SIGNATURE = HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
TIMESTAMP_TOLERANCE_SECONDS = 300
SECRET_PREFIX = "whsec_"
VERSION = re.compile(r"v[0-9]{1,2}[a-z]?")
UNIX_SECONDS = re.compile(r"[1-9][0-9]{0,11}")


class StandardWebhooks:
    """The scheme as the API and the attestors use it."""

    name = NAME
    method = METHOD
    headers = HEADERS
    lists = frozenset({SIGNATURE})

    def generate_secret(self) -> str:
        """Return a fresh secret: `whsec_` and 32 random bytes in base64."""
        return generate_secret()

    def require_secret(self, secret: str) -> str:
        """Return `secret` if it is well formed. Raises ValueError, which never repeats it."""
        return require_secret(secret)

    def require_head(self, delivery: Delivery, now: datetime | None) -> None:
        """Check form and, if `now` is given, freshness. Raises SignatureError."""
        require_form(self, delivery)
        _offered(delivery)
        if now is not None:
            require_fresh(delivery, now)

    def authenticate(
        self, secrets: Sequence[str], delivery: Delivery, now: datetime | None
    ) -> None:
        """Check form, signature and, if `now` is given, freshness. Raises SignatureError,
        BodyError."""
        self.require_head(delivery, now)
        require_signature(secrets, delivery)

    def parse(self, delivery: Delivery) -> list[Report | ReportError]:
        """Read the items of the JSON body, in order. Raises BodyError."""
        return parse_body(delivery.body)

    def acknowledge(self, results: Sequence[ItemResult]) -> Acknowledgement:
        """Return one result for each item: 200 if none was rejected, 422 if all were, else 207."""
        rejected = sum(result.outcome is ItemOutcome.REJECTED for result in results)
        status = 200 if not rejected else 422 if rejected == len(results) else 207
        body = {"results": [result.to_json() for result in results]}
        encoded = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return Acknowledgement(status, "application/json", encoded.encode())


def generate_secret() -> str:
    """Return a fresh secret: `whsec_` and 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def require_secret(secret: str) -> str:
    """Return `secret` if it is well formed. Raises ValueError; the message does not repeat the
    secret."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise ValueError(f"secret: expected {SECRET_PREFIX} and base64") from error
    if not secret.startswith(SECRET_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"secret: expected {SECRET_PREFIX} and the base64 of 24 to 64 bytes")
    return secret


def sign(secret: str, message_id: str, at: datetime, body: bytes, target: str = "/") -> Delivery:
    """Return the delivery of `body` as a partner signs it. The signature leaves `target` out."""
    signature = Webhook(secret).sign(message_id, at, body.decode())
    return make_delivery(message_id, str(int(at.timestamp())), signature, body, target)


def make_delivery(
    message_id: str, timestamp: str, signature: str, body: bytes, target: str = "/"
) -> Delivery:
    """Return a delivery with these three headers."""
    values = (message_id, timestamp, signature)
    return Delivery(NAME, METHOD, target, tuple(zip(HEADERS, values, strict=True)), body)


def require_signature(secrets_: Sequence[str], delivery: Delivery) -> None:
    """Check that one of a partner's secrets signed the delivery, however long ago.

    A partner has several secrets while it rotates them.

    Raises:
        SignatureError: with the header at fault.
        BodyError: the body is not UTF-8, which is what partners sign.
    """
    timestamp = _timestamp(delivery)
    text = decoded(delivery.body)
    offered = _offered(delivery)
    for secret in secrets_:
        expected = Webhook(secret).sign(delivery.header(ID), timestamp, text)[3:]
        # Encoded, because compare_digest refuses text that is not ASCII.
        if any(
            secrets.compare_digest(expected.encode(), signature.encode()) for signature in offered
        ):
            return
    raise SignatureError(
        SIGNATURE,
        "no signature matches: check the secret and that id.timestamp.body is signed as sent",
    )


def _offered(delivery: Delivery) -> list[str]:
    """The signatures of version 1, without their version. Raises SignatureError.

    The standard separates signatures by spaces. Proxies that join repeated headers put commas
    between, and some change the space; base64 has neither, so the list keeps one meaning.
    """
    words = re.split("[ ,]+", delivery.header(SIGNATURE))
    versions = [VERSION.fullmatch(word) is not None for word in words] + [True]
    offered = [
        words[place + 1]
        for place, word in enumerate(words)
        if word == "v1" and not versions[place + 1] and words[place + 1]
    ]
    if not offered:
        raise SignatureError(
            SIGNATURE, "expected v1,<base64 HMAC-SHA256>, several separated by spaces"
        )
    return offered


def require_fresh(delivery: Delivery, now: datetime) -> None:
    """Check that the delivery was signed within five minutes of `now`. Raises SignatureError."""
    age = (now - _timestamp(delivery)).total_seconds()
    if abs(age) > TIMESTAMP_TOLERANCE_SECONDS:
        direction = "old" if age > 0 else "in the future"
        raise SignatureError(
            TIMESTAMP,
            f"{abs(age):.0f} seconds {direction}, more than {TIMESTAMP_TOLERANCE_SECONDS}: "
            "sign again when sending again",
            "stale_timestamp",
        )


def _timestamp(delivery: Delivery) -> datetime:
    text = delivery.header(TIMESTAMP)
    # One form only: the signature is over the number, so leading zeros could be added to a header
    # that was signed without.
    if not UNIX_SECONDS.fullmatch(text):
        raise SignatureError(TIMESTAMP, "expected Unix seconds")
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SignatureError(TIMESTAMP, "expected Unix seconds") from error
