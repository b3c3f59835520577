"""Whether the process is alive, and whether it is ready."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy import text

from backend.kit.db import Database

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process is alive")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="What the process needs is there")
def readyz(request: Request) -> JSONResponse:
    """200 if PostgreSQL and Redis answer, else 503 with which does not."""
    state = request.app.state
    checks = {"database": lambda: _ping(state.database), "redis": state.ping_redis}
    failed = []
    for name, check in checks.items():
        try:
            check()
        except Exception:  # Whatever the driver raises, the answer is that it is not ready.
            failed.append(name)
    return JSONResponse(
        {"status": "unavailable" if failed else "ok", "failed": failed}, 503 if failed else 200
    )


def _ping(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("SELECT 1"))
