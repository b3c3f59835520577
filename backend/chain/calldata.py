"""Calldata of the Distributor's calls, written and read (PROTOCOL sections 4 and 7). Nothing here
needs a node.

Addresses are 0x-prefixed strings (read: checksummed), amounts integers in base units, times Unix
seconds.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eth_abi import encode
from eth_utils import keccak, to_checksum_address

ATTESTATIONS_MAX = 64
"""Attestors that a program can have (Attestations.sol); a call holds each at most once, or the
contract refuses it."""

_HEAD = 4
"""Where arguments begin: behind the selector."""
_LOGGED = ("uint32", "uint64", "uint256", "uint256", "bytes32", "bytes32")
_BATCH = f"({','.join(_LOGGED)},uint64)"
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
class SlotPayout:
    """One account of `claimMany`: its slot and all that it has earned there."""

    slot: int
    account: str
    cumulative: int


def post_batch(
    batch: Batch, deltas: bytes, proof_words: Sequence[int], attestations: Sequence[Attestation]
) -> bytes:
    """Calldata of `postBatch`. Attestations are put in the ascending order of addresses that the
    contract asks for."""
    ordered = sorted(attestations, key=lambda attestation: int(attestation.attestor, 16))
    fields = (
        batch.bucket,
        batch.sequence,
        batch.new_root,
        batch.items_root,
        batch.interactions_root,
        batch.ledger_head,
        batch.valid_until,
    )
    signatures = [(attestation.attestor, attestation.signature) for attestation in ordered]
    return POST_BATCH + encode(_POST_BATCH, (fields, deltas, list(proof_words), signatures))


INVALID_ATTESTATION = keccak(text="InvalidAttestation(address)")[:4]


def invalid_attestation(attestor: str) -> bytes:
    """The revert data by which the Distributor refuses an attestor's signature."""
    return INVALID_ATTESTATION + encode(["address"], [attestor])


def claim(
    bucket: int, slot: int, sequence: int, account: str, cumulative: int, siblings: Sequence[int]
) -> bytes:
    """Calldata of `claim`; the siblings are `prover.tree`'s of the root at `sequence`."""
    return CLAIM + encode(_CLAIM, (bucket, slot, sequence, account, cumulative, list(siblings)))


def claim_many(
    bucket: int, sequence: int, payouts: Sequence[SlotPayout], siblings: Sequence[int]
) -> bytes:
    """Calldata of `claimMany`; slots ascending, siblings those of `Tree.multi_siblings`."""
    rows = [(payout.slot, payout.account, payout.cumulative) for payout in payouts]
    return CLAIM_MANY + encode(_CLAIM_MANY, (bucket, sequence, rows, list(siblings)))


def claim_to(
    bucket: int,
    slot: int,
    sequence: int,
    account: str,
    cumulative: int,
    siblings: Sequence[int],
    recipient: str,
    deadline: int,
    permission: bytes,
) -> bytes:
    """Calldata of `claimTo`; `permission` is the account's signature over `ClaimTo`, empty if the
    account itself calls."""
    values = (
        bucket,
        slot,
        sequence,
        account,
        cumulative,
        list(siblings),
        recipient,
        deadline,
        permission,
    )
    return CLAIM_TO + encode(_CLAIM_TO, values)


def post_batch_start(
    bucket: int,
    sequence: int,
    new_root: int,
    items_root: int,
    interactions_root: bytes,
    ledger_head: bytes,
) -> bytes:
    """The 196 bytes with which calldata of every `postBatch` of this batch begins: all of the Batch
    but validUntil."""
    return POST_BATCH + encode(
        _LOGGED, (bucket, sequence, new_root, items_root, interactions_root, ledger_head)
    )


def read_post_batch(data: bytes) -> PostBatchCall:
    """The call that calldata is, as the contract reads it; bytes behind it do not count.

    Raises ValueError for what cannot land: no `postBatch` call, one that Solidity's decoder
    refuses, or more attestations than there can be
    attestors. Its size is at most ATTESTATIONS_MAX times that of `data`.
    """
    return _post_batch_at(memoryview(data), ATTESTATIONS_MAX * len(data))


def find_post_batches(data: bytes, start: bytes = POST_BATCH) -> Iterator[PostBatchCall]:
    """Every `postBatch` call inside calldata: the call itself, or wrapped in the calldata of a call
    through another contract.

    A wrapper (a multicall, a multisig's `execTransaction`) holds the inner call's bytes whole, at
    some offset: each place where `start` stands is tried. What does not decode is passed over, and
    so are signatures that overlap: many small calls would be large together. A result is a
    candidate, and a stranger may have put it there.
    """
    view, at = memoryview(data), data.find(start)
    while at >= 0:
        with contextlib.suppress(ValueError):
            yield _post_batch_at(view[at:], len(data))
        at = data.find(start, at + 1)


def decode_post_batch(data: bytes) -> PostBatchCall:
    """The first `postBatch` call inside calldata. Raises ValueError if there is none."""
    call = next(find_post_batches(data), None)
    if call is None:
        raise ValueError("calldata: expected a postBatch call, found none")
    return call


def _post_batch_at(data: memoryview, signatures_size_max: int) -> PostBatchCall:
    if data[:4] != POST_BATCH or len(data) < _HEAD + 32 * 17:
        raise ValueError("calldata: expected a postBatch call, found none")
    call = _Calldata(data)
    word = [_HEAD + 32 * i for i in range(17)]
    batch = Batch(
        call.number(word[0], 32),
        call.number(word[1], 64),
        call.number(word[2]),
        call.number(word[3]),
        call.copy(word[4], 32),
        call.copy(word[5], 32),
        call.number(word[6], 64),
    )
    deltas = call.copy(*call.parameter(word[7], 1))
    proof = tuple(call.number(at) for at in word[8:16])
    base, count = call.parameter(word[16], 32)
    if count > ATTESTATIONS_MAX:
        raise ValueError(f"calldata: {count} attestations, expected at most {ATTESTATIONS_MAX}")
    places = [call.attestation(base, i) for i in range(count)]
    if sum(length for _, _, length in places) > signatures_size_max:
        raise ValueError(f"calldata: expected at most {signatures_size_max} bytes of signatures")
    attestations = tuple(
        Attestation(attestor, call.copy(start, length)) for attestor, start, length in places
    )
    return PostBatchCall(batch, deltas, proof, attestations)


@dataclass(frozen=True, slots=True)
class ClaimToCall:
    """What a `claimTo` call says of whose claim is paid to whom, and by which permission."""

    bucket: int
    slot: int
    account: str
    cumulative: int
    recipient: str
    deadline: int
    permission: bytes


def find_claims_to(data: bytes, *, whole: bool) -> Iterator[ClaimToCall]:
    """The `claimTo` call that calldata is, if `whole`; else every one inside of it, as for
    `find_post_batches`. What does not decode is passed over."""
    view, at = memoryview(data), 0 if whole else data.find(CLAIM_TO)
    while at >= 0:
        with contextlib.suppress(ValueError):
            yield _claim_to_at(view[at:])
        at = -1 if whole else data.find(CLAIM_TO, at + 1)


def _claim_to_at(data: memoryview) -> ClaimToCall:
    if data[:4] != CLAIM_TO or len(data) < _HEAD + 32 * len(_CLAIM_TO):
        raise ValueError("calldata: expected a claimTo call, found none")
    call = _Calldata(data)
    word = [_HEAD + 32 * i for i in range(len(_CLAIM_TO))]
    return ClaimToCall(
        call.number(word[0], 32),
        call.number(word[1], 16),
        to_checksum_address(call.number(word[3], 160).to_bytes(20, "big")),
        call.number(word[4], 128),
        to_checksum_address(call.number(word[6], 160).to_bytes(20, "big")),
        call.number(word[7]),
        call.copy(*call.parameter(word[8], 1)),
    )


class _Calldata:
    """Calldata from its selector on, read as solc's decoder reads it (YulUtilFunctions.cpp,
    ABIFunctions.cpp).

    An ABI library is not enough here: the contract takes offsets that overlap and, inside arrays,
    ones that run backwards, and whoever
    posts a batch chooses them. What lands must be read; what it decodes to must not grow beyond all
    bounds.
    """

    def __init__(self, data: memoryview) -> None:
        self.data, self.size = data, len(data)

    def copy(self, at: int, length: int) -> bytes:
        """CALLDATACOPY: zeros outside."""
        return bytes(self.data[at : at + length] if 0 <= at < self.size else b"").ljust(
            length, b"\0"
        )

    def number(self, at: int, bits: int = 256) -> int:
        value = int.from_bytes(self.copy(at, 32), "big")
        if value >> bits:
            raise ValueError(f"calldata: expected {bits} bits at byte {at}")
        return value

    def parameter(self, head: int, stride: int) -> tuple[int, int]:
        """(start, length) of the bytes or the array whose offset stands at `head`."""
        at = _HEAD + self.number(head, 64)
        if at + 31 >= self.size:
            raise ValueError(f"calldata: the offset at byte {head} leads outside")
        length = self.number(at, 64)
        if at + 32 + stride * length > self.size:
            raise ValueError(f"calldata: {length} elements at byte {at} do not fit")
        return at + 32, length

    def attestation(self, base: int, index: int) -> tuple[str, int, int]:
        """(attestor, start of its signature, length) of an entry of the array at `base`."""
        place = self._tail(base, base + 32 * index, 64)
        attestor = self.number(place, 160)
        at = self._tail(place, _signed(place + 32), 32)
        length = self.number(at, 64)
        start = _signed(at + 32)
        # Only a start before the calldata, where there are zeros, lets solc's check pass a length
        # beyond it: no signature is that.
        if start > self.size - length or length > self.size:
            raise ValueError(f"calldata: {length} bytes of signature at byte {start} do not fit")
        return to_checksum_address(attestor.to_bytes(20, "big")), start, length

    def _tail(self, base: int, at: int, needed: int) -> int:
        offset = _signed(self.number(at))
        if offset >= _signed(self.size - base - (needed - 1)):
            raise ValueError(f"calldata: the offset at byte {at} leads outside")
        return _signed(base + offset)


def _signed(value: int) -> int:
    """A 256-bit word as the EVM's signed comparisons see it."""
    return (value + 2**255) % 2**256 - 2**255
