"""The attestor's HTTP: two questions for the lead, two for whoever watches over it."""

import secrets

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from backend.attestor.schemas import AttestationIn, LeavesIn, parse
from backend.attestor.service import Attestor
from backend.errors import BadRequest, TooLarge, Unauthorized

router = APIRouter()


def _attestor(request: Request) -> Attestor:
    return request.app.state.attestor


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


async def read_body(request: Request) -> bytes:
    """The body, never holding more than the limit. Raises TooLarge, BadRequest."""
    limit = request.app.state.body_bytes_max
    stated = request.headers.get("content-length", "0")
    if not (stated.isascii() and stated.isdigit()):
        raise BadRequest("expected a number of bytes", field="content-length")
    if int(stated) > limit:
        raise TooLarge(f"expected at most {limit} bytes, got {stated}", field="body")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"expected at most {limit} bytes", field="body")
    return bytes(body)


@router.post("/v1/attestations", summary="Check a batch and sign it")
async def attest(request: Request) -> JSONResponse:
    require_token(request)
    body = await read_body(request)
    answer = await run_in_threadpool(
        lambda: _attestor(request).attest(parse(AttestationIn, body).question())
    )
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
    require_token(request)
    body = await read_body(request)

    def accept() -> None:
        sent = parse(LeavesIn, body)
        _attestor(request).accept_leaves(
            sent.chain_id,
            sent.distributor,
            sent.bucket,
            sent.sequence,
            [item.leaf() for item in sent.items],
        )

    await run_in_threadpool(accept)
    return Response(status_code=204)


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
