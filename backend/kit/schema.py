"""Shapes that all answers share. Amounts are decimal texts, so that no reader rounds them."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

AmountText = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    StringConstraints(pattern=r"^[0-9]+$"),
]
"""Token base units as a decimal text."""

HexText = Annotated[
    str, BeforeValidator(lambda value: "0x" + value.hex() if isinstance(value, bytes) else value)
]
"""Bytes as 0x-prefixed hex."""


class Out(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")
