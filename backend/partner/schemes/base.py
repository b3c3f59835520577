"""What a partner's scheme must offer: check a signature, read a body, answer the partner.

The API and the attestors share the schemes: what is booked is what is attested. A scheme is pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from backend.partner.evidence import Delivery
from backend.partner.report import ItemResult, Report, ReportError


class SignatureError(Exception):
    """A delivery is not signed as its scheme requires. `field` is the header or part at fault."""

    def __init__(self, field: str, message: str, code: str = "bad_signature") -> None:
        super().__init__(message)
        self.field, self.code = field, code


@dataclass(frozen=True)
class Acknowledgement:
    """What the partner's server is told: an HTTP status, a media type and a body."""

    status: int
    media_type: str
    body: bytes


class Scheme(Protocol):
    """One way in which partners sign and report."""

    @property
    def name(self) -> str:
        """The scheme's name in the database, in partners.json and in the evidence."""
        ...

    @property
    def method(self) -> str:
        """The HTTP method of a delivery."""
        ...

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers that are evidence: lower-case names, in the order of the encoding."""
        ...

    @property
    def lists(self) -> frozenset[str]:
        """Those of `headers` that hold a list. Sent several times, the lists are joined."""
        ...

    def generate_secret(self) -> str:
        """Return a fresh secret."""
        ...

    def require_secret(self, secret: str) -> str:
        """Return `secret` if it is well formed. Raises ValueError, which never repeats it."""
        ...

    def require_head(self, delivery: Delivery, now: datetime | None) -> None:
        """Check what can be checked before there is a body: form, and freshness at `now`.

        Raises:
            SignatureError: with the header or part at fault.
        """
        ...

    def authenticate(
        self, secrets: Sequence[str], delivery: Delivery, now: datetime | None
    ) -> None:
        """Check that one of the secrets signed the delivery, and that it is fresh at `now`.

        An attestor passes None for `now`: a batch is attested long after its deliveries.

        Raises:
            SignatureError: with the header or part at fault.
            BodyError: the body cannot be what the scheme signs.
        """
        ...

    def parse(self, delivery: Delivery) -> list[Report | ReportError]:
        """Read the items of an authenticated delivery, in order.

        Raises:
            BodyError: the body as a whole cannot be read.
        """
        ...

    def acknowledge(self, results: Sequence[ItemResult]) -> Acknowledgement:
        """Return the answer to a booked delivery; `results` has one entry for each item."""
        ...


def require_form(scheme: Scheme, delivery: Delivery) -> None:
    """Check that a delivery has the scheme's name, its method and exactly its headers.

    Raises:
        SignatureError: with the part at fault.
    """
    if delivery.scheme != scheme.name:
        raise SignatureError("scheme", f"expected {scheme.name}")
    if delivery.method != scheme.method:
        raise SignatureError("method", f"expected {scheme.method}")
    if tuple(name for name, _ in delivery.headers) != scheme.headers:
        raise SignatureError("headers", f"expected exactly {', '.join(scheme.headers)}, in order")
