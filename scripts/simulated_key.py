"""A Groth16 key with a known trapdoor, and proofs simulated with it.

The real verifier contract accepts such a proof for any statement (eprint 2016/260, the simulator of
section 3.2). The key therefore proves nothing; it is for measurements on local chains. The gas of a
verification does not depend on the key, so gas measured with simulated proofs equals gas with real
proofs.
"""

import random
from collections.abc import Sequence
from functools import lru_cache

from py_ecc.optimized_bn128 import G1, G2, curve_order, multiply, normalize

SIGNALS = 5


def g1_words(scalar: int) -> list[int]:
    x, y = normalize(multiply(G1, scalar % curve_order))
    return [x.n, y.n]


@lru_cache(maxsize=64)
def g2_words(scalar: int) -> tuple[int, ...]:
    """x.c1, x.c0, y.c1, y.c0"""
    x, y = normalize(multiply(G2, scalar % curve_order))
    return tuple(int(value) for point in (x, y) for value in reversed(point.coeffs))


class SimulatedKey:
    """alpha, beta, gamma, delta and the logarithms of ic0 .. ic5, all from a seed."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)
        self.alpha, self.beta, self.gamma, self.delta = (self._scalar() for _ in range(4))
        self.ic = [self._scalar() for _ in range(SIGNALS + 1)]

    def _scalar(self) -> int:
        return self._rng.randrange(1, curve_order)

    def to_words(self) -> list[int]:
        """The constructor's argument of Groth16Verifier: 26 words."""
        words = [
            *g1_words(self.alpha),
            *g2_words(self.beta),
            *g2_words(self.gamma),
            *g2_words(self.delta),
        ]
        return words + [word for scalar in self.ic for word in g1_words(scalar)]

    def prove(self, signals: Sequence[int]) -> list[int]:
        """Eight words that the verifier accepts for these public signals, true or not.

        C = (A*B - alpha*beta - gamma*ic(signals)) / delta.
        """
        a, b = self._scalar(), self._scalar()
        combined = self.ic[0] + sum(
            scalar * signal for scalar, signal in zip(self.ic[1:], signals, strict=True)
        )
        c = (a * b - self.alpha * self.beta - self.gamma * combined) * pow(
            self.delta, -1, curve_order
        )
        return [*g1_words(a), *g2_words(b), *g1_words(c)]
