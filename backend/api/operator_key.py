"""The operator's key: `Authorization: Bearer <GUERDON_OPERATOR_API_KEY>`."""

import secrets
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from backend.errors import Unauthorized

_bearer = HTTPBearer(auto_error=False, description="the operator's API key")


def require_operator(
    request: Request, presented: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Raises Unauthorized unless the request carries the operator's key."""
    key = request.app.state.settings.operator_api_key
    expected = key.get_secret_value() if key else ""
    given = presented.credentials if presented else ""
    if not expected or not secrets.compare_digest(given.encode(), expected.encode()):
        raise Unauthorized("expected the operator's API key as a bearer token", "authorization")
