"""Ranges of logs."""

from types import SimpleNamespace

import pytest
from web3.exceptions import Web3RPCError

from backend.chain import logs
from backend.chain.logs import fetch_logs
from backend.errors import Unavailable


class Node:
    """A node with one log a block, that refuses ranges longer than `limit` blocks, in reverse order
    within an answer."""

    def __init__(self, limit: int) -> None:
        self.limit, self.asked = limit, []
        self.eth = SimpleNamespace(get_logs=self.get_logs)

    def get_logs(self, criteria: dict) -> list[dict]:
        first, last = criteria["fromBlock"], criteria["toBlock"]
        self.asked.append((first, last))
        if last - first + 1 > self.limit:
            raise Web3RPCError("query exceeds max block range")
        return [
            {"blockNumber": n, "logIndex": 0, "removed": n == 7}
            for n in reversed(range(first, last + 1))
        ]


def test_refusal_of_one_block_is_said() -> None:
    """A node that refuses even one block is an error that names the block."""
    with pytest.raises(Unavailable, match="block 5"):
        fetch_logs(Node(0), {}, 5, 60)


@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
def test_every_log_once_in_chain_order(limit: int) -> None:
    """Whatever range a node takes, each log comes once and in order, and a removed one never."""
    node, seen = Node(limit), []
    found = fetch_logs(node, {}, 1, 100, lambda done, total: seen.append((done, total)))
    assert [log["blockNumber"] for log in found] == [n for n in range(1, 101) if n != 7]
    assert seen[-1] == (100, 100)


def test_a_range_never_exceeds_the_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges grow again after a refusal, but not beyond the maximum."""
    monkeypatch.setattr(logs, "RANGE_BLOCKS_MAX", 16)
    node = Node(1000)
    fetch_logs(node, {}, 0, 99)
    assert max(last - first + 1 for first, last in node.asked) == 16
