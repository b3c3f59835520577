"""How partners sign. So far: Standard Webhooks (HMAC-SHA256 over `id.timestamp.body`,
https://www.standardwebhooks.com).

Pure: the API and the attestors share it. Whoever holds the secret can sign, so this evidence
convinces only those who hold it.
"""

import base64
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

from backend.partner.evidence import Delivery

TIMESTAMP_TOLERANCE_SECONDS = 300
SECRET_PREFIX = "whsec_"
UNIX_SECONDS = re.compile(r"[1-9][0-9]{0,11}")


class SignatureError(Exception):
    """A delivery is not signed as it must be. `field` is the header at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def generate_secret() -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64."""
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


def sign(secret: str, message_id: str, at: datetime, body: bytes) -> Delivery:
    """What a partner does: the delivery of `body`, signed."""
    signature = Webhook(secret).sign(message_id, at, body.decode())
    return Delivery(message_id, str(int(at.timestamp())), signature, body)


def require_signature(secrets_: Sequence[str], delivery: Delivery) -> None:
    """Check that one of a partner's secrets (several while rotating) signed the delivery, whenever
    that was.

    Raises:
        SignatureError: with the header at fault.
    """
    timestamp = _timestamp(delivery)
    try:
        text = delivery.body.decode()
    except UnicodeDecodeError as error:
        raise SignatureError("body", "expected UTF-8") from error
    offered = [part[3:] for part in delivery.signature.split(" ") if part.startswith("v1,")]
    if not offered:
        raise SignatureError(
            "webhook-signature", "expected v1,<base64 HMAC-SHA256>, several separated by spaces"
        )
    for secret in secrets_:
        expected = Webhook(secret).sign(delivery.message_id, timestamp, text)[3:]
        # Encoded, because compare_digest refuses text that is not ASCII.
        if any(
            secrets.compare_digest(expected.encode(), signature.encode()) for signature in offered
        ):
            return
    raise SignatureError(
        "webhook-signature",
        "no signature matches: check the secret and that id.timestamp.body is signed as sent",
    )


def require_fresh(delivery: Delivery, now: datetime) -> None:
    """Check that the delivery was signed within five minutes of `now`. Raises SignatureError."""
    age = (now - _timestamp(delivery)).total_seconds()
    if abs(age) > TIMESTAMP_TOLERANCE_SECONDS:
        direction = "old" if age > 0 else "in the future"
        raise SignatureError(
            "webhook-timestamp",
            f"{abs(age):.0f} seconds {direction}, more than {TIMESTAMP_TOLERANCE_SECONDS}: "
            "sign again when sending again",
        )


def _timestamp(delivery: Delivery) -> datetime:
    # One form only: the signature is over the number, so leading zeros could be added to a header
    # that was signed without.
    if not UNIX_SECONDS.fullmatch(delivery.timestamp):
        raise SignatureError("webhook-timestamp", "expected Unix seconds")
    try:
        return datetime.fromtimestamp(int(delivery.timestamp), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SignatureError("webhook-timestamp", "expected Unix seconds") from error
