"""A key in an encrypted file: Web3 Secret Storage version 3, as wallets and nodes write it."""

import json
import re
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32

from backend.kit.files import write_private
from backend.signer.base import SignedTransaction, SignerError

SCRYPT_N = 2**18
"""Cost of a key that guards value: about a second and 256 MiB for each guess."""
SCRYPT_N_LOCAL = 2**12
"""For tests and chains on this machine, whose keys guard nothing: milliseconds."""
FILE_BYTES_MAX = 2**16
"""A keystore has some 500 bytes."""
SCRYPT_COST_MAX = 2**24
"""Largest n * r * p of a file: 2^21 is usual. Memory is 128 * n * r bytes."""
PBKDF2_ROUNDS_MAX = 10**8
_HEX_ADDRESS = re.compile(r"(0[xX])?[0-9a-fA-F]{40}")

TRANSACTION_FIELDS = ("chainId", "nonce", "gas")
BID, LEGACY_BID = ("maxFeePerGas", "maxPriorityFeePerGas"), ("gasPrice",)


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
        legacy = "gasPrice" in transaction and "type" not in transaction
        if not legacy and transaction.get("type", 2) not in (2, "0x2"):
            raise SignerError(
                "type: expected an EIP-1559 transaction (2, with maxFeePerGas), or none with "
                "gasPrice"
            )
        bid, other = (LEGACY_BID, (*BID, "accessList")) if legacy else (BID, LEGACY_BID)
        if missing := [name for name in TRANSACTION_FIELDS + bid if name not in transaction]:
            raise SignerError(f"{missing[0]}: missing from the transaction")
        if mixed := [name for name in other if name in transaction]:
            raise SignerError(f"{mixed[0]}: not in a transaction with {bid[0]}")
        if not isinstance(transaction["chainId"], int) or transaction["chainId"] < 1:
            # Without a chain's id (EIP-155), every chain takes a legacy transaction.
            raise SignerError("chainId: expected a number above 0")
        try:
            signed = self._account.sign_transaction(
                transaction if legacy else {**transaction, "type": 2}
            )
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
    secret = _password_bytes(password)
    text = json.dumps(Account.encrypt(account.key, secret, kdf="scrypt", iterations=scrypt_n))
    try:
        write_private(Path(path), text, new=True)
    except FileExistsError as error:
        raise KeystoreError(f"{path}: exists already, and a key is never overwritten") from error
    except OSError as error:
        raise KeystoreError(f"{path}: cannot be written: {error.strerror}") from error
    return KeystoreSigner(account)


def load(path: Path, password: str) -> KeystoreSigner:
    """Decrypt the key in `path`, as Geth, Foundry and other tools write it: the file need not state
    its address.

    Raises KeystoreError for a file that cannot be read or is damaged, a wrong password, and an
    address that is not the key's, told apart where they can be.
    """
    content = _content(path)
    stated = _stated_address(path, content)
    try:
        key = Account.decrypt(content, _password_bytes(password))
        account = Account.from_key(key)
    except Exception as error:
        # The library reads the file unchecked: any kind of error can come of a damaged one.
        if str(error) != "MAC mismatch":
            raise KeystoreError(f"{path}: {_DAMAGED}") from None
        which = "wrong password" if password else "wrong password (it is empty)"
        raise KeystoreError(f"{path}: {which}, or the file is damaged") from None
    # The MAC does not cover the initialisation vector; a damaged one decrypts to another key.
    if stated is not None and account.address.lower() != stated:
        raise KeystoreError(
            f"{path}: states address {stated}, but its key is that of {account.address}: it is "
            "damaged, or was edited"
        )
    return KeystoreSigner(account)


def _password_bytes(password: str) -> Any:
    """As the environment gave it: bytes that are no UTF-8 are part of a password too. The library
    takes bytes, and says that it takes text."""
    return password.encode("utf-8", "surrogateescape")


_DAMAGED = "damaged, or not a Web3 Secret Storage file (version 3)"


def _content(path: Path) -> dict[str, Any]:
    """What the file holds, checked as far as the library does not: keys of the two upper levels in
    lower case. Raises KeystoreError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeystoreError(f"{path}: cannot be read: {error.strerror}") from error
    if not data.strip():
        raise KeystoreError(f"{path}: the file is empty, so it is damaged or no keystore")
    damaged = KeystoreError(f"{path}: {_DAMAGED}")
    try:
        content = _lower_keys(json.loads(data)) if len(data) <= FILE_BYTES_MAX else {}
    except (ValueError, RecursionError):
        raise damaged from None
    crypto = _lower_keys(content.get("crypto"))
    if not crypto:
        raise damaged
    parameters = _lower_keys(crypto.get("kdfparams"))
    for name, found, expected in (
        ("version", content.get("version"), (3,)),
        ("cipher", crypto.get("cipher"), ("aes-128-ctr",)),
        ("kdf", crypto.get("kdf"), ("scrypt", "pbkdf2")),
    ):
        if found not in expected:
            words = " or ".join(map(str, expected))
            raise KeystoreError(f"{path}: {_DAMAGED}: expected {name} {words}, got {found!r}")
    # With fewer bytes the MAC would not depend on the password.
    numbers = [parameters.get("dklen"), *(parameters.get(n, 1) for n in ("n", "r", "p", "c"))]
    if not all(type(number) is int and number > 0 for number in numbers) or numbers[0] < 32:
        raise damaged
    if numbers[1] * numbers[2] * numbers[3] > SCRYPT_COST_MAX or numbers[4] > PBKDF2_ROUNDS_MAX:
        raise KeystoreError(f"{path}: its kdfparams ask for more memory or time than any tool's")
    return content | {"crypto": crypto | {"kdfparams": parameters}}


def _stated_address(path: Path, content: dict[str, Any]) -> str | None:
    """The address that the file states, in lower case with 0x; None if it states none."""
    stated = content.get("address")
    if stated is None or stated == "":
        return None
    if not isinstance(stated, str) or not _HEX_ADDRESS.fullmatch(stated):
        raise KeystoreError(f"{path}: address: expected 40 hex digits: the file is damaged")
    return "0x" + stated[-40:].lower()


def _lower_keys(value: Any) -> dict[str, Any]:
    """Some tools write `Crypto`. Anything but an object is as good as an empty one."""
    return {key.lower(): inner for key, inner in value.items()} if isinstance(value, dict) else {}
