"""Where a contract's history begins, and its logs, fetched in ranges that shrink on a refusal."""

from collections.abc import Callable, Sequence

from backend.chain.node import Log, Node, NodeRefused
from backend.errors import Invalid, Unavailable

RANGE_BLOCKS_MAX = 50_000
Progress = Callable[[int, int], None]
"""Called with (blocks done, blocks in all)."""


def deployment_block(node: Node, address: str, head: int) -> int:
    """The first block at which `address` has code, by binary search over 0 .. head.

    Raises:
        Invalid: it has none at `head`.
        Unavailable: the node does not hold old state; the message says to give the block.
    """
    if not node.code(address, head):
        raise Invalid(
            f"{address} has no code at block {head}: not a contract of this chain",
            field="distributor",
        )
    low, high = 0, head
    while low < high:
        middle = (low + high) // 2
        try:
            has_code = bool(node.code(address, middle))
        except NodeRefused as error:
            raise Unavailable(
                f"the node does not serve the state of block {middle} ({error}): use a node that "
                "does, or give the Distributor's block (`--first-block`; `--from-block` of "
                "`guerdon program resume`)"
            ) from error
        low, high = (low, middle) if has_code else (middle + 1, high)
    return low


def fetch_logs(
    node: Node,
    address: str,
    topics: Sequence[bytes | None],
    first_block: int,
    last_block: int,
    progress: Progress | None = None,
) -> list[Log]:
    """All logs of `address` with `topics` in first_block .. last_block, in chain order.

    Nodes limit the blocks or the logs of an answer, each in its own words, so any refusal halves
    the range; it grows again after. A node that does not answer, or was asked too often, is not
    asked for less: that would only be more questions.

    Raises:
        Unavailable: the node refuses even one block, or does not answer.
    """
    logs: list[Log] = []
    at, size = first_block, RANGE_BLOCKS_MAX
    while at <= last_block:
        end = min(at + size - 1, last_block)
        try:
            logs += node.logs(address, topics, at, end)
        except NodeRefused as error:
            if end == at:
                raise Unavailable(f"logs of block {at}: {error.message}") from error
            size = (end - at + 1) // 2
            continue
        at, size = end + 1, min(2 * size, RANGE_BLOCKS_MAX)
        if progress:
            progress(at - first_block, last_block - first_block + 1)
    unique = {(log.block_number, log.log_index): log for log in logs}
    return [unique[key] for key in sorted(unique)]
