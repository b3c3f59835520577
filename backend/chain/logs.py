"""Logs of a contract, fetched in ranges of blocks that shrink when the node refuses one."""

from collections.abc import Callable
from typing import Any

from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import Web3Exception, Web3RPCError
from web3.types import LogReceipt

from backend.errors import Unavailable

RANGE_BLOCKS_MAX = 50_000
Progress = Callable[[int, int], None]
"""Called with (blocks done, blocks in all)."""


def fetch_logs(
    w3: Web3,
    criteria: dict[str, Any],
    first_block: int,
    last_block: int,
    progress: Progress | None = None,
) -> list[LogReceipt]:
    """All logs that match `criteria` (address, topics) in first_block .. last_block, in chain
    order.

    Nodes limit the blocks or the logs of an answer, each in its own words, so any refusal halves
    the range; it grows again after.

    Raises:
        Unavailable: the node refuses even one block, or does not answer.
    """
    logs: list[LogReceipt] = []
    at, size = first_block, RANGE_BLOCKS_MAX
    while at <= last_block:
        end = min(at + size - 1, last_block)
        try:
            logs += w3.eth.get_logs({**criteria, "fromBlock": at, "toBlock": end})
        except (Web3RPCError, RequestException, TimeoutError) as error:
            if end == at:
                raise Unavailable(
                    f"logs of block {at}: {type(error).__name__} {_said(error)}"
                ) from error
            size = (end - at + 1) // 2
            continue
        except Web3Exception as error:
            raise Unavailable(f"logs of blocks {at} to {end}: {error}") from error
        at, size = end + 1, min(2 * size, RANGE_BLOCKS_MAX)
        if progress:
            progress(at - first_block, last_block - first_block + 1)
    kept = {(log["blockNumber"], log["logIndex"]): log for log in logs if not log.get("removed")}
    return [kept[key] for key in sorted(kept)]


def _said(error: Exception) -> str:
    # An HTTP client's message holds the URL, and URLs hold API keys.
    return str(error) if isinstance(error, Web3RPCError) else ""
