"""Powers of tau for rehearsals: a prepared file in snarkjs' format whose tau is public.

snarkjs itself takes a quarter of an hour to make such a file. With a known tau, every point is one
multiplication of a generator. Only the parts that a setup of exactly 2^power and its verification
read are filled in. Format: iden3's powers-of-tau file, sections 1 to 6 and 12 to 15.
"""

import itertools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from py_ecc.bn128.bn128_curve import G2 as GENERATOR_2

from prover.cache import cache_root, cached_folder
from prover.field import P, Q
from prover.keys import G1, G2

TAU, ALPHA, BETA = (0x7A0 + i << 200 | 0xFEED_FACE_CAFE_BEEF * 3**i for i in range(3))
WINDOW = 13
_ROOT_OF_UNITY = pow(5, (P - 1) >> 28, P)
"""Of order 2^28; 5 is the smallest number that is not a square."""


@dataclass(frozen=True)
class Field:
    """What point arithmetic needs of a coordinate field."""

    mul: Callable[[Any, Any], Any]
    sub: Callable[[Any, Any], Any]
    inverse: Callable[[Any], Any]
    one: Any


def _mul2(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    low, high = a[0] * b[0], a[1] * b[1]
    return (low - high) % Q, ((a[0] + a[1]) * (b[0] + b[1]) - low - high) % Q


def _inverse2(a: tuple[int, int]) -> tuple[int, int]:
    norm = pow(a[0] * a[0] + a[1] * a[1], -1, Q)
    return a[0] * norm % Q, -a[1] * norm % Q


FIELD_1 = Field(lambda a, b: a * b % Q, lambda a, b: a - b, lambda a: pow(a, -1, Q), 1)
FIELD_2 = Field(_mul2, lambda a, b: (a[0] - b[0], a[1] - b[1]), _inverse2, (1, 0))


def add_many(field: Field, left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    """left[i] + right[i] for affine points of different x, by one inversion for all."""
    mul, sub = field.mul, field.sub
    products, product = [], field.one
    gaps = [sub(b[0], a[0]) for a, b in zip(left, right, strict=True)]
    for gap in gaps:
        products.append(product)
        product = mul(product, gap)
    inverse = field.inverse(product)
    sums: list[Any] = [None] * len(gaps)
    for i in range(len(gaps) - 1, -1, -1):
        a, b = left[i], right[i]
        slope = mul(sub(b[1], a[1]), mul(inverse, products[i]))
        inverse = mul(inverse, gaps[i])
        x = sub(sub(mul(slope, slope), a[0]), b[0])
        sums[i] = x, sub(mul(slope, sub(a[0], x)), a[1])
    return sums


def _double(field: Field, point: Any) -> Any:
    """One affine doubling on a curve y^2 = x^3 + b."""
    mul, sub = field.mul, field.sub
    square, zero = mul(point[0], point[0]), sub(field.one, field.one)
    slope = mul(
        sub(sub(square, sub(zero, square)), sub(zero, square)),
        field.inverse(sub(point[1], sub(zero, point[1]))),
    )
    x = sub(sub(mul(slope, slope), point[0]), point[0])
    return x, sub(mul(slope, sub(point[0], x)), point[1])


def multiples(field: Field, generator: Any, scalars: Sequence[int]) -> list[Any]:
    """scalar * generator for each scalar (1 .. P-1), affine, by tables of WINDOW bits."""
    sums: list[Any] = [None] * len(scalars)
    base = generator
    for shift in range(0, P.bit_length(), WINDOW):
        table: list[Any] = [None]
        for _ in range(WINDOW):
            table += [base, *add_many(field, table[1:], [base] * (len(table) - 1))]
            base = _double(field, base)
        digits = [scalar >> shift & (1 << WINDOW) - 1 for scalar in scalars]
        both = [i for i, digit in enumerate(digits) if digit and sums[i] is not None]
        added = add_many(field, [sums[i] for i in both], [table[digits[i]] for i in both])
        for i, digit in enumerate(digits):
            if digit and sums[i] is None:
                sums[i] = table[digit]
        for i, point in zip(both, added, strict=True):
            sums[i] = point
    return sums


def lagrange(power: int) -> list[int]:
    """Every Lagrange polynomial of the domain of size 2^power, at tau."""
    size = 1 << power
    root = pow(_ROOT_OF_UNITY, 1 << 28 - power, P)
    shared = (pow(TAU, size, P) - 1) * pow(size, -1, P)
    points = [1]
    for _ in range(size - 1):
        points.append(points[-1] * root % P)
    return [point * shared * pow(TAU - point, -1, P) % P for point in points]


def _bytes(point: Any) -> bytes:
    coordinates = [
        c
        for coordinate in point
        for c in (coordinate if isinstance(coordinate, tuple) else (coordinate,))
    ]
    return b"".join((c % Q * 2**256 % Q).to_bytes(32, "little") for c in coordinates)


def write_ptau(path: Path, power: int) -> None:
    """Write a prepared file for circuits of exactly 2^power."""
    g1: G1 = (1, 2)
    x, y = ([int(c) for c in coordinate.coeffs] for coordinate in GENERATOR_2)
    g2: G2 = ((x[0], x[1]), (y[0], y[1]))
    size = 1 << power
    powers = [1]
    for _ in range(2 * size - 2):
        powers.append(powers[-1] * TAU % P)
    small, large = lagrange(power), lagrange(power + 1)
    scalars = [
        *powers,
        *small,
        *large,
        *(ALPHA * s % P for s in small),
        *(BETA * s % P for s in small),
        ALPHA,
        BETA,
    ]
    data = b"".join(_bytes(point) for point in multiples(FIELD_1, g1, scalars))
    ends = [0]
    for count in (len(powers), size, 2 * size, size, size, 1, 1):
        ends.append(ends[-1] + 64 * count)
    tau1, small1, large1, alpha, beta, one_alpha, one_beta = (
        data[a:b] for a, b in itertools.pairwise(ends)
    )
    *small2, one_beta2 = (_bytes(point) for point in multiples(FIELD_2, g2, [*small, BETA]))
    before1, before2 = bytes(64 * (size - 1)), bytes(128 * (size - 1))
    sections = {
        1: struct.pack("<I", 32) + Q.to_bytes(32, "little") + struct.pack("<II", power, power),
        2: tau1,
        3: b"",
        4: one_alpha,
        5: one_beta,
        6: one_beta2,
        7: struct.pack("<I", 0),
        12: before1 + small1 + large1,
        13: before2 + b"".join(small2),
        14: before1 + alpha,
        15: before1 + beta,
    }
    with path.open("wb") as file:
        file.write(struct.pack("<4sII", b"ptau", 1, len(sections)))
        for kind, content in sections.items():
            file.write(struct.pack("<IQ", kind, len(content)) + content)


def rehearsal_ptau(power: int) -> Path:
    """The file for 2^power, made once a machine (half a minute for 2^15)."""
    folder = cached_folder(
        cache_root() / "test-ptau" / f"{power}",
        lambda unfinished: write_ptau(unfinished / "tau.ptau", power),
    )
    return folder / "tau.ptau"
