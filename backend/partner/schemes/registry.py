"""The registry of partner schemes. The API and the attestors look schemes up here."""

from backend.partner.schemes.base import Scheme
from backend.partner.schemes.standard_webhooks import StandardWebhooks

SCHEMES: dict[str, Scheme] = {made.name: made for made in (StandardWebhooks(),)}


def scheme(name: str) -> Scheme:
    """Return the scheme called `name`. Raises ValueError."""
    if name not in SCHEMES:
        raise ValueError(f"scheme: expected one of {', '.join(SCHEMES)}, got {name!r}")
    return SCHEMES[name]
