"""The daily limit, recomputed from the log: no batch was more than was left of it when it landed.

The log has each change of the limit and each batch's total; their blocks say when. This is all that
the contract counts with.
"""

import time
from collections.abc import Callable, Sequence

from backend.audit.report import AuditReport
from backend.chain.daily_limit import LeakyBucket
from backend.chain.distributor import Distributor, NotADistributor
from backend.chain.events import BatchPosted, DailyLimitChanged
from backend.chain.node import Block

CLOCK_SECONDS = 60
"""How far ahead of this machine a node's clock may be: some nodes answer for the next block."""


def check_daily_limit(
    distributor: Distributor,
    head: Block,
    log: Sequence[BatchPosted | DailyLimitChanged],
    timestamp: Callable[[int], int],
    report: AuditReport,
) -> None:
    """Findings go to the report. A program that never had a limit costs nothing.

    `log` is in chain order; `timestamp` gives a block's time. Raises Unavailable.
    """
    bucket = LeakyBucket()
    if not any(isinstance(event, DailyLimitChanged) for event in log):
        return
    for event in log:
        if isinstance(event, DailyLimitChanged):
            report.checks["daily limits"] += 1
            bucket = bucket.change(event.per_day, timestamp(event.block_number))
        elif bucket.per_day:
            bucket = _post(bucket, event, timestamp(event.block_number), report)
    _compare(distributor, head, bucket, report)


def _post(bucket: LeakyBucket, event: BatchPosted, time_: int, report: AuditReport) -> LeakyBucket:
    report.checks["batches within the daily limit"] += 1
    if not bucket.takes(event.total, time_):
        report.find(
            "daily_limit_exceeded",
            f"total is {event.total}, {bucket.left(time_)} of {bucket.per_day} a day were left",
            bucket=event.bucket,
            sequence=event.sequence,
            tx_hash=event.tx_hash,
        )
    return bucket.post(event.total, time_)


def _compare(
    distributor: Distributor, head: Block, bucket: LeakyBucket, report: AuditReport
) -> None:
    try:
        said = distributor.daily_limit(head.number)
    except NotADistributor as error:
        report.find("view_failed", f"dailyLimit: {error.message}")
        return
    report.checks["contract views"] += 1
    latest = max(head.timestamp, int(time.time())) + CLOCK_SECONDS
    least, most = bucket.left(head.timestamp), bucket.left(latest)
    if said.per_day != bucket.per_day or not least <= said.left <= most:
        report.find(
            "daily_limit_mismatch",
            f"the contract says that {said.left} of {said.per_day} a day are left, the log gives "
            f"{least} of {bucket.per_day}",
        )
