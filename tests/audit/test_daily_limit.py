"""The daily limit in an audit: what a Distributor that does not check it lets through is named, and
what the real one does is in order."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak

from backend.audit.auditor import audit
from backend.audit.daily_limit import check_daily_limit
from backend.audit.report import AuditReport
from backend.chain.daily_limit import DAY, LeakyBucket
from backend.chain.distributor import DailyLimit
from backend.chain.events import BatchPosted, DailyLimitChanged
from backend.chain.node import Block
from tests.support.anvil import Anvil
from tests.support.program import Program, account, permissive_program, real_program

ANN = account("ann").address
HEAD = 10_000_000
PLACE: dict[str, Any] = {"block_hash": b"", "tx_hash": b"\1" * 32, "log_index": 0}


def changed(at: int, per_day: int) -> DailyLimitChanged:
    return DailyLimitChanged(block_number=at, per_day=per_day, by=ANN, **PLACE)


def posted(at: int, total: int, sequence: int = 1) -> BatchPosted:
    roots = {"new_root": 1, "items_root": 1, "interactions_root": b"", "ledger_head": b""}
    return BatchPosted(
        block_number=at, bucket=0, sequence=sequence, total=total, deltas=b"", **roots, **PLACE
    )


def codes(
    log: Sequence[BatchPosted | DailyLimitChanged], per_day: int = 100, left: int = 100
) -> list[tuple[str, int | None]]:
    """What is found where block n has time n, and the contract says that `left` is left."""
    report = AuditReport(1, ANN, 0, HEAD)
    contract: Any = SimpleNamespace(daily_limit=lambda block: DailyLimit(per_day, left, per_day))
    check_daily_limit(contract, Block(HEAD, b"", HEAD), log, lambda number: number, report)
    return [(finding.code, finding.sequence) for finding in report.findings]


def test_each_batch_is_held_against_what_was_left() -> None:
    """To the unit and to the second: what has refilled may be committed, one unit more is found,
    and named by its batch. Batches before the first limit do not count."""
    fine = [posted(0, 10**9), changed(5, 100), posted(5, 100), posted(5 + DAY // 2, 50)]
    assert codes(fine) == []
    early = [*fine[:3], posted(4 + DAY // 2, 50, 2), posted(4 + 2 * DAY, 100, 3)]
    assert codes(early) == [("daily_limit_exceeded", 2)]
    assert codes([changed(5, 100), posted(5, 101)]) == [("daily_limit_exceeded", 1)]


def test_a_lowering_keeps_what_is_used() -> None:
    """A batch after a lowering is held against the lower limit; a raise to none ends the check, and
    a later limit starts unused."""
    log = [changed(5, 100), posted(5, 80, 1), changed(5, 50), posted(6, 1, 2)]
    assert codes(log, 50, 50) == [("daily_limit_exceeded", 2)]
    free = [changed(5, 100), posted(5, 80), changed(6, 0), posted(6, 10**6), changed(7, 100)]
    assert codes([*free, posted(7, 100)]) == []


@pytest.mark.parametrize(("per_day", "left"), [(99, 99), (100, 9), (100, 101), (0, 2**256 - 1)])
def test_the_view_is_held_against_the_log(per_day: int, left: int) -> None:
    """A contract that says another limit, or that more or less is left, contradicts its log."""
    log = [changed(HEAD - DAY // 10, 100), posted(HEAD - DAY // 10, 100)]
    assert codes(log, 100, 10) == []
    assert codes(log, per_day, left) == [("daily_limit_mismatch", None)]


def test_a_program_without_a_limit_is_not_asked() -> None:
    """A Distributor of the first edition has no such view."""
    report = AuditReport(1, ANN, 0, HEAD)
    contract: Any = None
    check_daily_limit(contract, Block(HEAD, b"", HEAD), [posted(1, 5)], int, report)
    assert report.ok


def set_limit(program: Program, per_day: int) -> None:
    data = keccak(text="setDailyLimit(uint96)")[:4] + encode(["uint96"], [per_day])
    assert program.send(data)["status"] == 1


def test_a_chain_that_breaks_it(chain: Anvil, remembered_proofs: None) -> None:
    """Two batches within the limit, and one that is above what they left."""
    program = permissive_program(chain)
    program.fund(10_000)
    set_limit(program, 1_000)
    program.post(0, [(ANN, 400)])
    program.post(0, [(ANN, 500)])
    program.post(0, [(ANN, 200)])
    report = audit(chain.node, program.address, program.deployment.block)
    found = {(one.code, one.sequence) for one in report.findings}
    assert ("daily_limit_exceeded", 3) in found
    assert {sequence for code, sequence in found if code == "daily_limit_exceeded"} == {3}
    assert report.checks["batches within the daily limit"] == 3


def test_a_real_program_with_a_limit(chain: Anvil, remembered_proofs: None) -> None:
    """Its log and its views agree."""
    program = real_program(chain, daily_limit=1_000)
    program.fund(10_000)
    program.post(0, [(ANN, 400)])
    program.post(0, [(ANN, 600)])
    distributor = program.distributor
    head = chain.node.block("latest")
    changes = [
        one for one in distributor.events(0, head.number) if isinstance(one, DailyLimitChanged)
    ]
    assert [(one.per_day, one.by) for one in changes] == [(1_000, chain.key(0).address)]
    said = distributor.daily_limit(head.number)
    assert (said.per_day, said.owner_set) == (1_000, 1_000)
    assert said.left <= LeakyBucket(1_000, 1_000 * DAY, head.timestamp).left(head.timestamp + 60)
    report = audit(chain.node, program.address, program.deployment.block)
    assert report.ok, report.findings
    assert report.checks["daily limits"] == 1
    assert report.checks["batches within the daily limit"] == 2
