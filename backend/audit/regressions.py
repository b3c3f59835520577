"""Names a false root for what it is when it makes somebody's cumulative fall.

A root is a hash, so what it holds can only be guessed and tested. The guesses are the ways in which
a balance is taken back: a root of the past once more, deltas booked with the wrong sign, a sum that
wrapped round at 96 bits, an account put back to an earlier cumulative. A false root that none of
them explains is still a false root; it just has no name.
"""

from collections.abc import Iterator, Mapping, Sequence

from prover.state import BucketState
from prover.tree import Tree
from prover.wire import Deltas

HISTORY_MAX = 8
"""Earlier cumulatives tried per account: each costs two paths of hashes."""


def explain_regression(
    bucket: BucketState,
    before: Sequence[tuple[int, int]],
    deltas: Deltas,
    root: int,
    history: Mapping[int, Sequence[int]],
    earlier_roots: Mapping[int, int],
) -> str | None:
    """Which cumulatives fall under `root`, in words, or None if no guess gives that root.

    `bucket` is the state after `deltas`, `before` its pairs before; `history` holds each slot's
    cumulatives, oldest first, and `earlier_roots` the bucket's posted roots by sequence. `bucket`
    is left as it was.
    """
    newest = max(earlier_roots, default=0)
    for sequence, earlier in earlier_roots.items():
        if earlier == root and sequence < newest and earlier != earlier_roots[newest]:
            return f"the root of sequence {sequence} again: all that was earned since is gone"
    for words, changes in _guesses(before, deltas, history):
        if _root_with(bucket.tree, changes) == root:
            return words
    return None


def _guesses(
    before: Sequence[tuple[int, int]], deltas: Deltas, history: Mapping[int, Sequence[int]]
) -> Iterator[tuple[str, dict[int, int]]]:
    lowered = {
        slot: before[slot][1] - delta for slot, delta in deltas.existing if before[slot][1] >= delta
    }
    wrapped = {
        slot: (before[slot][1] + delta) % 2**96
        for slot, delta in deltas.existing
        if before[slot][1] + delta >= 2**96 > before[slot][1]
    }
    for how, changes in (("subtracted", lowered), ("wrapped round at 96 bits", wrapped)):
        if changes:
            yield f"slots {sorted(changes)}: the deltas are {how}", changes
        if len(changes) > 1:
            for slot, value in changes.items():
                yield (
                    f"slot {slot} falls from {before[slot][1]} to {value}: the delta is {how}",
                    {slot: value},
                )
    for slot, (_, cumulative) in enumerate(before):
        earlier = [value for value in history[slot] if value < cumulative]
        for value in [0, *earlier[-HISTORY_MAX:]]:
            yield f"slot {slot} falls from {cumulative} to {value}", {slot: value}


def _root_with(tree: Tree, changes: Mapping[int, int]) -> int:
    honest = {slot: tree.pair(slot)[1] for slot in changes}
    tree.update((2 * slot + 1, value) for slot, value in changes.items())
    root = tree.root
    tree.update((2 * slot + 1, value) for slot, value in honest.items())
    return root
