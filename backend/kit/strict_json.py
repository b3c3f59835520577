"""JSON in which no key stands twice: the usual reader keeps the last one in silence."""

import json
from typing import Any


def loads_once(text: str | bytes) -> Any:
    """As json.loads. Raises ValueError, which names the key, if an object has one twice."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"{twice!r} is listed twice in one object")
    return found
