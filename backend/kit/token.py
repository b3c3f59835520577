"""A reward token as people see it, and its amounts as text. Everywhere else amounts are integers in
base units."""

from dataclasses import dataclass

SYMBOL_LENGTH_MAX = 32
DECIMALS_MAX = 77
"""More would not fit 10^decimals into a uint256: such a token has no usable decimals."""


def clean_symbol(text: str) -> str | None:
    """A symbol that is safe to print and to store, None if nothing of it can be seen.

    A token's maker chooses the symbol: control characters and marks that change the direction of
    text become U+FFFD, and a long symbol is cut.
    """
    text = text.strip("\0").strip()
    visible = "".join(char if char.isprintable() else "\ufffd" for char in text)
    cut = visible[:SYMBOL_LENGTH_MAX] + ("…" if len(visible) > SYMBOL_LENGTH_MAX else "")
    return cut if cut.strip(" \ufffd…") else None


@dataclass(frozen=True, slots=True)
class Token:
    """A token's address, and what the token says of itself: None where it says nothing usable."""

    address: str
    symbol: str | None
    decimals: int | None

    @property
    def name(self) -> str:
        """The symbol, or the address of a token without one."""
        return self.symbol or f"of token {self.address}"

    def text(self, base_units: int) -> str:
        """An amount in whole tokens, exact, with thousands separators and the symbol.

        In base units, and saying so, where the token has no decimals.
        """
        if self.decimals is None:
            return f"{base_units:,} base units {self.name}"
        return f"{whole_tokens(base_units, self.decimals)} {self.name}"


def whole_tokens(base_units: int, decimals: int) -> str:
    """Base units as whole tokens, exact, with thousands separators."""
    whole, fraction = divmod(abs(base_units), 10**decimals)
    digits = f"{fraction:0{decimals}d}".rstrip("0") if decimals else ""
    sign = "-" if base_units < 0 else ""
    return f"{sign}{whole:,}" + (f".{digits}" if digits else "")
