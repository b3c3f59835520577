"""Accounts as lists write them: an address in its one form, or the reason why it is none."""

import re
import unicodedata

from backend.partner.report import address_fault

_FORMS: list[tuple[str, str]] = [
    ("", "is empty: write the address, or leave the row out"),
    (r"[0-9a-fA-F]{40}", "is an address without 0x in front"),
    (r"0X[0-9a-fA-F]{40}", "is an address with 0X: write 0x"),
    (r"[a-zA-Z0-9-]{1,20}:0[xX][0-9a-fA-F]{40}", "names a chain: write the address alone"),
    (
        r"(iban:)?XE[0-9A-Z]{2}[0-9A-Z]{16,34}",
        "is an ICAP code: write the address that it stands for",
    ),
    (r"[^\s.]+(\.[^\s.]+)+", "is a name, e.g. of ENS: look up its address and write that"),
    (r"0[xX][0-9a-fA-F]{64}", "is a transaction's or a hash's 64 digits: an address has 40"),
]
_FOREIGN = re.compile(
    r"(?:0[xX])?[0-9a-fA-F]{38,42}|[a-zA-Z0-9-]{1,20}:0[xX][0-9a-fA-F]{40}|XE[0-9]{2}[0-9A-Z]{16,34}"
    r"|[^\s.@/]+(?:\.[^\s.@/]+)*\.(?:eth|xyz|id|lens|crypto|box|cb)"
)


def looks_like_account(cell: str) -> bool:
    """Whether a person would take the cell for an account, in any spelling: also one that is
    damaged, and a name."""
    return bool(_FOREIGN.fullmatch(_joined(cell)))


def account_fault(cell: str) -> str | None:
    """Why a cell is no account; None if it is one. The reason goes on after the cell."""
    if not (fault := address_fault(cell)):
        return None
    for pattern, reason in _FORMS:
        if re.fullmatch(pattern, cell):
            return reason
    if (joined := _joined(cell)) != cell and not address_fault(joined):
        return "is an address with spaces or invisible characters in it"
    return fault


def _joined(cell: str) -> str:
    """Without spaces, and characters that cannot be seen."""
    return "".join(c for c in cell if not c.isspace() and unicodedata.category(c) != "Cf")
