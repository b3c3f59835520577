"""Calldata: written, read back, and found inside wrappers."""

import pytest
from eth_abi import encode
from eth_utils import keccak, to_checksum_address

from backend.chain.artifacts import artifact
from backend.chain.calldata import (
    ATTESTATIONS_MAX,
    POST_BATCH,
    POST_BATCHES,
    POSTS_MAX,
    Attestation,
    Batch,
    Post,
    PostBatchCall,
    decode_post_batch,
    decode_post_batches,
    find_post_batches,
    find_posts,
    post_batch,
    post_batch_start,
    post_batches,
    read_post_batch,
    read_post_batches,
)
from tests.support.anvil import Anvil
from tests.support.program import real_program

BATCH = Batch(7, 3, 11, 12, b"\x01" * 32, b"\x02" * 32, 1_900_000_000)
LOW, HIGH = (to_checksum_address("0x" + byte * 20) for byte in ("0a", "ff"))
CALL = PostBatchCall(
    BATCH,
    b"\x00\x00" + b"\x11" * 32,
    tuple(range(8)),
    (Attestation(LOW, b"a" * 65), Attestation(HIGH, b"b" * 65)),
)
DATA = post_batch(BATCH, CALL.deltas, CALL.proof, CALL.attestations)


@pytest.mark.parametrize(
    "data", [b"", POST_BATCH, POST_BATCH + b"\xff" * 400, DATA[:-40], DATA[1:], b"\x00" * 64]
)
def test_no_call_is_a_clear_error(data: bytes) -> None:
    """Calldata without a whole postBatch call is refused, whatever else it holds."""
    with pytest.raises(ValueError, match="expected a postBatch call"):
        decode_post_batch(data)


HEAD = 4 + 32 * 17


def words(*values: int) -> bytes:
    return b"".join((value % 2**256).to_bytes(32, "big") for value in values)


def call_with(attestations: bytes, deltas: int = 17 * 32) -> bytes:
    """A call with no deltas and these bytes from the attestations' length on, which is at byte HEAD
    + 32."""
    return POST_BATCH + words(7, 3, 11, 12, 1, 2, 9, deltas, *range(8), 18 * 32, 0) + attestations


@pytest.mark.parametrize(
    "data",
    [
        POST_BATCH + b"\x01" + DATA[5:],
        call_with(words(2**64)),
        call_with(words(2)),
        call_with(words(1, 1000, 1, 64, 0)),
        call_with(words(1, 32, 2**160, 64, 0)),
        call_with(words(1, 32, 1, 64, 1)),
        call_with(words(1, 32, 1, 2**255 - 1, 0)),
        call_with(words(1, -(HEAD + 64))),
        call_with(words(1, 32, 1, 64, 0), 2**200),
        call_with(words(1, 32, 1, 64, 0), 10_000),
    ],
    ids=[
        "dirty bucket",
        "long array",
        "cut array",
        "far struct",
        "dirty address",
        "cut signature",
        "far signature",
        "selector as attestor",
        "offset of deltas",
        "far deltas",
    ],
)
def test_what_solidity_s_decoder_refuses_is_no_call(data: bytes) -> None:
    """Bits where there must be none, and offsets and lengths that lead outside."""
    with pytest.raises(ValueError, match="calldata: "):
        read_post_batch(data)


def test_what_it_takes_is_read() -> None:
    """Attestations that share their bytes, ones before their array, and one that wraps round to
    where there are only zeros."""
    shared = read_post_batch(call_with(words(2, 64, 64, 1, 64, 3) + b"abc"))
    assert [(int(given.attestor, 16), given.signature) for given in shared.attestations] == [
        (1, b"abc")
    ] * 2
    zeros = read_post_batch(call_with(words(1, -(2**200), 0, 0)))
    assert zeros.attestations == (Attestation("0x" + "00" * 20, b""),)


def test_a_call_stays_small() -> None:
    """Offsets may overlap, so little calldata could decode to much: no more attestations than there
    can be attestors are read."""
    blob = bytes(60_000)
    for count in (ATTESTATIONS_MAX + 1, 1000):
        with pytest.raises(ValueError, match=f"{count} attestations, expected at most 64"):
            read_post_batch(call_with(words(count, *[32 * count] * count, 1, 64, len(blob)) + blob))
    overlapping = call_with(words(64, *[32 * 64] * 64, 1, 64, len(blob)) + blob)
    assert len(read_post_batch(overlapping).attestations) == 64
    assert list(find_post_batches(overlapping)) == []


def test_the_contract_has_that_limit(chain: Anvil) -> None:
    """The number of attestors is the contract's own."""
    contract = chain.w3.eth.contract(real_program(chain).address, abi=artifact("Distributor").abi)
    assert contract.functions.MAX_ATTESTORS().call() == ATTESTATIONS_MAX


def test_found_by_how_it_begins() -> None:
    """A search for one batch passes over others, and over the selector alone."""
    start = post_batch_start(7, 3, 11, 12, b"\x01" * 32, b"\x02" * 32)
    other = post_batch(Batch(8, 1, 1, 1, b"\x03" * 32, b"\x04" * 32, 5), b"\x00\x00", range(8), [])
    assert list(find_post_batches(POST_BATCH * 100 + other + DATA + other, start)) == [CALL]


def test_reads_what_it_writes() -> None:
    """Encoding then decoding is the identity."""
    assert decode_post_batch(DATA) == CALL


def test_attestations_are_ordered() -> None:
    """The encoder puts attestors in the ascending order that the contract asks for."""
    assert post_batch(BATCH, CALL.deltas, CALL.proof, CALL.attestations[::-1]) == DATA


def test_found_in_a_multicall() -> None:
    """Calls inside `aggregate((address,bytes)[])` are found, in order, past bytes that only look
    like one."""
    other = post_batch(Batch(8, 1, 1, 1, b"\x03" * 32, b"\x04" * 32, 5), b"\x00\x00", range(8), [])
    inner = [(LOW, POST_BATCH + b"\xff" * 90), (HIGH, DATA), (HIGH, other)]
    wrapped = keccak(text="aggregate((address,bytes)[])")[:4] + encode(
        ["(address,bytes)[]"], [inner]
    )
    assert [call.batch.bucket for call in find_post_batches(wrapped)] == [7, 8]
    assert decode_post_batch(wrapped) == CALL


POST = Post(BATCH, b"\x05" * 32, CALL.deltas, CALL.proof, CALL.attestations)
NEXT = Post(
    Batch(8, 1, 13, 14, b"\x03" * 32, b"\x04" * 32, 5),
    b"\x06" * 32,
    b"\x00\x00",
    tuple(range(8)),
    (),
)
SET = post_batches([POST, NEXT])


def test_reads_the_set_that_it_writes() -> None:
    """Encoding then decoding is the identity, and attestors come in ascending order."""
    assert decode_post_batches(SET) == [POST, NEXT]
    assert post_batches([POST._replace(attestations=POST.attestations[::-1]), NEXT]) == SET


@pytest.mark.parametrize(
    "data",
    [b"", DATA, SET[:90], post_batches([]), post_batches([NEXT] * (POSTS_MAX + 1)), SET[:-64]],
    ids=["nothing", "one batch", "cut", "none", "too many", "last post cut"],
)
def test_no_set_is_a_clear_error(data: bytes) -> None:
    """Calldata that is no whole postBatches call of ours is refused."""
    with pytest.raises(ValueError, match="calldata: "):
        decode_post_batches(data)


def post_with(attestations: bytes) -> bytes:
    """A set of one batch without deltas, and these bytes from the attestations' length on."""
    head = words(7, 3, 11, 12, 1, 2, 9, 5, 18 * 32, *range(8), 19 * 32, 0)
    return POST_BATCHES + words(32, 1, 32) + head + attestations


def test_attestations_are_read_one_by_one() -> None:
    """The contract asks nobody once enough hold: what stands behind is never read, and however many
    there are, they take no memory."""
    blob = bytes(50_000)
    [given] = read_post_batches(post_with(words(2, 64, 2**200, 1, 64, 3) + b"abc" + bytes(29)))
    found = given.attestations
    assert next(found) == Attestation("0x" + "00" * 19 + "01", b"abc")
    with pytest.raises(ValueError, match="calldata: "):
        next(found)
    many = post_with(words(1000, *[32 * 1000] * 1000, 1, 64, len(blob)) + blob)
    [given] = read_post_batches(many)
    assert sum(1 for _ in given.attestations) == 1000
    with pytest.raises(ValueError, match="at most 64 attestations"):
        decode_post_batches(many)


def test_posts_are_found_in_a_wrapper() -> None:
    """By how a batch begins, wherever it stands; what a stranger wrote beside it too."""
    start = post_batch_start(7, 3, 11, 12, b"\x01" * 32, b"\x02" * 32)
    decoy = post_batches([POST._replace(struct_hash=b"\x07" * 32)])
    wrapped = keccak(text="aggregate((address,bytes)[])")[:4] + encode(
        ["(address,bytes)[]"], [[(LOW, decoy), (HIGH, SET)]]
    )
    found = list(find_posts(wrapped, start))
    assert [given.struct_hash for given in found] == [b"\x07" * 32, b"\x05" * 32]
    assert all(tuple(given.attestations) == POST.attestations for given in found)
    assert all((given.deltas, given.proof) == (POST.deltas, POST.proof) for given in found)
    assert [given.logged for given in found] == [start[4:]] * 2
