"""A key in an encrypted file: Web3 Secret Storage version 3, as wallets and nodes write it."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from eth_utils import to_checksum_address

from backend.signer.base import SignedTransaction, SignerError

SCRYPT_N = 2**18
"""Cost of a key that guards value: about a second and 256 MiB for each guess."""
SCRYPT_N_LOCAL = 2**12
"""For tests and chains on this machine, whose keys guard nothing: milliseconds."""
TRANSACTION_FIELDS = ("chainId", "nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas")


class KeystoreError(SignerError):
    """A keystore file cannot be written or read."""


class KeystoreSigner:
    """A Signer whose key was decrypted into this process."""

    def __init__(self, account: LocalAccount) -> None:
        self._account = account
        self.address: str = account.address

    def __repr__(self) -> str:
        return f"KeystoreSigner({self.address})"

    def __reduce__(self) -> Any:
        raise TypeError("a signer is not copied or pickled: its key stays where it is")

    def sign_digest(self, digest: bytes) -> bytes:
        if len(digest) != 32:
            raise SignerError(f"digest: expected 32 bytes, got {len(digest)}")
        return bytes(self._account.unsafe_sign_hash(Hash32(digest)).signature)

    def sign_transaction(self, transaction: dict[str, Any]) -> SignedTransaction:
        if "gasPrice" in transaction or transaction.get("type", 2) not in (2, "0x2"):
            raise SignerError("type: expected an EIP-1559 transaction (2, with maxFeePerGas)")
        if missing := [name for name in TRANSACTION_FIELDS if name not in transaction]:
            raise SignerError(f"{missing[0]}: missing from the transaction")
        try:
            signed = self._account.sign_transaction({**transaction, "type": 2})
        except (TypeError, ValueError) as error:
            raise SignerError(f"transaction: {error}") from error
        return SignedTransaction(bytes(signed.raw_transaction), bytes(signed.hash))


def create(
    path: Path, password: str, *, scrypt_n: int = SCRYPT_N, private_key: bytes | None = None
) -> KeystoreSigner:
    """Write a new key (or `private_key`, 32 bytes) to `path`, mode 0600, whole or not at all.

    `scrypt_n` is a power of two. Raises KeystoreError if `path` exists (a key is never
    overwritten), for an empty password and for a folder that cannot be written.
    """
    if not password:
        raise KeystoreError("password: expected at least one character")
    try:
        account = Account.create() if private_key is None else Account.from_key(private_key)
    except Exception:
        raise KeystoreError(
            "private_key: expected 32 bytes, above 0 and below the order of secp256k1"
        ) from None
    text = json.dumps(Account.encrypt(account.key, password, kdf="scrypt", iterations=scrypt_n))
    try:
        _write_new(Path(path), text)
    except FileExistsError as error:
        raise KeystoreError(f"{path}: exists already, and a key is never overwritten") from error
    except OSError as error:
        raise KeystoreError(f"{path}: cannot be written: {error.strerror}") from error
    return KeystoreSigner(account)


def load(path: Path, password: str) -> KeystoreSigner:
    """Decrypt the key in `path`. Raises KeystoreError for a missing or damaged file and a wrong
    password, told apart where they can be."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise KeystoreError(f"{path}: cannot be read: {error.strerror}") from error
    damaged = KeystoreError(f"{path}: damaged, or not a Web3 Secret Storage file (version 3)")
    try:
        content = json.loads(text)
        stated = to_checksum_address(content["address"])
        key = Account.decrypt(content, password)
    except ValueError as error:
        if str(error) == "MAC mismatch":
            raise KeystoreError(f"{path}: wrong password, or the file is damaged") from None
        raise damaged from None
    except (
        Exception
    ):  # the library reads the file unchecked: any kind of error can come of a damaged one
        raise damaged from None
    try:
        account = Account.from_key(key)
    except Exception:
        raise damaged from None
    # The MAC does not cover the initialisation vector; a damaged one decrypts to another key.
    if account.address != stated:
        raise damaged
    return KeystoreSigner(account)


def _write_new(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    finally:
        os.unlink(name)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
