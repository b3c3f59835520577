"""Two full buckets of the standard instance, end to end.

Interactions are reported over HTTP, attested, proven by two workers at once, posted and audited.
There are two rounds. In the first round the workers still load the key, accounts are opened, and
the second bucket may not be signed before the first is full on chain (it is proven meanwhile). In
the second round every account has its slot.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from eth_utils import keccak, to_checksum_address
from sqlalchemy import select

from backend.audit.auditor import audit
from backend.batch.models import Batch, BatchState
from backend.client.partner_client import PartnerClient, Reported
from backend.devstack.local import Local, start_local
from backend.ledger.service import reserve
from prover.circuit import Instance, load_instance

BUCKETS = WORKERS = 2
AMOUNT = 10**18
FUNDING = 10**30
WAIT_SECONDS = 3600
POLL_SECONDS = 0.1


class BenchFailed(Exception):
    """The run did not reach what it was to measure."""


def measure() -> dict[str, float]:
    """Seconds from the first report to the last final block, and the part of proving.

    Measures both rounds. Raises BenchFailed.
    """
    instance = load_instance("standard")
    with tempfile.TemporaryDirectory(prefix="guerdon-bench-") as folder:
        # No batch closes by age: a batch closes when it is full.
        local = start_local(
            Path(folder) / "stack",
            program="bench",
            partner="adnet",
            instance="standard",
            batch_age_max_seconds=10**6,
            worker_processes=WORKERS,
        )
        try:
            local.fund(FUNDING)
            _wait(local, lambda: _reserve(local) >= FUNDING)
            first, first_proving = _round(local, instance, 1)
            second, second_proving = _round(local, instance, 2)
            return _figures(local, instance) | {
                "two_full_buckets_first_round_seconds": round(first, 1),
                "two_full_buckets_seconds": round(second, 1),
                "two_full_buckets_proofs_at_once_count": min(first_proving, second_proving),
                "two_full_buckets_items_per_second": round(BUCKETS * instance.items / second, 1),
            }
        finally:
            local.close()


def _round(local: Local, instance: Instance, sequence: int) -> tuple[float, int]:
    """Fill both buckets' next batch and wait until both are final.

    Returns (seconds, most proofs seen in progress at once).
    """
    if local.partner is None or local.partner_secret is None:
        raise BenchFailed("the stack has no partner")
    client = PartnerClient(local.api_url, local.program, local.partner, local.partner_secret)
    start, at_once = time.monotonic(), 0

    def landed() -> bool:
        nonlocal at_once
        batches = [batch for batch in _batches(local) if batch.sequence == sequence]
        at_once = max(
            at_once, sum(batch.prove_attempts > 0 and batch.proof is None for batch in batches)
        )
        return len(batches) == BUCKETS and all(batch.state == BatchState.FINAL for batch in batches)

    for bucket in range(BUCKETS):
        outcomes = client.report(_reports(instance, bucket, sequence))
        if outcomes != {"accepted": instance.items}:
            raise BenchFailed(f"bucket {bucket}: {dict(outcomes)}")
    client.close()
    _wait(local, landed)
    return time.monotonic() - start, at_once


def _reports(instance: Instance, bucket: int, sequence: int) -> list[Reported]:
    """Return as many interactions as a batch takes, for every account of a bucket."""
    now = int(time.time())
    accounts = [
        to_checksum_address(keccak(text=f"{bucket} {slot}")[12:]) for slot in range(instance.slots)
    ]
    return [
        Reported(f"{bucket}-{sequence}-{j}", accounts[j % instance.slots], AMOUNT + j, now)
        for j in range(instance.items)
    ]


def _batches(local: Local) -> list[Batch]:
    with local.context.database.transaction() as session:
        return list(
            session.scalars(
                select(Batch).where(Batch.program_id == local.program_id).order_by(Batch.id)
            )
        )


def _reserve(local: Local) -> int:
    with local.context.database.transaction() as session:
        return reserve(session, local.program_id)


def _wait(local: Local, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not ready():
        local.stack.check()
        if time.monotonic() > deadline:
            raise BenchFailed(
                f"not after {WAIT_SECONDS} s: "
                f"{[(row.bucket, row.state, row.note) for row in _batches(local)]}"
            )
        time.sleep(POLL_SECONDS)


def _figures(local: Local, instance: Instance) -> dict[str, float]:
    """Return what the batches cost, after an audit of the chain has confirmed all of them."""
    batches = _batches(local)
    sizes = {
        (batch.bucket, batch.sequence): (batch.items, batch.accounts_touched) for batch in batches
    }
    full = (instance.items, instance.slots)
    if sizes != {(bucket, sequence): full for bucket in range(BUCKETS) for sequence in (1, 2)}:
        raise BenchFailed(f"the batches are not two full buckets twice: {sizes}")
    start = time.monotonic()
    report = audit(local.context.node, local.deployment.distributor)
    if report.findings or report.totals["committed"] != sum(batch.total for batch in batches):
        raise BenchFailed(f"the audit finds {report.findings} and {report.totals}")
    proving = [batch.prove_ms for batch in batches if batch.prove_ms is not None]
    gas = [batch.gas_used for batch in batches if batch.gas_used is not None]
    if len(proving) != len(batches) or len(gas) != len(batches):
        raise BenchFailed("a final batch lacks its proof's time or its post's gas")
    return {
        "two_full_buckets_proof_seconds_max": round(max(proving) / 1000, 1),
        "two_full_buckets_proof_seconds_min": round(min(proving) / 1000, 1),
        "two_full_buckets_post_gas_max": max(gas),
        "two_full_buckets_audit_seconds": round(time.monotonic() - start, 1),
    }
