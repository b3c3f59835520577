"""An attestor's partners.json, as `--pins` of `guerdon partner` changes it."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from backend.attestor.partner_keys import PartnerKeysError, parse_partner_keys
from backend.errors import Invalid
from backend.kit.address import checked_address
from backend.kit.files import held, write_private
from backend.kit.strict_json import loads_once


@contextmanager
def open_pins(paths: list[Path] | None) -> Iterator[Callable[[str, str, str], None]]:
    """A function that writes a partner's secret, before its older ones, into each attestor's
    partners.json.

    The files are read and checked at once, and held until the end.

    Raises Invalid for a file that holds something else.
    """
    with ExitStack() as stack:
        targets = {Path(os.path.realpath(path)) for path in paths or []}
        # In one order: two commands must not wait for each other.
        for folder in sorted({path.parent for path in targets}):
            stack.enter_context(held(folder))
        files = {path: _read_pins(path) for path in sorted(targets)}

        def write(distributor: str, name: str, secret: str) -> None:
            texts = {
                path: json.dumps(_with_secret(content, distributor, name, secret), indent=2)
                for path, content in files.items()
            }
            for path, text in texts.items():
                write_private(path, text)

        yield write


def _read_pins(path: Path) -> dict[str, Any]:
    text = path.read_bytes() if path.exists() else b""
    try:
        if text.strip():
            # An attestor would refuse what is wrong here, and sign nothing.
            for found in parse_partner_keys(text).values():
                if isinstance(found, PartnerKeysError):
                    raise found
        content: dict[str, Any] = loads_once(text) if text.strip() else {}
    except (PartnerKeysError, ValueError) as error:
        raise Invalid(f"pins: {path}: {error}", "pins") from None
    return content


def _with_secret(
    content: dict[str, Any], distributor: str, name: str, secret: str
) -> dict[str, Any]:
    """The keys with one secret more, each Distributor under one spelling."""
    merged: dict[str, Any] = {}
    for spelling, entries in content.items():
        merged.setdefault(checked_address(spelling, "pins"), {}).update(entries)
    own = merged.setdefault(distributor, {})
    # A delivery that was signed with an older secret may still wait for its batch.
    older = [known for known in own.get(name, {}).get("secrets", []) if known != secret]
    own[name] = {"scheme": "standard-webhooks", "secrets": [secret, *older]}
    return merged
