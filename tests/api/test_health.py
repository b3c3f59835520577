"""Health, readiness, the OpenAPI document, and what every answer has in common."""

from starlette.testclient import TestClient

from backend.app import create_app
from tests.support.engine import Api, settings


def test_alive_without_anything(api: Api) -> None:
    """/healthz says that the process lives, whatever else is down."""
    with TestClient(create_app(settings("postgresql://postgres@127.0.0.1:1/none"))) as http:
        assert (http.get("/healthz").status_code, http.get("/healthz").json()) == (200, {"status": "ok"})


def test_readiness_names_what_is_missing(api: Api) -> None:
    """/readyz is 503 and names each thing that does not answer: Redis here, PostgreSQL as well there."""
    assert (api.http.get("/readyz").status_code, api.http.get("/readyz").json()["failed"]) == (503, ["redis"])
    with TestClient(create_app(settings("postgresql://postgres@127.0.0.1:1/none"))) as http:
        assert http.get("/readyz").json()["failed"] == ["database", "redis"]
