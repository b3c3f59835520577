"""What a node's error means where nodes share a code or a status: too often, or too much at once.

Each provider has its own words. Infura, for one, uses the code -32005 for both.
"""

import re
from collections.abc import Mapping
from typing import Any

LOGS = "eth_getLogs"
TEXT_MAX = 300

_TOO_MUCH = re.compile(
    r"(query|filter|request|search)\w* (returned|returns|matched|yields) more than"
    r"|more than \d+ (results|logs|events)"
    r"|too many (logs|results|blocks|events)"
    r"|too (large|wide|big|long) .*range|range .*too (large|wide|big|long)"
    r"|(range|blocks?|span) .*exceed|exceed\w* .*(range|max(imum)? results|max(imum)? block)"
    r"|limited to (a |an )?[\d,._]+[km]? ?(block|range)|(block|max) range"
    r"|maximum (block )?(range|distance)"
    r"|(up to|maximum( is)?( set to)?|at most) (a |an )?[\d,._]+[km]? (blocks?|range)"
    r"|(response|result|payload|answer|log|body)s?( set| response)?( size)? "
    r".*(exceed|too (large|big|long)|larger)"
    r"|(log response size|results?|logs matched).* exceed|limit of [\d,]+ (logs|results|blocks)"
    r"|query timeout|query (took|is taking) too long|reduce .*(range|blocks)|narrow"
    r"|specify (less|fewer)|entity too large",
    re.IGNORECASE,
)
_TOO_OFTEN = re.compile(
    r"rate[- ]?limit|over rate|too many requests|request (count|limit|rate)|requests? (limit|per )"
    r"|/ ?sec(ond)?\b|per second|\brps\b|throughput|compute units|capacity (limit|exceeded)"
    r"|quota|daily (request|limit)|monthly|credits|slow down|retry (in|after) \d|call rate|throttl",
    re.IGNORECASE,
)
_TOO_OFTEN_CODES = {429, -32007, -32016, -32029, -32090, -32097}
_LIMIT_EXCEEDED = -32005
"""EIP-1474: "request exceeds defined limit", of whichever kind."""
_RETRY_IN = re.compile(r"retry (?:in|after) (\d{1,6})(?:\.\d+)? ?(ms|s|m)?", re.IGNORECASE)
_UNIT_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000}


def is_too_much(method: str, error: Mapping[str, Any]) -> bool:
    """Whether the node refuses the size of a question about logs, or of its answer."""
    if method != LOGS:
        return False
    message = shown(error.get("message"))
    if _TOO_MUCH.search(message):
        return True
    return error.get("code") == _LIMIT_EXCEEDED and not _TOO_OFTEN.search(message)


def is_too_often(method: str, error: Mapping[str, Any]) -> bool:
    """Whether the node refuses because it was asked too often."""
    if is_too_much(method, error):
        return False
    code, message = error.get("code"), shown(error.get("message"))
    if isinstance(code, int) and code in _TOO_OFTEN_CODES | {_LIMIT_EXCEEDED}:
        return True
    # Our own contracts' reverts may hold such words.
    return code != 3 and "revert" not in message.lower() and bool(_TOO_OFTEN.search(message))


def retry_after(header: str | None, error: Mapping[str, Any] | None) -> int | None:
    """Seconds until the node wants to be asked again, where it says so. A date is not used: it is
    another machine's clock."""
    if header and header.strip().isascii() and header.strip().isdigit():
        return int(header.strip()[:6])
    if error is None:
        return None
    data = error.get("data")
    rate = data.get("rate") if isinstance(data, Mapping) else None
    named = rate.get("backoff_seconds") if isinstance(rate, Mapping) else None
    if isinstance(named, int) and 0 < named < 10**6:
        return named
    found = _RETRY_IN.search(shown(error.get("message")))
    if not found:
        return None
    return -(-int(found.group(1)) * _UNIT_MILLISECONDS[(found.group(2) or "s").lower()] // 1000)


def shown(said: Any) -> str:
    """What a node said, fit for a log and a terminal: one line, bounded, no control characters."""
    try:
        text = said if isinstance(said, str) else repr(said)
    except RecursionError:
        text = "(nested too deeply to show)"
    text = "".join(char if char.isprintable() else " " for char in text[: 4 * TEXT_MAX])
    text = " ".join(text.split())
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"
