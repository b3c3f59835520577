"""Raw evidence: what a partner sent, byte for byte, and the one encoding that its hash is taken
over (PROTOCOL section 6).

Pure: the API and the attestors share it.
"""

from dataclasses import dataclass

from prover.eip712 import evidence_hash

PARTNER_HEADER = "guerdon-partner"
"""The HTTP header that names the partner."""


@dataclass(frozen=True)
class Delivery:
    """One signed request as received. The three texts are the `webhook-id`, `webhook-timestamp` and
    `webhook-signature` headers."""

    message_id: str
    timestamp: str
    signature: str
    body: bytes

    @property
    def raw(self) -> bytes:
        """Each part behind its length as 4 big-endian bytes, so that no two deliveries share an
        encoding."""
        parts = (
            self.message_id.encode(),
            self.timestamp.encode(),
            self.signature.encode(),
            self.body,
        )
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    def hash(self, salt: bytes) -> bytes:
        """The `evidence` of every interaction in the delivery; `salt` is 32 random bytes kept
        apart."""
        return evidence_hash(salt, self.raw)
