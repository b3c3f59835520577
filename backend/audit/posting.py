"""The transaction behind each batch: its calldata, its attestations, its time, and what its proof
must prove.

Which call made a batch is certain if the transaction goes to the Distributor itself, or if the node
shows (traces) what a wrapper called. Of several batches in such calls, the log says in order which
were posted and which were passed over. Otherwise all there is to see are bytes in the wrapper's
calldata that look like the call, and whoever sent it may have put others before it. An attested one
still shows that the batch is attested; that none is attested shows nothing.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.audit.attestations import TooManySignatures, attestation_problems, holding
from backend.audit.replay import Step
from backend.audit.report import AuditReport
from backend.chain.calldata import (
    POST_BATCH,
    POST_BATCHES,
    Batch,
    GivenPost,
    PostBatchCall,
    find_post_batches,
    find_posts,
    post_batch_start,
    read_post_batch,
    read_post_batches,
)
from backend.chain.code import FIRST
from backend.chain.events import BatchPosted, BatchSkipped
from backend.chain.node import Block, Node, Transaction
from backend.chain.signatures import StateMissing, is_accounts, is_attestors
from prover.eip712 import Domain
from prover.wire import Deltas, challenge

CANDIDATES_MAX = 64
"""Different calls in a wrapper's calldata whose signatures are looked at; a bad one costs at most
four questions to the node."""
PROOFS_MAX = 8
"""Proofs of attested candidates that are tried: each takes a second."""
UNCHECKED = "attestations_unchecked"
TRACE_ADVICE = "ask a node that traces transactions (debug_traceTransaction)"

Signals = tuple[int, ...]
Given = PostBatchCall | GivenPost
"""One batch as a transaction brings it: by a call of its own, or as one of several."""


@dataclass(frozen=True)
class ProofJob:
    """(public signals, proof) pairs of which one must hold. If `certain`, the batch's own proof is
    among them; otherwise they are what was seen of it, and if none holds nothing is shown."""

    step: Step
    proofs: tuple[tuple[Signals, tuple[int, ...]], ...]
    certain: bool = True


class PostingCheck:
    """Checks the batches of one Distributor against their transactions, one at a time, in the order
    of the log."""

    def __init__(
        self,
        node: Node,
        domain: Domain,
        slots: int,
        report: AuditReport,
        outcomes: Mapping[bytes, Sequence[BatchPosted | BatchSkipped]],
    ) -> None:
        """`outcomes`: transaction hash -> what the log says of each batch that it brought."""
        self.node, self.domain, self.slots, self.report = node, domain, slots, report
        self._outcomes = outcomes
        # The first edition asked any attestor with code, one that has delegated it included.
        self._rule = is_accounts if domain.version == FIRST else is_attestors
        self._blocks: dict[int, Block] = {}
        self._sent: tuple[bytes, Transaction | None] | None = None
        self._traced: tuple[bytes, list[bytes]] | None = None

    def check(self, step: Step) -> ProofJob | None:
        """Findings go to the report; what is left to do is the proof. None if there is nothing to
        prove with."""
        self.report.checks["transactions"] += 1
        self.report.checks["times"] += 1
        sent = self._transaction(step.event.tx_hash)
        made = self._made(step.event, sent)
        if len(made) == 1 or (all(isinstance(call, PostBatchCall) for call in made) and made):
            return self._judge_made(step, made)
        candidates = made or _candidates(step.event, sent, self.domain.distributor)
        if candidates:
            return self._judge_candidates(step, candidates)
        message = (
            "no call in the transaction's calldata that fits the log: attestations and proof are "
            "unchecked"
        )
        self.report.find("calldata_missing", message, **_where(step.event))
        return None

    def _transaction(self, tx_hash: bytes) -> Transaction | None:
        # The batches of one transaction come one after the other.
        if self._sent is None or self._sent[0] != tx_hash:
            self._sent = tx_hash, self.node.transaction(tx_hash)
        return self._sent[1]

    def _calls(self, tx_hash: bytes) -> list[bytes]:
        """Calldata of the calls that the transaction made at the Distributor, in order, as far as
        the node shows them."""
        if self._traced is None or self._traced[0] != tx_hash:
            # A delegate call at the Distributor runs its code over somebody else's storage: only
            # plain calls make its log.
            frames = self.node.trace(tx_hash, self.domain.distributor) or ()
            self._traced = tx_hash, [frame.data for frame in frames if frame.kind == "CALL"]
        return self._traced[1]

    def _made(self, event: BatchPosted, sent: Transaction | None) -> list[Given]:
        """What the transaction brought for certain, and that fits the log; on a Distributor of ours
        it is one."""
        if sent is not None and sent.to == self.domain.distributor:
            found = self._brought(event, [sent.data])
            if found:
                return found
        return self._brought(event, self._calls(event.tx_hash))

    def _brought(self, event: BatchPosted, inputs: Sequence[bytes]) -> list[Given]:
        """The batch as calls brought it. The log has an entry for each batch of each call: if the
        two agree, what stands at the event's place is the batch. Else all that fit."""
        brought = [given for data in inputs for given in _given(data)]
        outcomes = self._outcomes.get(event.tx_hash, ())
        if [_place(given) for given in brought] == [(one.bucket, one.sequence) for one in outcomes]:
            brought = [given for given, one in zip(brought, outcomes, strict=True) if one is event]
        return list(_distinct(brought, event))

    def _judge_made(self, step: Step, calls: list[Given]) -> ProofJob | None:
        judged: list[tuple[list[tuple[str, str]], Given]] = []
        for call in calls:
            judged.append((list(self._problems(step, call)), call))
            if not judged[-1][0]:
                break
        problems, call = min(judged, key=lambda pair: len(pair[0]))
        unattested = [code for code, _ in problems if code != "expired"]
        verdict = "bad" if unattested else "ok"
        self._attested(step, call, "unchecked" if unattested == [UNCHECKED] else verdict)
        for code, message in problems:
            self.report.find(code, message, **_where(step.event))
        if step.deltas is None:
            return None
        return ProofJob(step, ((self._signals(step, step.deltas, call), call.proof),))

    def _judge_candidates(self, step: Step, candidates: list[Given]) -> ProofJob | None:
        verdicts: dict[Any, bool] = {}
        clean: list[Given] = []
        for call in candidates:
            signed = (
                (call.batch.valid_until, call.attestations)
                if isinstance(call, PostBatchCall)
                else call
            )
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
            self.report.find(UNCHECKED, message, **_where(step.event))
            return None
        self._attested(step, clean[0], "ok")
        if step.deltas is None:
            return None
        pairs = tuple((self._signals(step, step.deltas, call), call.proof) for call in clean)
        return ProofJob(step, pairs, certain=False)

    def _attested(self, step: Step, call: Given, verdict: str) -> None:
        many = step.attestor_set.threshold
        if isinstance(call, PostBatchCall):
            many = len(call.attestations)
        # Of several batches the contract reads no more signatures than it needs.
        step.row.attestations, step.row.signers = verdict, many
        self.report.checks["attestations"] += many

    def _clean(self, step: Step, call: Given) -> bool:
        try:
            return next(self._problems(step, call), None) is None
        except StateMissing:
            return False

    def _signals(self, step: Step, deltas: Deltas, call: Given) -> Signals:
        """The public signals that the call's proof is over; `deltas` are those of `step`."""
        r = challenge(step.envelope(call.batch.valid_until).digest(self.domain))
        fingerprint = deltas.fingerprint(r, step.opened_before, self.slots)
        return (step.old_root, step.event.new_root, step.event.items_root, r, fingerprint)

    def _problems(self, step: Step, call: Given) -> Iterator[tuple[str, str]]:
        """(code, message) of everything for which the contract must have refused the call, or
        passed over the batch, the proof apart."""
        valid_until, timestamp = call.batch.valid_until, self.timestamp(step.event.block_number)
        if timestamp > valid_until:
            yield "expired", f"posted at {timestamp}, valid until {valid_until}"
        envelope = step.envelope(valid_until)
        digest, block_number = envelope.digest(self.domain), step.event.block_number
        if isinstance(call, PostBatchCall):
            yield from attestation_problems(
                self.node, digest, call.attestations, step.attestor_set, block_number, self._rule
            )
            return
        if call.struct_hash != envelope.struct_hash:
            yield "struct_hash_wrong", "its hash is not the batch's: it had to be passed over"
        try:
            signers = holding(self.node, digest, call.attestations, step.attestor_set, block_number)
        except TooManySignatures:
            yield UNCHECKED, "too many false signatures stand before the attestors'"
            return
        except ValueError as error:
            yield "attestation_bad", str(error)
            return
        needed = max(1, step.attestor_set.threshold)
        if len(signers) < needed:
            epoch = step.attestor_set.epoch
            message = f"{len(signers)} attestors of epoch {epoch} signed, {needed} must"
            yield "attestations_too_few", message

    def timestamp(self, number: int) -> int:
        if number not in self._blocks:
            self._blocks[number] = self.node.block(number)
        return self._blocks[number].timestamp


def _where(event: BatchPosted) -> dict[str, Any]:
    return {"bucket": event.bucket, "sequence": event.sequence, "tx_hash": event.tx_hash}


def _start(event: BatchPosted | Batch) -> bytes:
    return post_batch_start(
        event.bucket,
        event.sequence,
        event.new_root,
        event.items_root,
        event.interactions_root,
        event.ledger_head,
    )


def _given(data: bytes) -> list[Given]:
    """The batches that a call brings; none if it is no call that posts."""
    with contextlib.suppress(ValueError):
        if data[:4] == POST_BATCH:
            return [read_post_batch(data)]
        if data[:4] == POST_BATCHES:
            return list(read_post_batches(data))
    return []


def _logged(given: Given) -> bytes:
    """The fields of a batch that its log has, as calldata holds them."""
    return given.logged if isinstance(given, GivenPost) else _start(given.batch)[4:]


def _place(given: Given) -> tuple[int, int]:
    """(bucket, sequence). What the contract does not read of a batch is not read here."""
    words = _logged(given)
    return int.from_bytes(words[:32], "big"), int.from_bytes(words[32:64], "big")


def _candidates(event: BatchPosted, sent: Transaction | None, distributor: str) -> list[Given]:
    """What in a wrapper's calldata could be the call that fits the log."""
    if sent is None or sent.to == distributor:
        return []
    start = _start(event)
    found: list[Iterator[Given]] = [
        find_post_batches(sent.data, start),
        find_posts(sent.data, start),
    ]
    return list(_distinct(itertools.chain(*found), event))


def _distinct(brought: Iterable[Given], event: BatchPosted) -> Iterator[Given]:
    """Those that fit the log, each once, at most CANDIDATES_MAX."""
    logged = _start(event)[4:]
    seen: set[Given] = set()
    for given in brought:
        if given in seen or not _fits(given, logged, event.deltas):
            continue
        seen.add(given)
        yield given
        if len(seen) == CANDIDATES_MAX:
            return


def _fits(given: Given, logged: bytes, deltas: bytes) -> bool:
    """Whether a batch has the log's fields and deltas, and the rest of its head can be read."""
    try:
        if (_logged(given), given.deltas) != (logged, deltas):
            return False
        return given.batch.valid_until >= 0 and len(given.proof) == 8
    except ValueError:
        return False
