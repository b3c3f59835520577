"""Calldata of the Distributor's calls, written and read (PROTOCOL sections 4 and 7). Nothing here needs a node.

Addresses are 0x-prefixed strings (read: checksummed), amounts integers in base units, times Unix seconds.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils import keccak, to_checksum_address

_BATCH = "(uint32,uint64,uint256,uint256,bytes32,bytes32,uint64)"
_POST_BATCH = (_BATCH, "bytes", "uint256[8]", "(address,bytes)[]")
_CLAIM = ("uint32", "uint16", "uint64", "address", "uint128", "uint256[]")
_CLAIM_MANY = ("uint32", "uint64", "(uint16,address,uint128)[]", "uint256[]")
_CLAIM_TO = (*_CLAIM, "address", "uint256", "bytes")


def _selector(name: str, types: Sequence[str]) -> bytes:
    return keccak(text=f"{name}({','.join(types)})")[:4]


POST_BATCH, CLAIM = _selector("postBatch", _POST_BATCH), _selector("claim", _CLAIM)
CLAIM_MANY, CLAIM_TO = _selector("claimMany", _CLAIM_MANY), _selector("claimTo", _CLAIM_TO)


@dataclass(frozen=True, slots=True)
class Batch:
    """The `Batch` of `postBatch`."""

    bucket: int
    sequence: int
    new_root: int
    items_root: int
    interactions_root: bytes
    ledger_head: bytes
    valid_until: int


@dataclass(frozen=True, slots=True)
class Attestation:
    """One attestor's signature over the batch's digest."""

    attestor: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class PostBatchCall:
    """The arguments of one `postBatch`."""

    batch: Batch
    deltas: bytes
    proof: tuple[int, ...]
    attestations: tuple[Attestation, ...]


@dataclass(frozen=True, slots=True)
class Payout:
    """One account of `claimMany`: its slot and all that it has earned there."""

    slot: int
    account: str
    cumulative: int


def post_batch(batch: Batch, deltas: bytes, proof_words: Sequence[int], attestations: Sequence[Attestation]) -> bytes:
    """Calldata of `postBatch`. Attestations are put in the ascending order of addresses that the contract asks for."""
    ordered = sorted(attestations, key=lambda attestation: int(attestation.attestor, 16))
    fields = (
        batch.bucket, batch.sequence, batch.new_root, batch.items_root, batch.interactions_root, batch.ledger_head, batch.valid_until,
    )  # fmt: skip
    signatures = [(attestation.attestor, attestation.signature) for attestation in ordered]
    return POST_BATCH + encode(_POST_BATCH, (fields, deltas, list(proof_words), signatures))


def claim(bucket: int, slot: int, sequence: int, account: str, cumulative: int, siblings: Sequence[int]) -> bytes:
    """Calldata of `claim`; the siblings are `prover.tree`'s of the root at `sequence`."""
    return CLAIM + encode(_CLAIM, (bucket, slot, sequence, account, cumulative, list(siblings)))


def claim_many(bucket: int, sequence: int, payouts: Sequence[Payout], siblings: Sequence[int]) -> bytes:
    """Calldata of `claimMany`; slots ascending, siblings those of `Tree.multi_siblings`."""
    rows = [(payout.slot, payout.account, payout.cumulative) for payout in payouts]
    return CLAIM_MANY + encode(_CLAIM_MANY, (bucket, sequence, rows, list(siblings)))


def claim_to(
    bucket: int, slot: int, sequence: int, account: str, cumulative: int, siblings: Sequence[int],
    recipient: str, deadline: int, permission: bytes,
) -> bytes:  # fmt: skip
    """Calldata of `claimTo`; `permission` is the account's signature over `ClaimTo`, empty if the account itself calls."""
    values = (bucket, slot, sequence, account, cumulative, list(siblings), recipient, deadline, permission)
    return CLAIM_TO + encode(_CLAIM_TO, values)


def find_post_batches(data: bytes) -> Iterator[PostBatchCall]:
    """Every `postBatch` call inside calldata: the call itself, or wrapped in the calldata of a call through another contract.

    A wrapper (a multicall, a multisig's `execTransaction`) holds the inner call's bytes whole, at some offset: each place where the
    selector stands is tried. What does not decode is passed over, so a result is a candidate to compare with the log.
    """
    at = data.find(POST_BATCH)
    while at >= 0:
        with contextlib.suppress(DecodingError, OverflowError, ValueError):
            yield _post_batch_at(data[at + 4 :])
        at = data.find(POST_BATCH, at + 1)


def decode_post_batch(data: bytes) -> PostBatchCall:
    """The first `postBatch` call inside calldata. Raises ValueError if there is none."""
    call = next(find_post_batches(data), None)
    if call is None:
        raise ValueError("calldata: expected a postBatch call, found none")
    return call


def _post_batch_at(arguments: bytes) -> PostBatchCall:
    batch, deltas, proof, attestations = decode(_POST_BATCH, arguments, strict=False)
    signatures = tuple(Attestation(to_checksum_address(attestor), signature) for attestor, signature in attestations)
    return PostBatchCall(Batch(*batch), deltas, tuple(proof), signatures)
