"""The attestor's HTTP: two requests for the coordinator, two for monitoring."""

import secrets
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from backend.attestor.schemas import AttestationIn, LeavesIn, parse
from backend.attestor.service import Attestor
from backend.errors import Unauthorized
from backend.kit.body import Bodies
from backend.kit.metrics import ATTESTOR_ANSWERS, CONTENT_TYPE, exposition

router = APIRouter()


def _attestor(request: Request) -> Attestor:
    attestor: Attestor = request.app.state.attestor
    return attestor


def require_token(request: Request) -> None:
    """Raises Unauthorized unless the request carries the bearer token, where one is set."""
    token = request.app.state.token
    if token is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secrets.compare_digest(
        given.strip().encode(), token.encode()
    ):
        raise Unauthorized(
            "expected the bearer token that this attestor was given", field="authorization"
        )


def _body(request: Request) -> AbstractAsyncContextManager[bytes]:
    """The body of a request with the token, for a block. Raises Unauthorized and what Bodies
    raises."""
    require_token(request)
    bodies: Bodies = request.app.state.bodies
    return bodies.read(request)


@router.post("/v1/attestations", summary="Check a batch and sign it")
async def attest(request: Request) -> JSONResponse:
    async with _body(request) as body:
        answer = await run_in_threadpool(
            lambda: _attestor(request).attest(parse(AttestationIn, body).question())
        )
    ATTESTOR_ANSWERS.labels("signed").inc()
    return JSONResponse(
        {
            "attestor": answer.attestor,
            "digest": "0x" + answer.digest.hex(),
            "signature": "0x" + answer.signature.hex(),
        }
    )


@router.post(
    "/v1/leaves", status_code=204, summary="Send the leaves behind a landed interactionsRoot"
)
async def leaves(request: Request) -> Response:

    def accept(body: bytes) -> None:
        sent = parse(LeavesIn, body)
        _attestor(request).accept_leaves(
            sent.chain_id,
            sent.distributor,
            sent.bucket,
            sent.sequence,
            [item.leaf() for item in sent.items],
        )

    async with _body(request) as body:
        await run_in_threadpool(accept, body)
    return Response(status_code=204)


@router.get("/metrics", summary="Read this attestor's metrics")
def metrics(request: Request) -> Response:
    """Prometheus metrics of the process. Needs the bearer token, where one is set."""
    require_token(request)
    return Response(exposition(), media_type=CONTENT_TYPE)


@router.get("/healthz", summary="The process answers")
async def healthz() -> dict[str, str]:
    # On the event loop: it answers even while every worker thread waits for the chain.
    return {"status": "ok"}


@router.get(
    "/readyz", summary="The chain is reachable and this key is in every program's set of attestors"
)
def readyz(request: Request) -> JSONResponse:
    ready, detail = _attestor(request).readiness()
    return JSONResponse({"ready": ready, **detail}, status_code=200 if ready else 503)
