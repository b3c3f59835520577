"""Puts one attestor together: key, store, chain views and HTTP."""

import structlog
from fastapi import FastAPI, Request

from backend.attestor.chain import ChainView, LazyClient, NodeView
from backend.attestor.config import AttestorConfig
from backend.attestor.endpoints import router
from backend.attestor.partner_keys import PartnerKeyFile
from backend.attestor.service import Attestor
from backend.attestor.store import Store
from backend.errors import GuerdonError
from backend.kit.body import HELD_BYTES_MAX, Bodies, BodyBounds
from backend.kit.http import add_error_handlers
from backend.kit.metrics import ATTESTOR_ANSWERS
from backend.signer.factory import open_signer

log = structlog.get_logger()


def create_app(config: AttestorConfig, views: dict[str, ChainView] | None = None) -> FastAPI:
    """The app of one attestor. `views` (by Distributor's address) replaces the node as the source
    of chain data.

    Raises:
        ConfigError, KeystoreError, StoreError: with what to mend.
    """
    signer = open_signer(config.keystore, config.password)
    store = Store(config.database)
    if views is None:
        client = LazyClient(config.rpc_url)
        views = {
            p.distributor: NodeView(client, p.distributor, p.finality) for p in config.programs
        }
    # Its pages for people would need another host, and its two requests are for one program.
    app = FastAPI(
        title="Guerdon attestor", version="1", docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.attestor = Attestor(config, signer, store, PartnerKeyFile(config.pins), views)
    app.state.token = config.token
    app.state.bodies = Bodies(
        BodyBounds(config.body_bytes_max, max(HELD_BYTES_MAX, 4 * config.body_bytes_max))
    )
    app.include_router(router)
    add_error_handlers(app, _note_refusal)
    return app


def _note_refusal(request: Request, error: GuerdonError) -> None:
    ATTESTOR_ANSWERS.labels(error.code).inc()
    # A message may repeat what a field held: the log gets the kind of the refusal and its place.
    log.info(
        "request_refused",
        path=request.url.path,
        code=error.code,
        reason=getattr(error, "reason", None),
        item=getattr(error, "item", None),
    )
