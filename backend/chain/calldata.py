"""Calldata of the Distributor's calls, written and read (PROTOCOL sections 4 and 7). Nothing here
needs a node.

Addresses are 0x-prefixed strings (read: checksummed), amounts integers in base units, times Unix
seconds.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eth_abi import encode
from eth_utils import keccak, to_checksum_address

ATTESTATIONS_MAX = 64
"""Attestors that a program can have (Attestations.sol); a call holds each at most once, or the
contract refuses it."""

POSTS_MAX = 64
"""Batches that one call of `postBatches` may hold (Distributor.sol)."""

_HEAD = 4
"""Where arguments begin: behind the selector."""
_LOGGED = ("uint32", "uint64", "uint256", "uint256", "bytes32", "bytes32")
_BATCH = f"({','.join(_LOGGED)},uint64)"
_POST_BATCH = (_BATCH, "bytes", "uint256[8]", "(address,bytes)[]")
_POST = f"({_BATCH},bytes32,bytes,uint256[8],(address,bytes)[])"
_POST_BATCHES = (f"{_POST}[]",)
_POST_SIZE = 32 * 18
"""Bytes of a post's head: the batch, its hash, two offsets and the proof."""
_CLAIM = ("uint32", "uint16", "uint64", "address", "uint128", "uint256[]")
_CLAIM_MANY = ("uint32", "uint64", "(uint16,address,uint128)[]", "uint256[]")
_CLAIM_TO = (*_CLAIM, "address", "uint256", "bytes")


def _selector(name: str, types: Sequence[str]) -> bytes:
    return keccak(text=f"{name}({','.join(types)})")[:4]


POST_BATCH, CLAIM = _selector("postBatch", _POST_BATCH), _selector("claim", _CLAIM)
POST_BATCHES = _selector("postBatches", _POST_BATCHES)
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


class Post(NamedTuple):
    """One batch of `postBatches`. `struct_hash` is the batch's EIP-712 hashStruct, over the root
    and the epoch that the contract must have stored."""

    batch: Batch
    struct_hash: bytes
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
    arguments = (_fields(batch), deltas, list(proof_words), _ordered(attestations))
    return POST_BATCH + encode(_POST_BATCH, arguments)


def post_batches(posts: Sequence[Post]) -> bytes:
    """Calldata of `postBatches`, in the order of `posts`; attestations as for `post_batch`."""
    rows = [
        (
            _fields(post.batch),
            post.struct_hash,
            post.deltas,
            list(post.proof),
            _ordered(post.attestations),
        )
        for post in posts
    ]
    return POST_BATCHES + encode(_POST_BATCHES, (rows,))


def _fields(batch: Batch) -> tuple[int | bytes, ...]:
    return (
        batch.bucket,
        batch.sequence,
        batch.new_root,
        batch.items_root,
        batch.interactions_root,
        batch.ledger_head,
        batch.valid_until,
    )


def _ordered(attestations: Sequence[Attestation]) -> list[tuple[str, bytes]]:
    ordered = sorted(attestations, key=lambda attestation: int(attestation.attestor, 16))
    return [(attestation.attestor, attestation.signature) for attestation in ordered]


INVALID_ATTESTATION = keccak(text="InvalidAttestation(address)")[:4]
DAILY_LIMIT_EXCEEDED = keccak(text="DailyLimitExceeded(uint256,uint256)")[:4]


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
    batch = call.batch(_HEAD)
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


class GivenPost:
    """One batch of a `postBatches` call, read as the contract reads it: no further than it must.

    Attestations of which enough hold leave the rest unread, and a batch that is skipped its deltas:
    each property and each step of `attestations` raises ValueError for what Solidity's decoder
    refuses there.
    """

    def __init__(self, call: "_Calldata", place: int) -> None:
        self._call, self._at = call, place

    @property
    def logged(self) -> bytes:
        """The batch but validUntil: the end of its `post_batch_start`."""
        return self._call.copy(self._at, 32 * len(_LOGGED))

    @property
    def batch(self) -> Batch:
        return self._call.batch(self._at)

    @property
    def struct_hash(self) -> bytes:
        return self._call.copy(self._at + 32 * 7, 32)

    @property
    def deltas(self) -> bytes:
        return self._call.copy(*self._call.array(self._at, self._at + 32 * 8, 1))

    @property
    def proof(self) -> tuple[int, ...]:
        return tuple(self._call.number(self._at + 32 * i) for i in range(9, 17))

    @property
    def attestations(self) -> Iterator[Attestation]:
        """In the call's order, each read when its turn comes: there may be very many."""
        base, count = self._call.array(self._at, self._at + 32 * 17, 32)
        for i in range(count):
            attestor, start, length = self._call.attestation(base, i)
            yield Attestation(attestor, self._call.copy(start, length))


def read_post_batches(data: bytes) -> list[GivenPost]:
    """The batches of the `postBatches` call that calldata is. Raises ValueError if it is none."""
    call = _Calldata(memoryview(data))
    if data[:4] != POST_BATCHES:
        raise ValueError("calldata: expected a postBatches call, found none")
    base, count = call.parameter(_HEAD, 32)
    if not 1 <= count <= POSTS_MAX:
        raise ValueError(f"calldata: {count} batches, expected 1 to {POSTS_MAX}")
    return [GivenPost(call, call.tail(base, base + 32 * i, _POST_SIZE)) for i in range(count)]


def find_posts(data: bytes, start: bytes) -> Iterator[GivenPost]:
    """Everything inside calldata that could be the batch of `start` (`post_batch_start`) in a
    `postBatches` call, whole or wrapped. A result is a candidate, as for `find_post_batches`."""
    call, logged = _Calldata(memoryview(data)), start[len(POST_BATCH) :]
    at = data.find(logged)
    while at >= 0:
        yield GivenPost(call, at)
        at = data.find(logged, at + 1)


def decode_post_batches(data: bytes) -> list[Post]:
    """The whole content of the `postBatches` call that calldata is: one that we made. Raises
    ValueError if it is none, or has more attestations than there can be attestors."""
    posts = []
    for given in read_post_batches(data):
        attestations = tuple(itertools.islice(given.attestations, ATTESTATIONS_MAX + 1))
        if len(attestations) > ATTESTATIONS_MAX:
            raise ValueError(f"calldata: expected at most {ATTESTATIONS_MAX} attestations")
        posts.append(Post(given.batch, given.struct_hash, given.deltas, given.proof, attestations))
    return posts


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

    def batch(self, at: int) -> Batch:
        """The `Batch` whose words begin at `at`."""
        word = [at + 32 * i for i in range(7)]
        return Batch(
            self.number(word[0], 32),
            self.number(word[1], 64),
            self.number(word[2]),
            self.number(word[3]),
            self.copy(word[4], 32),
            self.copy(word[5], 32),
            self.number(word[6], 64),
        )

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
        place = self.tail(base, base + 32 * index, 64)
        attestor = self.number(place, 160)
        start, length = self.array(place, _signed(place + 32), 1)
        return to_checksum_address(attestor.to_bytes(20, "big")), start, length

    def array(self, base: int, at: int, stride: int) -> tuple[int, int]:
        """(start, length) of the bytes or the array inside a struct at `base`, whose offset stands
        at `at`."""
        place = self.tail(base, at, 32)
        length = self.number(place, 64)
        start = _signed(place + 32)
        # Only a start before the calldata, where there are zeros, lets solc's check pass a length
        # beyond it: no signature and no deltas are that.
        if start > self.size - stride * length or length > self.size:
            raise ValueError(f"calldata: {length} elements at byte {start} do not fit")
        return start, length

    def tail(self, base: int, at: int, needed: int) -> int:
        """Where the entry of an array or the field of a struct at `base` begins, whose offset
        stands at `at`."""
        offset = _signed(self.number(at))
        if offset >= _signed(self.size - base - (needed - 1)):
            raise ValueError(f"calldata: the offset at byte {at} leads outside")
        return _signed(base + offset)


def _signed(value: int) -> int:
    """A 256-bit word as the EVM's signed comparisons see it."""
    return (value + 2**255) % 2**256 - 2**255
