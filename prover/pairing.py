"""An independent check of Groth16 proofs, with py_ecc's curve and pairing.

It checks e(A, B) = e(alpha, beta) * e(sum of signal_i * IC_i, gamma) * e(C, delta). Source: eprint
2016/260 section 3.2; encodings as in EIP-197. The code is plain and slow (seconds) on purpose. The
auditor and the tests use it.
"""

import secrets
import sys
from collections.abc import Sequence

_RECURSION_LIMIT = sys.getrecursionlimit()

from py_ecc import optimized_bn128 as bn  # noqa: E402
from py_ecc.fields import optimized_bn128_FQ as FQ  # noqa: E402
from py_ecc.fields import optimized_bn128_FQ2 as FQ2  # noqa: E402
from py_ecc.fields import optimized_bn128_FQ12 as FQ12  # noqa: E402

# Importing py_ecc raises the limit for the whole process: deeply nested JSON would then overflow a
# thread's stack instead of being refused.
sys.setrecursionlimit(_RECURSION_LIMIT)

from prover.field import P, Q  # noqa: E402
from prover.keys import G1, G2, VerifyingKey  # noqa: E402
from prover.wire import Proof  # noqa: E402

WEIGHT_BITS = 128


class PointError(ValueError):
    """A coordinate pair is not a point of its group. The message names it."""


def g1_point(point: G1, name: str) -> tuple[FQ, FQ, FQ]:
    """The point in py_ecc's form; (0, 0) is infinity. Raises PointError."""
    if not all(0 <= coordinate < Q for coordinate in point):
        raise PointError(f"{name}: a coordinate is not below q")
    if point == (0, 0):
        return bn.Z1
    projective = (FQ(point[0]), FQ(point[1]), FQ.one())
    if not bn.is_on_curve(projective, bn.b):
        raise PointError(f"{name}: not on the curve")
    return projective


def g2_point(point: G2, name: str) -> tuple[FQ2, FQ2, FQ2]:
    """The point in py_ecc's form; zeros are infinity.

    Raises PointError also for a point outside the subgroup of order p.
    """
    if not all(0 <= coordinate < Q for pair in point for coordinate in pair):
        raise PointError(f"{name}: a coordinate is not below q")
    if point == ((0, 0), (0, 0)):
        return bn.Z2
    projective = (FQ2(point[0]), FQ2(point[1]), FQ2.one())
    if not bn.is_on_curve(projective, bn.b2):
        raise PointError(f"{name}: not on the twist")
    if not bn.is_inf(bn.multiply(projective, P)):
        raise PointError(f"{name}: not in the subgroup of order p")
    return projective


def verify(key: VerifyingKey, proof: Proof, public_signals: Sequence[int]) -> bool:
    """Return whether the proof is valid for the public signals under the key.

    Coordinates that are not points and signals that are not field elements give False, as in the
    precompiles. Raises ValueError for the wrong number of signals: that is the caller's mistake,
    not the prover's.
    """
    return _merged(key, [(proof, public_signals)], [1])


def verify_all(key: VerifyingKey, claims: Sequence[tuple[Proof, Sequence[int]]]) -> bool:
    """Return whether every (proof, public signals) is valid: one check of them all.

    Each proof's equation is raised to a random weight of 128 bits, and the product is compared
    with 1. The weights are drawn after the proofs are fixed and are told to nobody, so a set with
    a proof that is not valid passes with probability 2^-128 (the small exponents test: Bellare,
    Garay, Rabin, Eurocrypt 1998; every point is in a group of prime order). A proof costs one
    Miller loop here and four alone. Raises ValueError as `verify` does.
    """
    return _merged(key, claims, [secrets.randbits(WEIGHT_BITS) or 1 for _ in claims])


def _merged(
    key: VerifyingKey, claims: Sequence[tuple[Proof, Sequence[int]]], weights: Sequence[int]
) -> bool:
    """The product of the equations, each raised to its weight, is 1."""
    product = FQ12.one()
    factors = [0] * len(key.ic)
    c_sum = bn.Z1
    for (proof, signals), weight in zip(claims, weights, strict=True):
        if len(signals) != len(key.ic) - 1:
            raise ValueError(f"public_signals: expected {len(key.ic) - 1}, got {len(signals)}")
        if not all(0 <= signal < P for signal in signals):
            return False
        try:
            a, b, c = g1_point(proof.a, "A"), g2_point(proof.b, "B"), g1_point(proof.c, "C")
        except PointError:
            return False
        product *= bn.pairing(b, bn.neg(bn.multiply(a, weight)), final_exponentiate=False)
        c_sum = bn.add(c_sum, bn.multiply(c, weight))
        factors = [
            factor + weight * signal for factor, signal in zip(factors, (1, *signals), strict=True)
        ]
    combined = bn.Z1
    for i, factor in enumerate(factors):
        combined = bn.add(combined, bn.multiply(g1_point(key.ic[i], f"IC[{i}]"), factor % P))
    alphas = bn.multiply(g1_point(key.alpha, "alpha"), sum(weights) % P)
    for g2, g1 in (
        (g2_point(key.beta, "beta"), alphas),
        (g2_point(key.gamma, "gamma"), combined),
        (g2_point(key.delta, "delta"), c_sum),
    ):
        product *= bn.pairing(g2, g1, final_exponentiate=False)
    return bn.final_exponentiate(product) == FQ12.one()
