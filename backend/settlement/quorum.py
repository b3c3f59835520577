"""Which of the attestors that have signed go along with a post.

Any m of them are enough for the contract. An attestor that is a contract can accept a signature
while the post is simulated and refuse it when it is mined. So attestors that made a post revert
go last, and no quorum is tried again before all others were.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple


class Faults(NamedTuple):
    """How many posts of the program an attestor made revert (`refused`), and how many others may
    have reverted because of it (`suspected`)."""

    refused: int = 0
    suspected: int = 0


Quorum = frozenset[str]
"""The addresses of m attestors."""


def ranked(signers: Iterable[str], faults: Mapping[str, Faults]) -> list[str]:
    """The signers, those without a fault first; of equals the lowest address first."""
    return sorted(signers, key=lambda signer: (faults.get(signer, Faults()), int(signer, 16)))


def choose(
    signers: Iterable[str],
    threshold: int,
    faults: Mapping[str, Faults],
    tried: Sequence[Quorum] = (),
) -> Quorum | None:
    """The next quorum to try; None if fewer than `threshold` have signed.

    It is the first in order of rank that was not tried, or, once all were, the one that was tried
    least. At most one quorum more is looked at than was tried, however many there are.
    """
    counts = Counter(tried)
    quorums = (Quorum(one) for one in combinations(ranked(signers, faults), threshold))
    seen: list[Quorum] = []
    for quorum in quorums:
        if not counts[quorum]:
            return quorum
        seen.append(quorum)
    return min(seen, key=lambda quorum: counts[quorum], default=None)


def all_tried(signers: Iterable[str], threshold: int, tried: Iterable[Quorum]) -> bool:
    """Whether no quorum of these signers is untried."""
    done = set(tried)
    return all(Quorum(one) in done for one in combinations(sorted(signers), threshold))
