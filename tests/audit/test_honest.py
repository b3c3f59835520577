"""The honest chain holds, and everything on it is looked at."""

import json

from backend.audit.auditor import audit
from prover.groth16 import dev_key
from tests.support.program import DEV, Program


def test_honest_chain_holds(honest: Program) -> None:
    """A program with every kind of transaction has no finding, and each batch, proof, signature and
    claim was checked."""
    stages = {}
    report = audit(
        honest.chain.node,
        honest.address,
        progress=lambda stage, done, total: stages.update({stage: (done, total)}),
    )
    assert report.findings == []
    assert report.ok
    assert report.first_block == honest.deployment.block
    assert report.key_digest == dev_key(DEV).verifying_key.digest
    assert {(b.bucket, b.sequence, b.proof, b.attestations) for b in report.batches} == {
        (bucket, sequence, "ok", "ok") for bucket in (0, 1) for sequence in (1, 2)
    }
    assert (report.checks["proofs"], report.checks["roots"], report.checks["transactions"]) == (
        4,
        4,
        4,
    )
    assert (
        report.checks["claims"],
        report.checks["attestor sets"],
        report.checks["attestations"],
    ) == (6, 2, 8)
    assert report.accounts == 35
    earned = sum(
        cumulative for state in honest.state.buckets.values() for _, cumulative in state.pairs
    )
    assert report.totals["committed"] == earned
    assert report.totals["reserve"] == 100_000 - 40_000 - report.totals["claimed"]
    assert all(done == total for done, total in stages.values())
    assert set(stages) == {"logs", "batches", "proofs", "payouts", "contract"}
    assert (report.checks["payouts"], report.checks["recipients"]) == (6, 1)


def test_report_is_json_with_decimal_amounts(honest: Program, remembered_proofs: None) -> None:
    """The report goes through JSON with amounts as decimal strings."""
    data = json.loads(
        json.dumps(audit(honest.chain.node, honest.address, honest.deployment.block).to_json())
    )
    assert data["ok"] is True
    assert all(isinstance(amount, str) and amount.isdigit() for amount in data["totals"].values())
    assert all(batch["total"].isdigit() for batch in data["batches"])
