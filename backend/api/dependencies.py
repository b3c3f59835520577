"""What endpoints depend on: settings, database, sessions, workers, and who may ask."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from sqlalchemy.orm import Session

from backend.api.claims import ClaimsSeen
from backend.config import Settings
from backend.errors import Unauthorized
from backend.kit.body import Bodies
from backend.kit.db import Database


@dataclass
class Resources:
    """What one application works with. Lies in `app.state.resources`."""

    settings: Settings
    database: Database
    bodies: Bodies
    claims: ClaimsSeen
    wake: Callable[[], None]
    """Asks the workers for a tick now."""
    ping_redis: Callable[[], None]
    """Raises redis.RedisError unless Redis answers."""


def resources(request: Request) -> Resources:
    """The application's resources."""
    found: Resources = request.app.state.resources
    return found


Using = Annotated[Resources, Depends(resources)]


def _snapshot(using: Using) -> Iterator[Session]:
    with using.database.snapshot() as session:
        yield session


Snapshot = Annotated[Session, Depends(_snapshot, scope="function")]
"""A session for reading. It ends before the response is sent: a slow client holds no connection."""

Presented = HTTPAuthorizationCredentials | None
_operator_key = HTTPBearer(auto_error=False, description="the operator's API key")
_metrics_token = HTTPBearer(auto_error=False, description="the token for metrics")


def require_operator(using: Using, presented: Annotated[Presented, Depends(_operator_key)]) -> None:
    """Raises Unauthorized unless the request carries GUERDON_OPERATOR_API_KEY as bearer token."""
    _require(using.settings.operator_api_key, presented, "the operator's API key")


def require_metrics_token(
    using: Using, presented: Annotated[Presented, Depends(_metrics_token)]
) -> None:
    """Raises Unauthorized unless the request carries GUERDON_METRICS_TOKEN as bearer token."""
    _require(using.settings.metrics_token, presented, "the token for metrics")


async def _is_operator(request: Request, using: Using) -> bool:
    # Not by Depends: in OpenAPI these calls are everybody's.
    return _holds(using.settings.operator_api_key, await _operator_key(request))


IsOperator = Annotated[bool, Depends(_is_operator)]
"""Whether the request carries the operator's key. Others are answered as well, with less."""


def _require(key: SecretStr | None, presented: Presented, name: str) -> None:
    if not _holds(key, presented):
        raise Unauthorized(f"expected {name} as a bearer token", "authorization")


def _holds(key: SecretStr | None, presented: Presented) -> bool:
    expected = key.get_secret_value() if key else ""
    given = presented.credentials if presented else ""
    return bool(expected) and secrets.compare_digest(given.encode(), expected.encode())
