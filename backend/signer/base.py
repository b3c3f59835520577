"""What a signer is, wherever its key lives."""

from dataclasses import dataclass
from typing import Any, Protocol


class SignerError(Exception):
    """A key cannot be used, or asked to sign something it must not. Messages never hold a key or a
    password."""


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction ready to broadcast: its EIP-2718 (or legacy) bytes and its 32-byte hash."""

    raw: bytes
    hash: bytes


class Signer(Protocol):
    """One secp256k1 key. `address` is checksummed (EIP-55)."""

    @property
    def address(self) -> str: ...

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes as they are: 65 bytes r || s || v, low s, v 27 or 28.

        Raises SignerError.
        """
        ...

    def sign_transaction(self, transaction: dict[str, Any]) -> SignedTransaction:
        """Sign an EIP-1559 transaction given by its JSON-RPC field names.

        With `gasPrice` and no `type` it is a legacy one, for the chain `chainId` alone (EIP-155).
        Raises SignerError.
        """
        ...
