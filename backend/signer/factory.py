"""Opens the signer that a setting names: `keystore:PATH`, or a bare path to a keystore."""

from pathlib import Path

from backend.signer import keystore
from backend.signer.base import Signer, SignerError


def open_signer(uri: str | Path, password: str) -> Signer:
    """The signer at `uri`.

    Raises:
        SignerError: `uri` names a kind of signer that does not exist.
        KeystoreError (a SignerError): the file cannot be read with `password`.
    """
    text = str(uri)
    scheme, separator, rest = text.partition(":")
    # A path that was written before there were kinds has no scheme; one may still hold a colon.
    if not separator or "/" in scheme or Path(text).exists():
        return keystore.load(Path(text).expanduser(), password)
    if scheme == "keystore":
        return keystore.load(Path(rest).expanduser(), password)
    raise SignerError(f"signer: expected keystore:PATH or a path, got the kind {scheme!r}")


def relative_to(uri: str, folder: Path) -> str:
    """`uri`, its path taken from `folder` if it is relative. Another kind of signer is left as it
    is."""
    scheme, separator, rest = uri.partition(":")
    if separator and "/" not in scheme and not (folder / uri).exists():
        return f"keystore:{folder / Path(rest).expanduser()}" if scheme == "keystore" else uri
    return str(folder / Path(uri).expanduser())
