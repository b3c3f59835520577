"""The data fee of a transaction on an OP-stack rollup since Fjord.

The L1 fee depends on the FastLZ size of the signed transaction. Source: OP-stack specification,
Fjord, L1 cost; the block format of FastLZ, level 1. Fees are integers in wei.
"""

from dataclasses import dataclass

WINDOW, SHORTEST, LONGEST_COPY = 8_191, 3, 262
LITERALS = 32
TAIL = 13
INTERCEPT, COEFFICIENT, SMALLEST = -42_585_600, 836_500, 100_000_000


@dataclass(frozen=True)
class Rollup:
    """A rollup's prices: scalars of its SystemConfig, the rest in wei."""

    base_fee_scalar: int
    blob_base_fee_scalar: int
    l1_base_fee_wei: int
    l1_blob_base_fee_wei: int
    l2_gas_price_wei: int

    def data_fee(self, compressed_bytes: int) -> int:
        """The L1 fee of a transaction, in wei."""
        size_scaled = max(SMALLEST, INTERCEPT + COEFFICIENT * compressed_bytes)
        price = (
            self.base_fee_scalar * self.l1_base_fee_wei * 16
            + self.blob_base_fee_scalar * self.l1_blob_base_fee_wei
        )
        return size_scaled * price // 10**12

    def fee(self, gas: int, compressed_bytes: int) -> int:
        """Execution and data together, in wei."""
        return gas * self.l2_gas_price_wei + self.data_fee(compressed_bytes)


EXAMPLE = Rollup(2_269, 1_055_762, 10**9, 10**7, 5 * 10**6)
"""Scalars as Base has had them; L1 at 1 gwei, blobs at 0.01 gwei, L2 gas at 0.005 gwei: an example,
not a forecast."""


def compressed_size(data: bytes) -> int:
    """Return the size of `data` after FastLZ level 1.

    Literals come in runs of at most 32 behind one byte; copies take two bytes (up to length 8) or
    three. The last bytes are always literals. The candidate for a copy is the latest place with the
    same hash of three bytes.
    """
    places: dict[int, int] = {}
    size = start = 0
    limit = len(data) - TAIL
    at = 2
    while at < limit:
        source = places.get(_key(data, at), 0)
        places[_key(data, at)] = at
        if (
            at - source > WINDOW
            or data[source : source + SHORTEST] != data[at : at + SHORTEST]
            or at == source
        ):
            at += 1
            continue
        if at >= limit - 1:
            break
        length = _common(data, source + SHORTEST, at + SHORTEST, limit + 9) + SHORTEST
        size += _literals(at - start) + _copy(length)
        for place in (at + length - 2, at + length - 1):
            places[_key(data, place)] = place
        start = at = at + length
    return size + _literals(len(data) - start)


def _key(data: bytes, at: int) -> int:
    word = data[at] | data[at + 1] << 8 | data[at + 2] << 16
    return (2_654_435_769 * word & 0xFFFFFFFF) >> 19


def _common(data: bytes, source: int, at: int, end: int) -> int:
    length = 0
    while at + length < end and data[source + length] == data[at + length]:
        length += 1
    return length


def _literals(count: int) -> int:
    whole, rest = divmod(count, LITERALS)
    return whole * (LITERALS + 1) + (rest + 1 if rest else 0)


def _copy(length: int) -> int:
    whole, rest = divmod(length - 1, LONGEST_COPY)
    return 3 * whole + (3 if rest >= 6 else 2)
