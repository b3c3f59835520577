"""Names that an operator gives: to programs and to partners."""

import re

from backend.errors import Invalid

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_name(text: str) -> bool:
    """Whether `text` is a name."""
    return NAME.fullmatch(text) is not None


def require_name(text: str, field: str = "name") -> str:
    """`text`, if it is a name. Raises Invalid that names the field."""
    if not is_name(text):
        raise Invalid(
            f"{field}: expected 1 to 64 of a-z, 0-9, dot, dash and underscore, starting with a "
            "letter or digit",
            field,
        )
    return text
