"""The transaction behind each batch: its calldata, its attestations, its time, and what its proof must prove."""

from dataclasses import dataclass
from typing import Any

from backend.audit.attestations import attestation_problems
from backend.audit.replay import Step
from backend.audit.report import AuditReport
from backend.chain.calldata import PostBatchCall, find_post_batches
from backend.chain.client import Block, Web3, block
from backend.chain.events import BatchPosted
from backend.chain.reads import traced_inputs, transaction_input
from prover.eip712 import Domain
from prover.wire import challenge

CANDIDATES_MAX = 8
"""Calls in one transaction's calldata that fit a log: a wrapper may repeat one, but no more is looked at."""


@dataclass(frozen=True)
class ProofJob:
    """Public signals and the proofs of which one must prove them: more than one only if a transaction's calldata is ambiguous."""

    step: Step
    signals: tuple[int, ...]
    proofs: tuple[tuple[int, ...], ...]


class PostingCheck:
    """Checks the batches of one Distributor against their transactions, one at a time."""

    def __init__(self, w3: Web3, domain: Domain, slots: int, report: AuditReport) -> None:
        self.w3, self.domain, self.slots, self.report = w3, domain, slots, report
        self._blocks: dict[int, Block] = {}

    def check(self, step: Step) -> ProofJob | None:
        """Findings go to the report; what is left to do is the proof. None if there is nothing to prove with."""
        event, where = step.event, _where(step.event)
        self.report.checks["transactions"] += 1
        calls = self._calls(event)
        if not calls:
            message = "no postBatch call that fits the log in the transaction's calldata: attestations and proof are unchecked"
            self.report.find("calldata_missing", message, **where)
            return None
        judged = [(self._problems(step, call), call) for call in calls]
        problems, call = min(judged, key=lambda pair: len(pair[0]))
        step.row.attestations, step.row.signers = ("bad" if problems else "ok"), len(call.attestations)
        self.report.checks["attestations"] += len(call.attestations)
        for code, message in problems:
            self.report.find(code, message, **where)
        self._time(event, call.batch.valid_until)
        if step.deltas is None:
            return None
        alike = [other for found, other in judged if len(found) == len(problems) and other.batch == call.batch]
        return self._job(step, call.batch.valid_until, tuple(other.proof for other in alike))

    def _job(self, step: Step, valid_until: int, proofs: tuple[tuple[int, ...], ...]) -> ProofJob:
        event = step.event
        r = challenge(step.envelope(valid_until).digest(self.domain))
        fingerprint = step.deltas.fingerprint(r, step.opened_before, self.slots)
        return ProofJob(step, (step.old_root, event.new_root, event.items_root, r, fingerprint), proofs)

    def _problems(self, step: Step, call: PostBatchCall) -> list[tuple[str, str]]:
        digest = step.envelope(call.batch.valid_until).digest(self.domain)
        return attestation_problems(self.w3, digest, call.attestations, step.attestor_set, step.event.block_number)

    def _calls(self, event: BatchPosted) -> list[PostBatchCall]:
        found = _fitting(transaction_input(self.w3, event.tx_hash), event)
        if found:
            return found
        # A contract that builds the call itself leaves nothing in the calldata; a node that traces can still show it.
        inputs = traced_inputs(self.w3, event.tx_hash, self.domain.distributor)
        return [call for data in inputs for call in _fitting(data, event)][:CANDIDATES_MAX]

    def _time(self, event: BatchPosted, valid_until: int) -> None:
        if event.block_number not in self._blocks:
            self._blocks[event.block_number] = block(self.w3, event.block_number)
        timestamp = self._blocks[event.block_number].timestamp
        self.report.checks["times"] += 1
        if timestamp > valid_until:
            self.report.find("expired", f"posted at {timestamp}, valid until {valid_until}", **_where(event))


def _where(event: BatchPosted) -> dict[str, Any]:
    return {"bucket": event.bucket, "sequence": event.sequence, "tx_hash": event.tx_hash}


def _fitting(data: bytes, event: BatchPosted) -> list[PostBatchCall]:
    found: list[PostBatchCall] = []
    for call in find_post_batches(data):
        batch = call.batch
        said = (
            batch.bucket,
            batch.sequence,
            batch.new_root,
            batch.items_root,
            batch.interactions_root,
            batch.ledger_head,
            call.deltas,
        )
        logged = (
            event.bucket, event.sequence, event.new_root, event.items_root, event.interactions_root, event.ledger_head, event.deltas,
        )  # fmt: skip
        if said == logged and call not in found:
            found.append(call)
        if len(found) == CANDIDATES_MAX:
            break
    return found
