"""Calldata: written, read back, and found inside wrappers."""

import pytest
from eth_abi import encode
from eth_utils import keccak, to_checksum_address

from backend.chain.calldata import POST_BATCH, Attestation, Batch, PostBatchCall, decode_post_batch, find_post_batches, post_batch

BATCH = Batch(7, 3, 11, 12, b"\x01" * 32, b"\x02" * 32, 1_900_000_000)
LOW, HIGH = (to_checksum_address("0x" + byte * 20) for byte in ("0a", "ff"))
CALL = PostBatchCall(
    BATCH, b"\x00\x00" + b"\x11" * 32, tuple(range(8)), (Attestation(LOW, b"a" * 65), Attestation(HIGH, b"b" * 65))
)
DATA = post_batch(BATCH, CALL.deltas, CALL.proof, CALL.attestations)


@pytest.mark.parametrize("data", [b"", POST_BATCH, POST_BATCH + b"\xff" * 400, DATA[:-40], DATA[1:], b"\x00" * 64])
def test_no_call_is_a_clear_error(data: bytes) -> None:
    """Calldata without a whole postBatch call is refused, whatever else it holds."""
    with pytest.raises(ValueError, match="expected a postBatch call"):
        decode_post_batch(data)


def test_reads_what_it_writes() -> None:
    """Encoding then decoding is the identity."""
    assert decode_post_batch(DATA) == CALL


def test_attestations_are_ordered() -> None:
    """The encoder puts attestors in the ascending order that the contract asks for."""
    assert post_batch(BATCH, CALL.deltas, CALL.proof, CALL.attestations[::-1]) == DATA


def test_found_in_a_multicall() -> None:
    """Calls inside `aggregate((address,bytes)[])` are found, in order, past bytes that only look like one."""
    other = post_batch(Batch(8, 1, 1, 1, b"\x03" * 32, b"\x04" * 32, 5), b"\x00\x00", range(8), [])
    inner = [(LOW, POST_BATCH + b"\xff" * 90), (HIGH, DATA), (HIGH, other)]
    wrapped = keccak(text="aggregate((address,bytes)[])")[:4] + encode(["(address,bytes)[]"], [inner])
    assert [call.batch.bucket for call in find_post_batches(wrapped)] == [7, 8]
    assert decode_post_batch(wrapped) == CALL
