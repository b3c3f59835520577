"""Which verifying key a program is expected to have: given by whoever audits, or known on this machine."""

import json
import re
from pathlib import Path

from backend.errors import Invalid
from prover.cache import cache_root
from prover.keys import KeyFolder, SetupError, VerifyingKey

_DIGEST = re.compile(r"(0x)?[0-9a-fA-F]{64}")


def known_keys() -> dict[str, str]:
    """Digest -> where it is from, for every key in the user's cache folder. Folders that hold no key are passed over."""
    found = {}
    for manifest in sorted((cache_root() / "keys").glob("*/manifest.json")):
        try:
            key = KeyFolder(manifest.parent)
            found[key.verifying_key.digest] = f"{key.manifest.origin} key of instance {key.manifest.instance}"
        except (OSError, ValueError, TypeError, KeyError, SetupError):
            continue
    return found


def expected_key(given: str) -> dict[str, str]:
    """Digest -> where it is from, of a key given as a digest (64 hex digits), a verification_key.json, or a folder that holds one.

    Raises Invalid for anything else.
    """
    if _DIGEST.fullmatch(given):
        return {given.removeprefix("0x").lower(): "the digest given"}
    path = Path(given)
    path = path / "verifying_key.json" if path.is_dir() else path
    try:
        return {VerifyingKey.from_snarkjs(json.loads(path.read_text())).digest: str(path)}
    except (OSError, ValueError, SetupError) as error:
        raise Invalid(
            f"key: expected 64 hex digits, a verification_key.json or a key folder, got {given!r} ({error})", field="key"
        ) from error
