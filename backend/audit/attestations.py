"""Whether the attestors of its time signed a batch: ECDSA (EIP-191/712 digests, low s) or EIP-1271."""

import itertools
from collections.abc import Sequence

from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_keys import keys
from eth_keys.exceptions import BadSignature, ValidationError
from web3 import Web3
from web3.exceptions import Web3Exception

from backend.audit.replay import AttestorSet
from backend.chain.calldata import Attestation

EIP1271_MAGIC = bytes.fromhex("1626ba7e")
HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2


def attestation_problems(
    w3: Web3, digest: bytes, attestations: Sequence[Attestation], allowed: AttestorSet, block_number: int
) -> list[tuple[str, str]]:
    """(code, message) of everything that is wrong with a batch's attestations; empty if m distinct attestors signed `digest`."""
    problems = []
    addresses = [attestation.attestor for attestation in attestations]
    if any(int(a, 16) >= int(b, 16) for a, b in itertools.pairwise(addresses)):
        problems.append(("attestation_order", "attestors are not strictly ascending, so one may stand twice"))
    signers = set()
    for attestation in attestations:
        if attestation.attestor not in allowed.attestors:
            problems.append(("attestation_foreign", f"{attestation.attestor} is no attestor of epoch {allowed.epoch}"))
        elif not signed(w3, digest, attestation, block_number):
            problems.append(("attestation_bad", f"{attestation.attestor} did not sign this batch"))
        else:
            signers.add(attestation.attestor)
    if len(signers) < max(1, allowed.threshold):
        message = (
            f"{len(signers)} of the {len(allowed.attestors)} attestors of epoch {allowed.epoch} signed, {allowed.threshold} must"
        )
        problems.append(("attestations_too_few", message))
    return problems


def signed(w3: Web3, digest: bytes, attestation: Attestation, block_number: int) -> bool:
    """Whether the attestor's key, or the attestor as an EIP-1271 contract at that block, stands behind the signature."""
    return recover(digest, attestation.signature) == attestation.attestor or _eip1271(w3, digest, attestation, block_number)


def recover(digest: bytes, signature: bytes) -> str | None:
    """The signer's address of 65 bytes r || s || v, by the rules that OpenZeppelin's ECDSA keeps; None if there is none."""
    if len(signature) != 65:
        return None
    r, s, v = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    if v not in (27, 28) or s > HALF_ORDER:
        return None
    try:
        return keys.Signature(vrs=(v - 27, r, s)).recover_public_key_from_msg_hash(digest).to_checksum_address()
    except (BadSignature, ValidationError, ValueError):
        return None


def _eip1271(w3: Web3, digest: bytes, attestation: Attestation, block_number: int) -> bool:
    # The state within the block is not to be had: the states before and after it are.
    data = EIP1271_MAGIC + encode(["bytes32", "bytes"], [digest, attestation.signature])
    for block in (block_number, block_number - 1):
        try:
            answer = bytes(w3.eth.call({"to": attestation.attestor, "data": data}, block))
            if len(answer) >= 32 and decode(["bytes32"], answer)[0] == EIP1271_MAGIC.ljust(32, b"\0"):
                return True
        except (Web3Exception, DecodingError):
            continue
    return False
