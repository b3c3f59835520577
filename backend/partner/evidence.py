"""Raw evidence: one signed request of a partner, and the one encoding that its hash is taken over.

PROTOCOL section 6 fixes the encoding. This module is pure: the API and the attestors share it.
"""

from dataclasses import dataclass

from prover.eip712 import evidence_hash

PARTNER_HEADER = "guerdon-partner"
"""The HTTP header that names the partner."""

ENCODING_VERSION = 1
"""The first byte of every encoding."""

TARGET_LENGTH_MAX = 2048
HEADER_LENGTH_MAX = 1024
HEADERS_MAX = 16
"""Limits on a delivery's texts. The API refuses a longer request; so does an attestor."""


@dataclass(frozen=True)
class Delivery:
    """One signed request as received.

    `target` is the path and the query. `headers` are (name, value) of the headers that the scheme
    names, in the scheme's order, with lower-case names; no other header is evidence.
    """

    scheme: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header; an empty text if the delivery does not have the header."""
        return next((value for own, value in self.headers if own == name), "")

    def encode(self) -> bytes:
        """The bytes that the evidence hash covers. Two deliveries never share an encoding.

        Each part follows its length, and the headers follow their number, each as 4 big-endian
        bytes. So the bytes read from left to right give back one delivery.
        """
        texts = [text for header in self.headers for text in header]
        return b"".join(
            (
                bytes([ENCODING_VERSION]),
                *(_sized(text.encode()) for text in (self.scheme, self.method, self.target)),
                len(self.headers).to_bytes(4, "big"),
                *(_sized(text.encode()) for text in texts),
                _sized(self.body),
            )
        )

    def hash(self, salt: bytes) -> bytes:
        """The `evidence` of every interaction in the delivery. `salt` is 32 random bytes."""
        return evidence_hash(salt, self.encode())


def _sized(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part
