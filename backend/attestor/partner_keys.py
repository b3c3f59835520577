"""The partner keys of this attestor: a file of its own, which is read again when it changes.

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
from backend.partner.schemes.registry import scheme as find_scheme


class PartnerKeysError(Unavailable):
    """The partner keys cannot be used: the attestor signs nothing until the file is mended.

    The message holds no secret.
    """

    code = "pins"


@dataclass(frozen=True)
class PartnerKeys:
    """How one partner's deliveries are authenticated: its scheme and its secrets.

    A partner has several secrets while it rotates them.
    """

    scheme: str
    secrets: tuple[str, ...] = field(repr=False)


def parse_partner_keys(data: bytes) -> dict[str, dict[str, PartnerKeys]]:
    """Return Distributor (checksummed) -> partner id -> PartnerKeys.

    Raises:
        PartnerKeysError: with the path of the entry at fault.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise PartnerKeysError("pins: expected JSON") from None
    found: dict[str, dict[str, PartnerKeys]] = {}
    for distributor, partners in _object(content, "pins").items():
        if not is_address(distributor):
            raise PartnerKeysError(
                f"pins: expected the address of a Distributor, got {distributor!r}"
            )
        program = to_checksum_address(distributor)
        if program in found:
            raise PartnerKeysError(f"pins: {program} is listed twice")
        found[program] = {
            name: _partner_keys(entry, f"{program}.{name}")
            for name, entry in _object(partners, program).items()
        }
    return found


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PartnerKeysError(f"{path}: expected an object")
    return value


def _partner_keys(entry: Any, path: str) -> PartnerKeys:
    content = _object(entry, path)
    if unknown := sorted(set(content) - {"scheme", "secrets"}):
        raise PartnerKeysError(f"{path}.{unknown[0]}: unknown key: expected scheme and secrets")
    scheme, secrets = content.get("scheme"), content.get("secrets")
    try:
        known = find_scheme(str(scheme))
    except ValueError as error:
        raise PartnerKeysError(f"{path}.{error}") from None
    if (
        not isinstance(secrets, list)
        or not secrets
        or not all(isinstance(secret, str) for secret in secrets)
    ):
        raise PartnerKeysError(f"{path}.secrets: expected a list of at least one text")
    try:
        return PartnerKeys(known.name, tuple(known.require_secret(secret) for secret in secrets))
    except ValueError as error:
        raise PartnerKeysError(f"{path}.secrets: {error}") from None


class PartnerKeyFile:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._data: bytes | None = None
        self._partners: dict[str, dict[str, PartnerKeys]] = {}

    def partners(self, distributor: str) -> Mapping[str, PartnerKeys]:
        """Return partner id -> keys of one program, as the file is now.

        Raises:
            PartnerKeysError: the file cannot be used.
        """
        with self._lock:
            try:
                data = self._path.read_bytes()
            except OSError as error:
                raise PartnerKeysError(
                    f"pins: the file cannot be read ({error.strerror})"
                ) from None
            # Compared by content: a change within the clock's grain must not go unseen.
            if data != self._data:
                self._partners = parse_partner_keys(data)
                self._data = data
            return self._partners.get(distributor, {})
