"""Puts one attestor together: key, store, chain views and HTTP."""

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from backend.attestor.chain import ChainView, LazyClient, NodeView
from backend.attestor.config import AttestorConfig
from backend.attestor.endpoints import router
from backend.attestor.pins import PinFile
from backend.attestor.service import Attestor
from backend.attestor.store import Store
from backend.errors import GuerdonError
from backend.signer import keystore

logger = structlog.get_logger(__name__)


def create_app(config: AttestorConfig, views: dict[str, ChainView] | None = None) -> FastAPI:
    """The app of one attestor. `views` (by Distributor's address) replaces the node as the source
    of chain data.

    Raises:
        ConfigError, KeystoreError, StoreError: with what to mend.
    """
    signer = keystore.load(config.keystore, config.password)
    store = Store(config.database)
    if views is None:
        client = LazyClient(config.rpc_url)
        views = {
            p.distributor: NodeView(client, p.distributor, p.finality) for p in config.programs
        }
    app = FastAPI(title="Guerdon attestor", version="1")
    app.state.attestor = Attestor(config, signer, store, PinFile(config.pins), views)
    app.state.token = config.token
    app.state.body_bytes_max = config.body_bytes_max
    app.include_router(router)
    app.add_exception_handler(GuerdonError, _answer)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_unexpected)
    return app


async def _answer(request: Request, error: GuerdonError) -> JSONResponse:
    # Messages may repeat what a field held: the log gets the kind of the refusal and its place
    # only.
    logger.info(
        "not signed",
        path=request.url.path,
        code=error.code,
        reason=getattr(error, "reason", None),
        item=getattr(error, "item", None),
    )
    return JSONResponse(error.to_json(), status_code=error.status)


async def _answer_http(request: Request, error: HTTPException) -> JSONResponse:
    body = {
        "error": {"code": "http", "message": str(error.detail), "field": None, "retryable": False}
    }
    return JSONResponse(body, status_code=error.status_code)


async def _answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("unexpected", path=request.url.path, error=type(error).__name__)
    return JSONResponse(
        GuerdonError("an unexpected error; see the attestor's log").to_json(), status_code=500
    )
