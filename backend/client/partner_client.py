"""What a partner's server does: report interactions in signed bulk requests."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from backend.errors import CommandError
from backend.kit.proxies import sync_client
from backend.kit.time import utc_now
from backend.kit.token import Token
from backend.partner.evidence import PARTNER_HEADER, Delivery
from backend.partner.report import ITEMS_MAX
from backend.partner.schemes.standard_webhooks import sign

ATTEMPTS = 5
WAIT_SECONDS_MAX = 10
LATER = (408, 429, 503)
"""Statuses of a server that has too much to do now."""


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


@dataclass(frozen=True)
class ProgramFacts:
    """What a partner must know of a program before it reports. Amounts are base units."""

    distributor: str
    token: Token
    reserve: int
    available_budget: int


class DeliveryRefused(CommandError):
    """The API refused a whole request. The message is its answer."""


class PartnerClient:
    """Reports to one program as one partner."""

    def __init__(self, api_url: str, program: str, partner: str, secret: str) -> None:
        self._program_url = f"{api_url.rstrip('/')}/v1/programs/{program}"
        self._url = f"{self._program_url}/interactions"
        self._partner, self._secret = partner, secret
        self._http = sync_client(api_url, timeout_seconds=60)

    def program(self) -> ProgramFacts:
        """What the API says of the program. Raises DeliveryRefused."""
        value = _json(self._http.get(self._program_url), 200)
        try:
            return ProgramFacts(
                value["distributor"],
                Token(value["token"], value["token_symbol"], value["token_decimals"]),
                int(value["reserve"]),
                int(value["available_budget"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DeliveryRefused(
                f"{self._program_url}: this is no program of Guerdon's API ({error!r})"
            ) from error

    def report(self, interactions: Sequence[Reported]) -> Counter[str]:
        """Send everything, at most 1,000 interactions a request. Counts the outcomes.

        Raises DeliveryRefused.
        """
        return Counter(
            answer["status"]
            for part in chunks(interactions, ITEMS_MAX)
            for answer in self.answers(part)
        )

    def answers(self, interactions: Sequence[Reported]) -> list[dict[str, Any]]:
        """Send at most 1,000 interactions; the API's answer to each, in order.

        Raises DeliveryRefused.
        """
        value = _json(self.send(interactions), 200, 207, 422)
        results = value.get("results")
        if not isinstance(results, list) or len(results) != len(interactions):
            raise DeliveryRefused(
                f"{self._url}: expected {len(interactions)} results, got {str(value)[:300]}"
            )
        return results

    def send(self, interactions: Sequence[Reported], secret: str | None = None) -> httpx.Response:
        """Send one request, signed with `secret` if given, else with the partner's.

        An API that asks to send again later is asked again, some times: nothing is booked twice.
        """
        body = json.dumps(
            {"interactions": [interaction.to_json() for interaction in interactions]}
        ).encode()
        for attempt in range(1, ATTEMPTS + 1):
            # Signed again, because the wait counts towards the signature's five minutes.
            delivery = sign(secret or self._secret, f"msg_{uuid.uuid4().hex}", utc_now(), body)
            signed = headers(self._partner, delivery)
            response = self._http.post(self._url, content=body, headers=signed)
            if response.status_code not in LATER or attempt == ATTEMPTS:
                break
            time.sleep(_wait_seconds(response))
        return response

    def close(self) -> None:
        self._http.close()


def _wait_seconds(response: httpx.Response) -> int:
    """What Retry-After asks for, within reason."""
    asked = response.headers.get("retry-after", "")
    return min(int(asked), WAIT_SECONDS_MAX) if asked.isascii() and asked.isdigit() else 1


def _json(response: httpx.Response, *expected: int) -> dict[str, Any]:
    """The object that the API answers. Raises DeliveryRefused: its reason, or what came instead."""
    try:
        value = response.json()
    except ValueError:
        value = None
    if isinstance(value, dict) and response.status_code in expected and "error" not in value:
        return value
    error = value.get("error") if isinstance(value, dict) else None
    said = error.get("message") if isinstance(error, dict) else response.text[:300]
    raise DeliveryRefused(f"{response.status_code}: {response.url}: {said}")


def headers(partner: str, delivery: Delivery) -> dict[str, str]:
    """The request's headers."""
    return {"content-type": "application/json", PARTNER_HEADER: partner, **dict(delivery.headers)}


def chunks(items: Sequence[Reported], size: int) -> Iterable[Sequence[Reported]]:
    """`items` in parts of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
