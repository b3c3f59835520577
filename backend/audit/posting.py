"""The transaction behind each batch: its calldata, its attestations, its time, and what its proof
must prove.

Which call made a batch is certain if the transaction goes to the Distributor itself, or if the node
shows (traces) what a wrapper called. Otherwise all there is to see are bytes in the wrapper's
calldata that look like the call, and whoever sent it may have put others before it. An attested one
still shows that the batch is attested; that none is attested shows nothing.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from backend.audit.attestations import attestation_problems
from backend.audit.replay import Step
from backend.audit.report import AuditReport
from backend.chain.calldata import (
    PostBatchCall,
    find_post_batches,
    post_batch_start,
    read_post_batch,
)
from backend.chain.eip1271 import StateMissing
from backend.chain.events import BatchPosted
from backend.chain.node import Block, Node, Transaction
from prover.eip712 import Domain
from prover.wire import Deltas, challenge

CANDIDATES_MAX = 64
"""Different calls in a wrapper's calldata whose signatures are looked at; a bad one costs at most
two calls to the node."""
PROOFS_MAX = 8
"""Proofs of attested candidates that are tried: each takes a second."""
TRACE_ADVICE = "ask a node that traces transactions (debug_traceTransaction)"

Signals = tuple[int, ...]


@dataclass(frozen=True)
class ProofJob:
    """(public signals, proof) pairs of which one must hold. If `certain`, the batch's own proof is
    among them; otherwise they are what was seen of it, and if none holds nothing is shown."""

    step: Step
    proofs: tuple[tuple[Signals, tuple[int, ...]], ...]
    certain: bool = True


class PostingCheck:
    """Checks the batches of one Distributor against their transactions, one at a time."""

    def __init__(self, node: Node, domain: Domain, slots: int, report: AuditReport) -> None:
        self.node, self.domain, self.slots, self.report = node, domain, slots, report
        self._blocks: dict[int, Block] = {}

    def check(self, step: Step) -> ProofJob | None:
        """Findings go to the report; what is left to do is the proof. None if there is nothing to
        prove with."""
        self.report.checks["transactions"] += 1
        self.report.checks["times"] += 1
        sent = self.node.transaction(step.event.tx_hash)
        calls = self._made(step.event, sent)
        if calls:
            return self._judge_made(step, calls)
        candidates = _candidates(step.event, sent, self.domain.distributor)
        if candidates:
            return self._judge_candidates(step, candidates)
        message = (
            "no postBatch call that fits the log in the transaction's calldata: attestations and "
            "proof are unchecked"
        )
        self.report.find("calldata_missing", message, **_where(step.event))
        return None

    def _made(self, event: BatchPosted, sent: Transaction | None) -> list[PostBatchCall]:
        """Calls that the transaction made for certain, and that fit the log; on a Distributor of
        ours it is one."""
        if sent is not None and sent.to == self.domain.distributor:
            calls = _fitting([sent.data], event)
            if calls:
                return calls
        # A delegate call at the Distributor runs its code over somebody else's storage: only plain
        # calls make its log.
        frames = self.node.trace(event.tx_hash, self.domain.distributor) or ()
        return _fitting([frame.data for frame in frames if frame.kind == "CALL"], event)

    def _judge_made(self, step: Step, calls: list[PostBatchCall]) -> ProofJob | None:
        judged: list[tuple[list[tuple[str, str]], PostBatchCall]] = []
        for call in calls:
            judged.append((list(self._problems(step, call)), call))
            if not judged[-1][0]:
                break
        problems, call = min(judged, key=lambda pair: len(pair[0]))
        unattested = [code for code, _ in problems if code != "expired"]
        self._attested(step, call, "bad" if unattested else "ok")
        for code, message in problems:
            self.report.find(code, message, **_where(step.event))
        if step.deltas is None:
            return None
        return ProofJob(step, ((self._signals(step, step.deltas, call), call.proof),))

    def _judge_candidates(self, step: Step, candidates: list[PostBatchCall]) -> ProofJob | None:
        verdicts: dict[tuple[Any, ...], bool] = {}
        clean: list[PostBatchCall] = []
        for call in candidates:
            signed = (call.batch.valid_until, call.attestations)
            if signed not in verdicts:
                verdicts[signed] = self._clean(step, call)
            if verdicts[signed]:
                clean.append(call)
            if len(clean) == PROOFS_MAX:
                break
        if not clean:
            message = (
                f"posted through another contract, and none of {len(candidates)} calls in its "
                "calldata that could be the batch's is attested, "
                "as strangers can bring about: attestations and proof are unchecked; "
                f"{TRACE_ADVICE}"
            )
            self.report.find("attestations_unchecked", message, **_where(step.event))
            return None
        self._attested(step, clean[0], "ok")
        if step.deltas is None:
            return None
        pairs = tuple((self._signals(step, step.deltas, call), call.proof) for call in clean)
        return ProofJob(step, pairs, certain=False)

    def _attested(self, step: Step, call: PostBatchCall, verdict: str) -> None:
        step.row.attestations, step.row.signers = verdict, len(call.attestations)
        self.report.checks["attestations"] += len(call.attestations)

    def _clean(self, step: Step, call: PostBatchCall) -> bool:
        try:
            return next(self._problems(step, call), None) is None
        except StateMissing:
            return False

    def _signals(self, step: Step, deltas: Deltas, call: PostBatchCall) -> Signals:
        """The public signals that the call's proof is over; `deltas` are those of `step`."""
        r = challenge(step.envelope(call.batch.valid_until).digest(self.domain))
        fingerprint = deltas.fingerprint(r, step.opened_before, self.slots)
        return (step.old_root, step.event.new_root, step.event.items_root, r, fingerprint)

    def _problems(self, step: Step, call: PostBatchCall) -> Iterator[tuple[str, str]]:
        """(code, message) of everything for which the contract must have refused the call, the
        proof apart."""
        valid_until, timestamp = call.batch.valid_until, self._timestamp(step.event.block_number)
        if timestamp > valid_until:
            yield "expired", f"posted at {timestamp}, valid until {valid_until}"
        digest = step.envelope(valid_until).digest(self.domain)
        yield from attestation_problems(
            self.node, digest, call.attestations, step.attestor_set, step.event.block_number
        )

    def _timestamp(self, number: int) -> int:
        if number not in self._blocks:
            self._blocks[number] = self.node.block(number)
        return self._blocks[number].timestamp


def _where(event: BatchPosted) -> dict[str, Any]:
    return {"bucket": event.bucket, "sequence": event.sequence, "tx_hash": event.tx_hash}


def _start(event: BatchPosted) -> bytes:
    return post_batch_start(
        event.bucket,
        event.sequence,
        event.new_root,
        event.items_root,
        event.interactions_root,
        event.ledger_head,
    )


def _fitting(inputs: Iterable[bytes], event: BatchPosted) -> list[PostBatchCall]:
    """The calls among `inputs` that fit the log."""
    start, found = _start(event), []
    for data in inputs:
        if data.startswith(start):
            with contextlib.suppress(ValueError):
                found.append(read_post_batch(data))
    return list(_distinct(found, event))


def _candidates(
    event: BatchPosted, sent: Transaction | None, distributor: str
) -> list[PostBatchCall]:
    """What in a wrapper's calldata could be the call that fits the log."""
    if sent is None or sent.to == distributor:
        return []
    return list(_distinct(find_post_batches(sent.data, _start(event)), event))


def _distinct(calls: Iterable[PostBatchCall], event: BatchPosted) -> Iterator[PostBatchCall]:
    """Those with the log's deltas, each once, at most CANDIDATES_MAX."""
    seen: set[PostBatchCall] = set()
    for call in calls:
        if call.deltas == event.deltas and call not in seen:
            seen.add(call)
            yield call
            if len(seen) == CANDIDATES_MAX:
                return
