"""The proofs, by py_ecc's pairing: merged in groups, in two processes when there are many.

A proof takes 0.8 seconds alone and 0.2 in a group.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from backend.audit.posting import TRACE_ADVICE, ProofJob
from backend.audit.report import AuditReport
from prover import pairing
from prover.keys import SetupError, VerifyingKey
from prover.wire import Proof

WORKERS_MAX = 2
GROUP = 16
"""Proofs that one merged check takes: progress shows after each group."""
POOL_FROM_GROUPS = 2
"""Fewer groups than this are done sooner than a second process has started."""

Proofs = Sequence[tuple[Sequence[int], Sequence[int]]]
"""(public signals, words of a proof) of which one must hold."""


def proofs_hold(key_words: Sequence[int], group: Sequence[Proofs]) -> list[bool]:
    """For each job of a group whether one of its (signals, proof) holds.

    Whatever is no proof at all is one that does not hold. A group that does not hold as a whole
    is checked one by one, so that the answer names the proof.
    """
    key = VerifyingKey.from_words(list(key_words))
    jobs = [[(Proof.from_words(words), signals) for signals, words in proofs] for proofs in group]
    if all(len(job) == 1 for job in jobs) and pairing.verify_all(key, [job[0] for job in jobs]):
        return [True] * len(jobs)
    return [any(pairing.verify(key, *claim) for claim in job) for job in jobs]


def key_problems(words: Sequence[int], signals: int) -> list[str]:
    """What makes a verifying key unfit, in words: points that are none, points at infinity, gamma
    equal to delta, a wrong length."""
    if len(words) != 14 + 2 * (signals + 1):
        return [f"{len(words)} words, expected {14 + 2 * (signals + 1)}"]
    try:
        key = VerifyingKey.from_words(list(words))
        g1 = {"alpha": key.alpha, **{f"IC[{i}]": point for i, point in enumerate(key.ic)}}
        g2 = {"beta": key.beta, "gamma": key.gamma, "delta": key.delta}
        infinite = [name for name, point in g1.items() if point == (0, 0)]
        infinite += [name for name, point in g2.items() if point == ((0, 0), (0, 0))]
        for name, g1_point in g1.items():
            pairing.g1_point(g1_point, name)
        for name, g2_point in g2.items():
            pairing.g2_point(g2_point, name)
    except (SetupError, pairing.PointError) as error:
        return [str(error)]
    return [f"{name} is the point at infinity" for name in infinite]


def check_proofs(
    jobs: Sequence[ProofJob],
    key: VerifyingKey,
    report: AuditReport,
    done: Callable[[], None],
    workers: int = WORKERS_MAX,
) -> None:
    """Verify every job; findings and each batch's `proof` go to the report, `done` is called after
    each."""
    words = key.to_words()
    left = {start: jobs[start : start + GROUP] for start in range(0, len(jobs), GROUP)}
    if len(left) >= POOL_FROM_GROUPS and min(workers, os.cpu_count() or 1) > 1:
        # A pool breaks where processes cannot be started or are killed: what it did not do is done
        # here.
        with contextlib.suppress(BrokenProcessPool):
            for start, verdicts in _in_processes(words, dict(left), workers):
                _judge_group(left.pop(start), verdicts, report, done)
    for group in left.values():
        _judge_group(group, proofs_hold(words, [job.proofs for job in group]), report, done)


def _in_processes(
    words: Sequence[int], groups: Mapping[int, Sequence[ProofJob]], workers: int
) -> Iterator[tuple[int, list[bool]]]:
    """(name of the group, whether each of its proofs holds), in the order in which they are
    done."""
    # Spawned, not forked: the caller may hold threads and connections.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        pending = {
            pool.submit(proofs_hold, words, [job.proofs for job in group]): start
            for start, group in groups.items()
        }
        for future in as_completed(pending):
            yield pending[future], future.result()


def _judge_group(
    group: Sequence[ProofJob],
    verdicts: Sequence[bool],
    report: AuditReport,
    done: Callable[[], None],
) -> None:
    for job, holds in zip(group, verdicts, strict=True):
        _judge(job, holds, report)
        done()


def _judge(job: ProofJob, holds: bool, report: AuditReport) -> None:
    report.checks["proofs"] += 1
    if holds:
        job.step.row.proof = "ok"
        return
    event = job.step.event
    where = {"bucket": event.bucket, "sequence": event.sequence, "tx_hash": event.tx_hash}
    if job.certain:
        job.step.row.proof = "bad"
        report.find(
            "proof_bad",
            "the Groth16 proof does not hold for the public signals recomputed from the chain",
            **where,
        )
    else:
        message = (
            f"posted through another contract, and none of {len(job.proofs)} proofs in its "
            f"calldata holds: {TRACE_ADVICE}"
        )
        report.find("proof_unchecked", message, **where)
