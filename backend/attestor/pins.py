"""The partners' keys that this attestor has pinned: a file of its own, read again when it changes.

{"<distributor>": {"adnet": {"scheme": "standard-webhooks", "secrets": ["whsec_..."]}}}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from eth_utils import is_address, to_checksum_address

from backend.errors import Unavailable
from backend.partner.schemes.standard_webhooks import require_secret

SCHEMES = ("standard-webhooks",)


class PinsError(Unavailable):
    """The pins cannot be used: nothing is signed until the file is mended. The message holds no
    secret."""

    code = "pins"


@dataclass(frozen=True)
class Pin:
    """How one partner's deliveries are authenticated: its scheme and its secrets, several while
    rotating."""

    scheme: str
    secrets: tuple[str, ...] = field(repr=False)


def parse_pins(data: bytes) -> dict[str, dict[str, Pin]]:
    """Distributor (checksummed) -> partner id -> Pin. Raises PinsError with the path of the entry
    at fault."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise PinsError("pins: expected JSON") from None
    pins: dict[str, dict[str, Pin]] = {}
    for distributor, partners in _object(content, "pins").items():
        if not is_address(distributor):
            raise PinsError(f"pins: expected the address of a Distributor, got {distributor!r}")
        program = to_checksum_address(distributor)
        if program in pins:
            raise PinsError(f"pins: {program} stands twice")
        pins[program] = {
            name: _pin(entry, f"{program}.{name}")
            for name, entry in _object(partners, program).items()
        }
    return pins


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PinsError(f"{path}: expected an object")
    return value


def _pin(entry: Any, path: str) -> Pin:
    content = _object(entry, path)
    if unknown := sorted(set(content) - {"scheme", "secrets"}):
        raise PinsError(f"{path}.{unknown[0]}: unknown key: expected scheme and secrets")
    scheme, secrets = content.get("scheme"), content.get("secrets")
    if scheme not in SCHEMES:
        raise PinsError(f"{path}.scheme: expected one of {', '.join(SCHEMES)}")
    if (
        not isinstance(secrets, list)
        or not secrets
        or not all(isinstance(secret, str) for secret in secrets)
    ):
        raise PinsError(f"{path}.secrets: expected a list of at least one text")
    try:
        return Pin(scheme, tuple(require_secret(secret) for secret in secrets))
    except ValueError as error:
        raise PinsError(f"{path}.secrets: {error}") from None


class PinFile:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._data: bytes | None = None
        self._pins: dict[str, dict[str, Pin]] = {}

    def partners(self, distributor: str) -> Mapping[str, Pin]:
        """The pins of one program, by partner id, as the file is now. Raises PinsError."""
        with self._lock:
            try:
                data = self._path.read_bytes()
            except OSError as error:
                raise PinsError(f"pins: the file cannot be read ({error.strerror})") from None
            # Compared by content: a change within the clock's grain must not go unseen.
            if data != self._data:
                self._pins = parse_pins(data)
                self._data = data
            return self._pins.get(distributor, {})
