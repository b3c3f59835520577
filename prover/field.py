"""The scalar field of BN254, as plain integers.

Everything that the protocol hashes, proves or posts is an integer `0 <= x < P`.
Source: EIP-196 (curve), PROTOCOL section 1.
"""

from collections.abc import Sequence

P = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""Order of the BN254 scalar field: the `p` of the protocol."""

Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""Order of the BN254 base field: coordinates of proof points are below it."""


def require_element(value: int, name: str) -> int:
    """Return `value` if it is a field element.

    Raises:
        ValueError: `value` is not in `0 .. P-1`; the message names `name`.
    """
    if not 0 <= value < P:
        raise ValueError(f"{name}: expected a field element (0 <= x < p), got {value}")
    return value


def inverse(value: int) -> int:
    """Multiplicative inverse mod P. Raises ZeroDivisionError for 0."""
    if value % P == 0:
        raise ZeroDivisionError("0 has no inverse in the field")
    return pow(value, -1, P)


def horner(coefficients: Sequence[int], point: int) -> int:
    """Value of `sum(coefficients[i] * point**i)` mod P."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % P
    return value
