"""What a name is."""

import pytest

from backend.errors import Invalid
from backend.kit.names import is_name, require_name


@pytest.mark.parametrize("text", ["a", "0", "ad-net.2_x", "a" * 64])
def test_names(text: str) -> None:
    """Lower case, digits, dot, dash and underscore, starting with a letter or digit."""
    assert is_name(text)
    assert require_name(text) == text


@pytest.mark.parametrize("text", ["", "A", "-a", "a b", "a\0", "a\n", "é", "a" * 65])
def test_other_texts_are_refused(text: str) -> None:
    """The error names the field."""
    assert not is_name(text)
    with pytest.raises(Invalid, match=r"^partner: expected 1 to 64") as caught:
        require_name(text, "partner")
    assert caught.value.field == "partner"
