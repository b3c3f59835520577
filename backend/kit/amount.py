"""The one column type for money: integers in token base units.

The database has NUMERIC(78, 0): 78 digits hold a uint256.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric
from sqlalchemy.types import TypeDecorator


class Amount(TypeDecorator[int]):
    """An int in Python, NUMERIC(78, 0) in PostgreSQL. Refuses to store anything but an int."""

    impl = Numeric(78, 0)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Decimal | None:
        if value is None:
            return None
        if type(value) is not int:
            raise TypeError(f"amount: expected an int in base units, got {type(value).__name__}")
        return Decimal(value)

    def process_result_value(self, value: Any, dialect: Any) -> int | None:
        return None if value is None else int(value)
