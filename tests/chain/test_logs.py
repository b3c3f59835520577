"""Ranges of logs."""

from collections.abc import Sequence

import pytest

from backend.chain import logs
from backend.chain.logs import fetch_logs
from backend.chain.node import BadAnswer, Log, NodeRefused, RateLimited
from backend.errors import Unavailable

ADDRESS = "0x" + "11" * 20


class RangedNode:
    """A node with one log a block, that refuses ranges longer than `limit` blocks, in reverse order
    within an answer."""

    def __init__(self, limit: int) -> None:
        self.limit, self.asked = limit, []

    def logs(
        self, address: str, topics: Sequence[bytes | None], first_block: int, last_block: int
    ) -> list[Log]:
        self.asked.append((first_block, last_block))
        if last_block - first_block + 1 > self.limit:
            raise NodeRefused("query exceeds max block range")
        return [
            Log(address, (), b"", number, bytes(32), bytes(32), 0)
            for number in reversed(range(first_block, last_block + 1))
        ]


def test_refusal_of_one_block_is_said() -> None:
    """A node that refuses even one block is an error that names the block."""
    with pytest.raises(Unavailable, match="block 5"):
        fetch_logs(RangedNode(0), ADDRESS, [], 5, 60)


@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
def test_every_log_once_in_chain_order(limit: int) -> None:
    """Whatever range a node takes, each log comes once and in order."""
    node, seen = RangedNode(limit), []
    found = fetch_logs(node, ADDRESS, [], 1, 100, lambda done, total: seen.append((done, total)))
    assert [log.block_number for log in found] == list(range(1, 101))
    assert seen[-1] == (100, 100)


def test_a_range_never_exceeds_the_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges grow again after a refusal, but not beyond the maximum."""
    monkeypatch.setattr(logs, "RANGE_BLOCKS_MAX", 16)
    node = RangedNode(1000)
    fetch_logs(node, ADDRESS, [], 0, 99)
    assert max(last - first + 1 for first, last in node.asked) == 16


@pytest.mark.parametrize(
    "error", [RateLimited("asked too often", 7), BadAnswer("a web page"), Unavailable("silent")]
)
def test_only_a_refusal_halves_the_range(error: Unavailable) -> None:
    """A node that was asked too often, or does not answer, is not asked sixteen times more."""

    class Silent(RangedNode):
        def logs(self, *question: object) -> list[Log]:
            self.asked.append(question)
            raise error

    node = Silent(0)
    with pytest.raises(type(error)) as caught:
        fetch_logs(node, ADDRESS, [], 1, 100_000)
    assert caught.value is error
    assert len(node.asked) == 1
