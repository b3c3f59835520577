"""Shapes of answers: amounts and bytes as text."""

import pytest
from pydantic import ValidationError

from backend.kit.schema import AmountText, HexText, Out


class _Answer(Out):
    amount: AmountText
    data: HexText


@pytest.mark.parametrize("value", [0, 1, 2**256])
def test_amounts_are_decimal_texts(value: int) -> None:
    """An integer becomes its decimal text, so that no reader of JSON rounds it."""
    assert _Answer(amount=value, data=b"\x01\xff").model_dump() == {
        "amount": str(value),
        "data": "0x01ff",
    }


@pytest.mark.parametrize("value", [-1, 1.0, 1.5, True, None, "-1", "1.0", "0x1", ""])
def test_what_is_no_amount(value: object) -> None:
    """A negative, fractional or other value never gets into an answer as an amount."""
    with pytest.raises(ValidationError):
        _Answer(amount=value, data=b"")


def test_unknown_fields_are_refused() -> None:
    """An answer holds the fields of its schema and no other: nothing private slips in."""
    with pytest.raises(ValidationError):
        _Answer(amount=1, data=b"", secret="x")
