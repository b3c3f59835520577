"""Whether the attestors of its time signed a batch: ECDSA (EIP-191/712 digests, low s) or
EIP-1271."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from eth_keys import keys
from eth_keys.exceptions import BadSignature, ValidationError

from backend.audit.replay import AttestorSet
from backend.chain.calldata import Attestation
from backend.chain.eip1271 import accepts_signature
from backend.chain.node import Node

HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2


def attestation_problems(
    node: Node,
    digest: bytes,
    attestations: Sequence[Attestation],
    allowed: AttestorSet,
    block_number: int,
) -> Iterator[tuple[str, str]]:
    """(code, message) of everything that is wrong with a batch's attestations; nothing if m
    distinct attestors signed `digest`.

    One by one, so that whoever needs no more than the first does not pay for the rest. Raises
    Unavailable (StateMissing) where the node cannot tell.
    """
    order = [0, *(int(attestation.attestor, 16) for attestation in attestations)]
    if any(a >= b for a, b in itertools.pairwise(order)):
        # Nothing further is looked at: each attestor costs its signature's check once, or a
        # stranger sets the price.
        yield "attestation_order", "attestors are not strictly ascending, so one may stand twice"
        return
    signers = 0
    for attestation in attestations:
        if attestation.attestor not in allowed.attestors:
            yield (
                "attestation_foreign",
                f"{attestation.attestor} is no attestor of epoch {allowed.epoch}",
            )
        elif not signed(node, digest, attestation, block_number):
            yield "attestation_bad", f"{attestation.attestor} did not sign this batch"
        else:
            signers += 1
    if signers < max(1, allowed.threshold):
        message = (
            f"{signers} of the {len(allowed.attestors)} attestors of epoch {allowed.epoch} "
            f"signed, {allowed.threshold} must"
        )
        yield "attestations_too_few", message


CHECKS_MAX = 2048
"""Signatures of one batch that are looked at. Whoever posts may put as many false ones before the
true ones as gas allows."""


class TooManySignatures(Exception):
    """More false signatures stand before the true ones than are looked at."""


def holding(
    node: Node,
    digest: bytes,
    attestations: Iterable[Attestation],
    allowed: AttestorSet,
    block_number: int,
) -> list[str]:
    """The attestors that `postBatches` counts for a batch, at most m: those in ascending order
    whose signature holds. What else stands there is passed over, and what comes behind the m-th is
    not read.

    Raises TooManySignatures, ValueError where the contract must have reverted, and Unavailable
    (StateMissing) where the node cannot tell.
    """
    found: list[str] = []
    checks, needed = 0, max(1, allowed.threshold)
    for attestation in attestations:
        above = not found or int(attestation.attestor, 16) > int(found[-1], 16)
        if not above or attestation.attestor not in allowed.attestors:
            continue
        if checks == CHECKS_MAX:
            raise TooManySignatures
        checks += 1
        if signed(node, digest, attestation, block_number):
            found.append(attestation.attestor)
            if len(found) == needed:
                break
    return found


def signed(node: Node, digest: bytes, attestation: Attestation, block_number: int) -> bool:
    """Whether the attestor's key, or the attestor as an EIP-1271 contract at that block, stands
    behind the signature."""
    if recover(digest, attestation.signature) == attestation.attestor:
        return True
    # The state within the block is not to be had: the states before and after it are.
    blocks = (block_number, block_number - 1)
    return any(
        accepts_signature(node, attestation.attestor, digest, attestation.signature, at)
        for at in blocks
    )


def recover(digest: bytes, signature: bytes) -> str | None:
    """Recover the signer's address from 65 bytes r || s || v; None if there is none.

    The rules are those of OpenZeppelin's ECDSA.
    """
    if len(signature) != 65:
        return None
    r, s, v = (
        int.from_bytes(signature[:32], "big"),
        int.from_bytes(signature[32:64], "big"),
        signature[64],
    )
    if v not in (27, 28) or s > HALF_ORDER:
        return None
    try:
        return (
            keys.Signature(vrs=(v - 27, r, s))
            .recover_public_key_from_msg_hash(digest)
            .to_checksum_address()
        )
    except (BadSignature, ValidationError, ValueError):
        return None
