"""The byte formats that circuit, Solidity and Python share (PROTOCOL section 4).

They are `deltas`, challenge, fingerprint and proof.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prover.field import P, horner

UINT96_MAX = 2**96 - 1
ADDRESS_MAX = 2**160 - 1


class DeltasError(ValueError):
    """`deltas` breaks a rule of the format. `rule` names the contract's custom error."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


@dataclass(frozen=True)
class Deltas:
    """The amounts that a batch adds to slots.

    `existing` holds (slot, delta) of occupied slots, strictly ascending. `opened` holds (address,
    delta) of the accounts that the batch opens, at the next free slots. Deltas are in token base
    units, 0 < delta < 2^96; addresses are integers.
    """

    existing: tuple[tuple[int, int], ...]
    opened: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        """Sum of all deltas, an integer in base units."""
        return sum(delta for _, delta in self.existing) + sum(delta for _, delta in self.opened)

    def encode(self) -> bytes:
        """Encode as packed, big-endian bytes.

        uint16 count, then each (uint16 slot, uint96 delta), then each (address, uint96 delta).
        """
        parts = [len(self.existing).to_bytes(2, "big")]
        parts += [
            slot.to_bytes(2, "big") + delta.to_bytes(12, "big") for slot, delta in self.existing
        ]
        parts += [
            address.to_bytes(20, "big") + delta.to_bytes(12, "big")
            for address, delta in self.opened
        ]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes, opened: int, slots: int) -> "Deltas":
        """Parse as the contract does, for a bucket with `opened` of `slots` slots occupied.

        Raises:
            DeltasError: with the rule that is broken.
        """
        if len(data) < 2:
            raise DeltasError("DeltasLength", "shorter than the count of existing accounts")
        count = int.from_bytes(data[:2], "big")
        rest = len(data) - 2 - 14 * count
        if rest < 0 or rest % 32 or len(data) == 2:
            raise DeltasError(
                "DeltasLength",
                f"{len(data)} bytes do not hold {count} existing accounts and whole openings",
            )
        existing: list[tuple[int, int]] = []
        for at in range(2, 2 + 14 * count, 14):
            slot, delta = (
                int.from_bytes(data[at : at + 2], "big"),
                int.from_bytes(data[at + 2 : at + 14], "big"),
            )
            if existing and slot <= existing[-1][0]:
                raise DeltasError("SlotsNotAscending", f"slot {slot} after {existing[-1][0]}")
            if slot >= opened:
                raise DeltasError("SlotNotOpen", f"slot {slot}, opened {opened}")
            if delta == 0:
                raise DeltasError("ZeroDelta", f"slot {slot}")
            existing.append((slot, delta))
        openings: list[tuple[int, int]] = []
        for at in range(2 + 14 * count, len(data), 32):
            address, delta = (
                int.from_bytes(data[at : at + 20], "big"),
                int.from_bytes(data[at + 20 : at + 32], "big"),
            )
            if address == 0:
                raise DeltasError("ZeroAddress", f"opening {len(openings)}")
            if delta == 0:
                raise DeltasError("ZeroDelta", f"opening {len(openings)}")
            openings.append((address, delta))
        if opened + len(openings) > slots:
            raise DeltasError("BucketFull", f"{opened} + {len(openings)} slots of {slots}")
        return cls(tuple(existing), tuple(openings))

    def fingerprint(self, r: int, opened: int, slots: int) -> int:
        """sum of delta_s * r^s + sum over openings of address_s * r^(slots + s), mod p."""
        coefficients = [0] * (2 * slots)
        for slot, delta in self.existing:
            coefficients[slot] = delta
        for slot, (address, delta) in enumerate(self.opened, start=opened):
            coefficients[slot] = delta
            coefficients[slots + slot] = address
        return horner(coefficients, r)


def count_openings(deltas: bytes) -> int:
    """Return how many accounts well-formed `deltas` open."""
    existing = int.from_bytes(deltas[:2], "big")
    return (len(deltas) - 2 - 14 * existing) // 32


def opened_addresses(deltas: bytes) -> list[int]:
    """Return the addresses that well-formed `deltas` open, in order."""
    start = 2 + 14 * int.from_bytes(deltas[:2], "big")
    return [int.from_bytes(deltas[i : i + 20], "big") for i in range(start, len(deltas), 32)]


def challenge(digest: bytes) -> int:
    """r = EIP-712 digest of the batch, as an integer mod p."""
    return int.from_bytes(digest, "big") % P


@dataclass(frozen=True)
class Proof:
    """A Groth16 proof as affine points; G2 coordinates are (c0, c1).

    Proofs are malleable: a proof must not be used as an identifier.
    """

    a: tuple[int, int]
    b: tuple[tuple[int, int], tuple[int, int]]
    c: tuple[int, int]

    def to_words(self) -> list[int]:
        """[A.x, A.y, B.x.c1, B.x.c0, B.y.c1, B.y.c0, C.x, C.y], in the order of EIP-197."""
        (bx0, bx1), (by0, by1) = self.b
        return [*self.a, bx1, bx0, by1, by0, *self.c]

    @classmethod
    def from_words(cls, words: Sequence[int]) -> "Proof":
        """Inverse of `to_words`. Raises ValueError unless there are eight words."""
        if len(words) != 8:
            raise ValueError(f"proof: expected 8 words, got {len(words)}")
        ax, ay, bx1, bx0, by1, by0, cx, cy = words
        return cls((ax, ay), ((bx0, bx1), (by0, by1)), (cx, cy))

    @classmethod
    def from_snarkjs(cls, data: Any) -> "Proof":
        """From the proof.json of snarkjs and rapidsnark. Raises ValueError for anything else."""
        try:
            (ax, ay, _), (cx, cy, _) = data["pi_a"], data["pi_c"]
            ((bx0, bx1), (by0, by1), _) = data["pi_b"]
            ax, ay, bx0, bx1, by0, by1, cx, cy = (
                int(text) for text in (ax, ay, bx0, bx1, by0, by1, cx, cy)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"proof: expected snarkjs' proof.json, {error!r}") from error
        if not all(0 <= word < 2**256 for word in (ax, ay, bx0, bx1, by0, by1, cx, cy)):
            raise ValueError("proof: a coordinate is not below 2^256")
        return cls((ax, ay), ((bx0, bx1), (by0, by1)), (cx, cy))

    def to_bytes(self) -> bytes:
        """256 bytes: the eight words, big-endian."""
        return b"".join(word.to_bytes(32, "big") for word in self.to_words())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Proof":
        """Inverse of `to_bytes`. Raises ValueError unless there are 256 bytes."""
        if len(data) != 256:
            raise ValueError(f"proof: expected 256 bytes, got {len(data)}")
        return cls.from_words([int.from_bytes(data[i : i + 32], "big") for i in range(0, 256, 32)])
