"""Amounts as spreadsheets and programs write them, read exactly or refused with the reason.

A number is read in one form, which the user can name. What could mean two numbers is refused.
"""

import re
import unicodedata
from collections.abc import Sequence
from enum import StrEnum

SPACES = " \u00a0\u2007\u2009\u202f"
APOSTROPHES = "'\u2019"
DIGITS_MAX = 78
SAFE_INTEGER_MAX = 2**53


class Unit(StrEnum):
    """What a list's amounts count."""

    BASE = "base"
    TOKENS = "tokens"


class NumberForm(StrEnum):
    """How numbers are written, by an example: which mark groups thousands, which is the decimal
    mark. Groups may be left out."""

    PLAIN = "1234.5"
    DECIMAL_COMMA = "1234,5"
    COMMA_GROUPS = "1,234.5"
    POINT_GROUPS = "1.234,5"
    SPACE_GROUPS = "1 234,5"
    SPACE_GROUPS_POINT = "1 234.5"
    APOSTROPHE_GROUPS = "1'234.5"
    INDIAN_GROUPS = "12,34,567.8"


def _pattern(groups: str, decimal: str, whole: str = r"[0-9]{{1,3}}(?:{0}[0-9]{{3}})+") -> str:
    grouped = whole.format(f"(?:{groups})") + "|" if groups else ""
    return rf"({grouped}[0-9]{{1,78}})(?:{decimal}([0-9]{{1,78}}))?"


def _any(characters: str) -> str:
    return "|".join(map(re.escape, characters))


_PATTERNS = {
    form: re.compile(pattern)
    for form, pattern in {
        NumberForm.PLAIN: _pattern("", r"\."),
        NumberForm.DECIMAL_COMMA: _pattern("", ","),
        NumberForm.COMMA_GROUPS: _pattern(",", r"\."),
        NumberForm.POINT_GROUPS: _pattern(r"\.", ","),
        NumberForm.SPACE_GROUPS: _pattern(_any(SPACES), ","),
        NumberForm.SPACE_GROUPS_POINT: _pattern(_any(SPACES), r"\."),
        NumberForm.APOSTROPHE_GROUPS: _pattern(_any(APOSTROPHES), r"\."),
        NumberForm.INDIAN_GROUPS: _pattern(
            ",", r"\.", r"[0-9]{{1,2}}(?:{0}[0-9]{{2}})*{0}[0-9]{{3}}"
        ),
    }.items()
}
_CURRENCY = "$€£¥₹₩₿"
_NUMBERISH = re.compile(
    rf"(?:[A-Z]{{2,6}} ?)?[-+\u2212(]*[{_CURRENCY}]?[-+\u2212]?"
    r"(?:\d[\d.,'\u2019_ ]*|[.,]\d+)(?:[eE][-+]?\d+)?"
    rf"[)\-\u2212]?(?:[%{_CURRENCY}]| ?[A-Za-z]{{2,6}})?"
)
_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}(?:[T ].*)?|\d{1,2}:\d{2}.*")


class Unsafe(str):
    """A cell that stands for something else than a text, e.g. a JSON number that may have lost
    digits. `reason` says why it cannot be an amount."""

    __slots__ = ("reason",)

    def __new__(cls, text: str, reason: str) -> "Unsafe":
        made = super().__new__(cls, text)
        made.reason = reason
        return made

    reason: str


class NumberFault(Exception):
    """A cell that is not an amount. The message goes on after the cell: what it is, and what to
    write or to say."""


def looks_like_number(cell: str) -> bool:
    """Whether a person would take the cell for a number, in any form: formatted, with a currency,
    an exponent or a percent sign. Dates and times are not."""
    plain = unicodedata.normalize("NFKC", cell).translate(_TO_SPACE).strip()
    return bool(_NUMBERISH.fullmatch(plain)) and not _DATE.fullmatch(plain)


_TO_SPACE = {ord(space): " " for space in SPACES}


def read_amount(cell: str, form: NumberForm, decimals: int | None) -> int:
    """The amount in base units. `decimals` is None where the cell is one itself, else how many
    decimal digits a whole token has. Raises NumberFault."""
    if isinstance(cell, Unsafe):
        raise NumberFault(cell.reason)
    match = _PATTERNS[form].fullmatch(cell)
    if match is None:
        raise NumberFault(_why_not(cell, form))
    whole, fraction = re.sub(r"[^0-9]", "", match[1]), match[2]
    if len(whole) > DIGITS_MAX:
        raise NumberFault(f"has more than {DIGITS_MAX} digits")
    if decimals is None:
        if fraction is not None:
            raise NumberFault(
                "has a decimal mark, and base units are integers: write integers, or say "
                "`--unit tokens` (`--decimals N`) if these are whole tokens"
            )
        return int(whole)
    significant = (fraction or "").rstrip("0")
    if len(significant) > decimals:
        raise NumberFault(
            f"has {len(significant)} decimal digits, the token has {decimals}: nothing is rounded"
        )
    return int(whole + significant.ljust(decimals, "0"))


def require_one_meaning(cells: Sequence[str]) -> None:
    """Refuse a column whose points could all group thousands: 1.250 is 1250 to a German
    spreadsheet. One cell that cannot be meant so decides for the column. Raises NumberFault."""
    pointed = [cell for cell in cells if "." in cell]
    grouped = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}")
    if not pointed or not all(grouped.fullmatch(cell) for cell in pointed):
        return
    raise NumberFault(
        f"can be {pointed[0]} or {pointed[0].replace('.', '')}: every point in the column is "
        f"before three digits. Say `--number-form {NumberForm.PLAIN}` or `--number-form "
        f"{NumberForm.POINT_GROUPS}`"
    )


def _why_not(cell: str, form: NumberForm) -> str:
    """What a cell is that is no number in `form`."""
    for test, reason in _REASONS:
        if re.fullmatch(test, cell):
            return reason
    if not cell.isascii() and unicodedata.normalize("NFKC", cell).translate(_TO_SPACE).isascii():
        inner = unicodedata.normalize("NFKC", cell).translate(_TO_SPACE)
        if not _fits(cell) and looks_like_number(inner):
            return f"has characters that are not ASCII: write it as {inner.replace(' ', '')}"
    fits = _fits(cell)
    values = {(re.sub(r"[^0-9]", "", m[1]), (m[2] or "").rstrip("0")) for m in fits.values()}
    if len(values) > 1:
        meant = " or ".join(sorted(whole + (f".{f}" if f else "") for whole, f in values))
        return (
            f"can be {meant}: the form that is read is a plain number such as {form}; say how "
            f"numbers are written with `--number-form`, one of {_quoted(fits)}"
        )
    if fits:
        return (
            f"has thousands marks or a decimal comma: the form that is read is {form}; write it "
            f"so, or say `--number-form` with one of {_quoted(fits)}"
        )
    return f"is not a number: the form that is read is {form}"


def _fits(cell: str) -> dict[NumberForm, re.Match[str]]:
    matches = {form: pattern.fullmatch(cell) for form, pattern in _PATTERNS.items()}
    return {form: match for form, match in matches.items() if match}


def _quoted(forms: dict[NumberForm, re.Match[str]]) -> str:
    return ", ".join(f'"{form}"' for form in forms)


_REASONS: list[tuple[str, str]] = [
    ("", "is empty: write the amount, or leave the row out"),
    (
        r"[-+]?[0-9.,]+[eE][-+]?[0-9]+",
        "is in scientific notation: a spreadsheet keeps 15 digits at most in such a cell, the "
        "others are lost. Format the column as text or as a number before you export it",
    ),
    ("[-\u2212].*|[(].*[)]|[0-9.,]+[-\u2212]", "is negative: an amount is above 0"),
    (r"\+.*", "has a sign: write the number without it"),
    (r".*%", "is a percentage: write the amount itself"),
    (r"0[xX][0-9a-fA-F]*", "is hexadecimal: write it in decimal digits"),
    (rf".*[{_CURRENCY}].*", "has a currency sign: write the amount in the reward token alone"),
    (
        r"[0-9.,]+ ?[A-Za-z]+|[A-Za-z]+ ?[0-9.,]+",
        "has a unit beside the number: write digits alone",
    ),
    (r"#.*", "is an error of the spreadsheet, or a column too narrow when it was exported"),
    (r"=.*", "is a formula: export values"),
    (
        r"(?i)nan|null|none|n/?a|inf(inity)?|-",
        "is no number: write the amount, or leave the row out",
    ),
    (r"\.[0-9]+|[0-9]+\.", "lacks digits on one side of the point: write 0.5 or 5.0"),
    (r"[0-9]{79,}.*", f"has more than {DIGITS_MAX} digits"),
]
