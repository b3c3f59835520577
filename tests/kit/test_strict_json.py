"""A key that stands twice is a fault, not the last one's."""

import pytest

from backend.kit.strict_json import loads_once


def test_once() -> None:
    """Objects at any depth; the same key in two objects is none."""
    assert loads_once('{"a": {"b": 1}, "c": {"b": 2}}') == {"a": {"b": 1}, "c": {"b": 2}}
    assert loads_once(b"[1]") == [1]


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"x": {"a": 1, "b": 2, "a": 3}}]'])
def test_twice(text: str) -> None:
    """The key is named."""
    with pytest.raises(ValueError, match="'a' is listed twice"):
        loads_once(text)
