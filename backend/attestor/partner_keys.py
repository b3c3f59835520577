"""The partner keys of this attestor: a file of its own, which is read again when it changes.

{"<distributor>": {"adnet": {"scheme": "standard-webhooks", "secrets": ["whsec_..."]}}}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from backend.errors import Invalid, Unavailable
from backend.kit.address import checked_address
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


def parse_partner_keys(data: bytes) -> dict[str, dict[str, PartnerKeys] | PartnerKeysError]:
    """Return Distributor (checksummed) -> partner id -> PartnerKeys, or the Distributor's fault: a
    fault in one program's keys does not stop the others.

    A Distributor may be there in several spellings. Its partners are all known then; a partner that
    two of them describe differently is a fault.

    Raises:
        PartnerKeysError: with the path of the entry at fault, for what is no one program's.
    """
    try:
        content = json.loads(data, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        raise PartnerKeysError("pins: expected JSON") from None
    found: dict[str, dict[str, PartnerKeys] | PartnerKeysError] = {}
    for distributor, partners in _pairs(content, "pins"):
        try:
            program = checked_address(distributor, "pins")
        except Invalid as error:
            raise PartnerKeysError(f"{error.message} in place of a Distributor") from None
        known = found.setdefault(program, {})
        if isinstance(known, PartnerKeysError):
            continue
        try:
            _add(known, partners, program)
        except PartnerKeysError as error:
            found[program] = error
    return found


class _Pairs(list[tuple[str, Any]]):
    """A JSON object's keys and values, none of them lost to a later one of the same name."""


def _pairs(value: Any, path: str) -> _Pairs:
    if not isinstance(value, _Pairs):
        raise PartnerKeysError(f"{path}: expected an object")
    return value


def _add(known: dict[str, PartnerKeys], partners: Any, program: str) -> None:
    for name, entry in _pairs(partners, program):
        keys = _partner_keys(entry, f"{program}.{name}")
        if known.setdefault(name, keys) != keys:
            raise PartnerKeysError(
                f"{program}.{name}: is listed twice, with different keys: leave one entry, with "
                "all secrets that are valid"
            )


def _partner_keys(entry: Any, path: str) -> PartnerKeys:
    pairs = _pairs(entry, path)
    content = dict(pairs)
    if len(content) < len(pairs):
        raise PartnerKeysError(f"{path}: a key is listed twice")
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
        self._partners: dict[str, dict[str, PartnerKeys] | PartnerKeysError] = {}

    def partners(self, distributor: str) -> Mapping[str, PartnerKeys]:
        """Return partner id -> keys of one program, as the file is now.

        Raises:
            PartnerKeysError: the file, or this program's part of it, cannot be used.
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
            found = self._partners.get(distributor, {})
        if isinstance(found, PartnerKeysError):
            # A new one: each raise would add its traceback to the one that is kept.
            raise PartnerKeysError(found.message)
        return found
