"""Poseidon2 over BN254, width 4, and the 4-to-1 compression H4.

Source: "Poseidon2: A Faster Version of the Poseidon Hash Function" (eprint 2023/323). The round
constants come from the Grain LFSR of the Poseidon paper (eprint 2019/458, appendix E). Parameters
and vectors: PROTOCOL section 2.

The circuit and the Solidity code are tested against this reference.
"""

from collections.abc import Iterator

from prover.field import P

WIDTH = 4
FULL_ROUNDS = 8
PARTIAL_ROUNDS = 56
FIELD_BITS = 254

EXTERNAL_MATRIX = ((5, 7, 1, 3), (4, 6, 1, 1), (1, 3, 5, 7), (1, 1, 4, 6))
INTERNAL_DIAGONAL = (
    0x10DC6E9C006EA38B04B1E03B4BD9490C0D03F98929CA1D7FB56821FD19D3B6E7,
    0x0C28145B6A44DF3E0149B3D0A30B3BB599DF9756D4DD9B84A86B38CFB45A740B,
    0x00544B8338791518B2C7645A50392798B21F75BB60E3596170067D00141CAC15,
    0x222C01175718386F2E2E82EB122789E352E105A3B8FA852613BC534433EE428B,
)
"""The internal matrix is all ones plus this diagonal, so y_i = D_i * x_i + (x_0 + x_1 + x_2 +
x_3)."""


def _grain_bits() -> Iterator[int]:
    """The self-shrinking Grain LFSR.

    Seed: field=1, sbox=0, n=254, t=4, R_F=8, R_P=56 and thirty ones.
    """
    seed = [
        (1, 2),
        (0, 4),
        (FIELD_BITS, 12),
        (WIDTH, 12),
        (FULL_ROUNDS, 10),
        (PARTIAL_ROUNDS, 10),
        ((1 << 30) - 1, 30),
    ]
    state = [value >> (width - 1 - i) & 1 for value, width in seed for i in range(width)]

    def clock() -> int:
        bit = state[62] ^ state[51] ^ state[38] ^ state[23] ^ state[13] ^ state[0]
        state.pop(0)
        state.append(bit)
        return bit

    for _ in range(160):
        clock()
    while True:
        keep, bit = clock(), clock()
        if keep:
            yield bit


def generate_round_constants() -> tuple[int, ...]:
    """Return the 88 round constants.

    16 are for the first full rounds, 56 for lane 0 of the partial rounds, 16 for the last full
    rounds.
    """
    bits = _grain_bits()
    constants: list[int] = []
    while len(constants) < WIDTH * FULL_ROUNDS + PARTIAL_ROUNDS:
        value = 0
        for _ in range(FIELD_BITS):
            value = value << 1 | next(bits)
        if value < P:
            constants.append(value)
    return tuple(constants)


ROUND_CONSTANTS = generate_round_constants()
_FIRST = tuple(ROUND_CONSTANTS[i : i + 4] for i in range(0, 16, 4))
_PARTIAL = ROUND_CONSTANTS[16:72]
_LAST = tuple(ROUND_CONSTANTS[i : i + 4] for i in range(72, 88, 4))


def _full_round(
    a: int, b: int, c: int, d: int, constants: tuple[int, ...]
) -> tuple[int, int, int, int]:
    a, b, c, d = (
        pow(a + constants[0], 5, P),
        pow(b + constants[1], 5, P),
        pow(c + constants[2], 5, P),
        pow(d + constants[3], 5, P),
    )
    return _external(a, b, c, d)


def _external(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    return (
        (5 * a + 7 * b + c + 3 * d) % P,
        (4 * a + 6 * b + c + d) % P,
        (a + 3 * b + 5 * c + 7 * d) % P,
        (a + b + 4 * c + 6 * d) % P,
    )


def permute(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    """The Poseidon2 permutation of four field elements."""
    d0, d1, d2, d3 = INTERNAL_DIAGONAL
    a, b, c, d = _external(a, b, c, d)
    for constants in _FIRST:
        a, b, c, d = _full_round(a, b, c, d, constants)
    for constant in _PARTIAL:
        a = (a + constant) % P
        square = a * a % P
        a = square * square % P * a % P
        total = a + b + c + d
        a, b, c, d = (
            (a * d0 + total) % P,
            (b * d1 + total) % P,
            (c * d2 + total) % P,
            (d * d3 + total) % P,
        )
    for constants in _LAST:
        a, b, c, d = _full_round(a, b, c, d, constants)
    return a, b, c, d


def h4(a: int, b: int, c: int, d: int) -> int:
    """H4(a, b, c, d) = permute(a, b, c, d)[0] + a mod P.

    This is the compression of section 4 of the Poseidon2 paper.
    """
    return (permute(a, b, c, d)[0] + a) % P
