"""The whole conversation between the coordinator and one attestor about one batch.

A fault of one attestor becomes the outcome of that attestor and does not affect the others.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import structlog

from backend.attestation.client import (
    AskAgain,
    Attested,
    AttestorOutcome,
    LeavesAsked,
    Refusal,
    request_attestation,
    send_leaves,
)
from backend.chain.node import Node
from backend.chain.signatures import is_attestors
from backend.errors import GuerdonError

log = structlog.get_logger()

LEAVES_SENT_MAX = 256
"""Landed batches whose leaves an attestor is sent in one conversation: one that lacks more gets on
with the next."""


@dataclass(frozen=True)
class Question:
    """What every attestor of a program is asked. Both functions may wait for something, and are
    called in threads of their own."""

    body: bytes
    """The request's JSON."""
    digest: bytes
    """What is to be signed, 32 bytes."""
    seconds: float
    """How long an attestor may take for all of it, leaves included."""
    leaves: Callable[[str | None, int, int], dict[str, Any] | None]
    """(Distributor as the attestor has it, bucket, sequence) -> the leaves' request; None for a
    batch that the ledger does not have, or that is not for this attestor."""
    check: Callable[[Attested], Refusal | None]
    """What is wrong with a signature."""


async def ask(http: httpx.AsyncClient, url: str, question: Question) -> AttestorOutcome:
    """One attestor's outcome; leaves that it lacks are sent, and it is asked once more. An Attested
    has passed the question's check."""
    try:
        async with asyncio.timeout(question.seconds):
            return await _converse(http, url, question)
    except TimeoutError:
        return AskAgain("timeout", f"not done within {question.seconds} s")
    except GuerdonError as error:
        return AskAgain(error.code, error.message)
    except Exception as error:  # One attestor must not stop the others, whatever it has thought of.
        log.exception("attestor_failed")
        return AskAgain("failed", type(error).__name__)


async def _converse(http: httpx.AsyncClient, url: str, question: Question) -> AttestorOutcome:
    outcome = await request_attestation(
        http, url, question.body, question.digest, seconds=question.seconds
    )
    if isinstance(outcome, LeavesAsked):
        failed = await _send_leaves(http, url, question, outcome)
        if failed is not None:
            return failed
        outcome = await request_attestation(
            http, url, question.body, question.digest, seconds=question.seconds
        )
    if isinstance(outcome, LeavesAsked):
        return AskAgain("missing_leaves", "leaves are still missing")
    if isinstance(outcome, Attested):
        return await asyncio.to_thread(question.check, outcome) or outcome
    return outcome


async def _send_leaves(
    http: httpx.AsyncClient, url: str, question: Question, missing: LeavesAsked
) -> AskAgain | Refusal | None:
    for bucket, sequence in missing.batches[:LEAVES_SENT_MAX]:
        leaves = await asyncio.to_thread(question.leaves, missing.distributor, bucket, sequence)
        if leaves is None:
            return Refusal(
                "bad_answer",
                f"asked for batch {sequence} of bucket {bucket}, which the ledger does not have",
            )
        failed = await send_leaves(http, url, encode(leaves), seconds=question.seconds)
        if failed is not None:
            return failed
    return None


def encode(payload: dict[str, Any]) -> bytes:
    """A request's JSON."""
    return json.dumps(payload, separators=(",", ":")).encode()


def check_signature(node: Node, members: frozenset[str], found: Attested) -> Refusal | None:
    """What is wrong with a signature, as the Distributor would see it now; a bad one would cost a
    reverted transaction.

    Raises Unavailable if the node cannot say.
    """
    if found.attestor not in members:
        return Refusal(
            "not_an_attestor",
            f"{found.attestor} is not in the program's set of attestors",
            field="attestor",
        )
    if is_attestors(node, found.attestor, found.digest, found.signature):
        return None
    return Refusal("bad_answer", "the signature is not the attestor's", field="signature")
