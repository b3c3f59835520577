"""Whether the attestors of its time signed a batch, and an account its permission."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from backend.audit.replay import AttestorSet
from backend.chain.calldata import Attestation
from backend.chain.node import Node
from backend.chain.signatures import is_attestors, is_contract, recover

Rule = Callable[[Node, str, bytes, bytes, int], bool]
"""`is_attestors` or `is_accounts` of backend.chain.signatures."""


def attestation_problems(
    node: Node,
    digest: bytes,
    attestations: Sequence[Attestation],
    allowed: AttestorSet,
    block_number: int,
    rule: Rule = is_attestors,
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
        elif not signed(node, rule, digest, attestation, block_number):
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
        if signed(node, is_attestors, digest, attestation, block_number):
            found.append(attestation.attestor)
            if len(found) == needed:
                break
    return found


def signed(
    node: Node, rule: Rule, digest: bytes, attestation: Attestation, block_number: int
) -> bool:
    """Whether the signature counted by `rule` in that block.

    Raises Unavailable (StateMissing) where the node cannot tell.
    """
    signer, signature = attestation.attestor, attestation.signature
    # A contract stays where it is. An address that has none now had none in that block, so its
    # key's signature needs no old state.
    if recover(digest, signature) == signer and not is_contract(node.code(signer)):
        return True
    # The state within the block is not to be had: the states before and after it are.
    blocks = (block_number, block_number - 1)
    return any(rule(node, signer, digest, signature, at) for at in blocks)
