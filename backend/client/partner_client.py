"""What a partner's server does: report interactions in signed bulk requests."""

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from backend.errors import CommandError
from backend.kit.proxies import sync_client
from backend.kit.time import utc_now
from backend.partner.evidence import PARTNER_HEADER, Delivery
from backend.partner.report import ITEMS_MAX
from backend.partner.schemes.standard_webhooks import sign


@dataclass(frozen=True)
class Reported:
    """One interaction to report, in the fields of the API."""

    event_id: str
    account: str
    amount: int
    occurred_at: int

    def to_json(self) -> dict[str, Any]:
        return {
            "event_id": self.event_id,
            "account": self.account,
            "amount": str(self.amount),
            "occurred_at": self.occurred_at,
        }


class DeliveryRefused(CommandError):
    """The API refused a whole request. The message is its answer."""


class PartnerClient:
    """Reports to one program as one partner."""

    def __init__(self, api_url: str, program: str, partner: str, secret: str) -> None:
        self._url = f"{api_url}/v1/programs/{program}/interactions"
        self._partner, self._secret = partner, secret
        self._http = sync_client(api_url, timeout_seconds=60)

    def report(self, interactions: Sequence[Reported]) -> Counter[str]:
        """Send everything, at most 1,000 interactions a request. Counts the outcomes.

        Raises DeliveryRefused.
        """
        outcomes: Counter[str] = Counter()
        for part in chunks(interactions, ITEMS_MAX):
            response = self.send(part)
            if response.status_code not in (200, 207, 422) or "results" not in response.json():
                raise DeliveryRefused(f"{response.status_code}: {response.text[:300]}")
            outcomes.update(result["status"] for result in response.json()["results"])
        return outcomes

    def send(self, interactions: Sequence[Reported], secret: str | None = None) -> httpx.Response:
        """Send one request, signed with `secret` if given, else with the partner's."""
        body = json.dumps(
            {"interactions": [interaction.to_json() for interaction in interactions]}
        ).encode()
        delivery = sign(secret or self._secret, f"msg_{uuid.uuid4().hex}", utc_now(), body)
        return self._http.post(self._url, content=body, headers=headers(self._partner, delivery))

    def close(self) -> None:
        self._http.close()


def headers(partner: str, delivery: Delivery) -> dict[str, str]:
    """The request's headers."""
    return {"content-type": "application/json", PARTNER_HEADER: partner, **dict(delivery.headers)}


def chunks(items: Sequence[Reported], size: int) -> Iterable[Sequence[Reported]]:
    """`items` in parts of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
