"""The audit: everything about a program that the chain alone can show, rebuilt and compared. No
database, no operator's word."""

import itertools
import time
from collections.abc import Callable, Mapping

from backend.audit.contracts import check_contracts
from backend.audit.creation import check_creation
from backend.audit.daily_limit import check_daily_limit
from backend.audit.keys import ExpectedKey, known_keys
from backend.audit.payouts import PayoutCheck
from backend.audit.posting import PostingCheck, ProofJob
from backend.audit.proofs import check_proofs
from backend.audit.replay import Replay
from backend.audit.report import AuditReport
from backend.audit.views import ViewCheck
from backend.chain import erc20
from backend.chain.distributor import Distributor, NotADistributor, ProgramInfo
from backend.chain.finality import final_block
from backend.chain.logs import deployment_block
from backend.chain.node import Block, Node
from backend.errors import Conflict, Invalid, Unavailable
from backend.kit.address import checked_address
from prover.circuit import Instance
from prover.eip712 import Domain
from prover.keys import VerifyingKey
from prover.state import ProgramState
from prover.tree import capacity

LEVELS_MAX = 8
Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); stages are "logs", "batches", "proofs", "payouts" and
"contract"."""


class StaleHead(Unavailable):
    """The node's newest block is older than the user wants to rely on."""

    code = "stale_head"


class AuditImpossible(Conflict):
    """There is nothing here that could be audited, which is not a finding: no Distributor, or a
    chain that changed meanwhile."""

    code = "audit_impossible"


def audit(
    node: Node,
    distributor_address: str,
    first_block: int | None = None,
    progress: Progress | None = None,
    *,
    expected_keys: Mapping[str, ExpectedKey] | None = None,
    finality: str = "latest",
    age_seconds_max: int | None = None,
) -> AuditReport:
    """Audit a program from the chain alone, up to its newest block that is settled by `finality`.

    `first_block` is at or before the Distributor's deployment; it is searched for if not given.
    `expected_keys` (by digest) are the verifying keys that the program may have; those of the
    user's cache folder if not given.

    Raises:
        Invalid: the address is none, or has no code.
        StaleHead: the last block is older than `age_seconds_max`.
        AuditImpossible: no Distributor stands there, or the chain was reorganised during the audit.
        Unavailable: the node does not answer or does not serve what is needed.
    """
    report_progress = progress or (lambda stage, done, total: None)
    distributor = Distributor(node, checked_address(distributor_address, "distributor"))
    head, age_seconds = _head(node, finality, age_seconds_max)
    first = _first_block(node, distributor.address, first_block, head.number)
    info = _info(distributor, head.number)
    token = erc20.describe(node, info.token, head.number)
    report = AuditReport(
        info.chain_id, distributor.address, first, head.number, token, info.verifier
    )
    report.last_block_time, report.age_seconds = head.timestamp, age_seconds
    key = check_contracts(
        node,
        info,
        distributor.address,
        head.number,
        known_keys() if expected_keys is None else expected_keys,
        report,
    )
    replay = _replay(distributor, info, first, head.number, report, report_progress)
    check_creation(node, info, distributor.address, replay.first_attestors, report)
    jobs = _postings(node, distributor, info, head, replay, report, report_progress)
    _proofs(jobs, key, report, report_progress)
    _payouts(node, info, distributor.address, replay, report, report_progress)
    _views(distributor, head.number, replay, report, report_progress)
    if node.block(head.number).hash != head.hash:
        raise AuditImpossible(
            f"the chain was reorganised below block {head.number} during the audit: run it again"
        )
    report.accounts = len(replay.state.home)
    report.totals |= {"committed": replay.committed, "claimed": replay.claimed}
    return report


def _head(node: Node, finality: str, age_seconds_max: int | None) -> tuple[Block, int]:
    """The last block to audit, and its age. Raises StaleHead."""
    head = final_block(node, finality)
    age_seconds = max(0, int(time.time()) - head.timestamp)
    if age_seconds_max is not None and age_seconds > age_seconds_max:
        raise StaleHead(
            f"the node's last block ({finality}), {head.number}, is {age_seconds} s old, more than "
            f"{age_seconds_max}: ask a node that has caught up"
        )
    return head, age_seconds


def _first_block(node: Node, address: str, given: int | None, head: int) -> int:
    if not node.code(address, head):
        raise Invalid(
            f"{address} has no code at block {head}: not a contract of this chain",
            field="distributor",
        )
    if given is None:
        return deployment_block(node, address, head)
    if not 0 <= given <= head:
        raise Invalid(f"first_block: expected 0 to {head}, got {given}", field="first_block")
    try:
        late = given > 0 and bool(node.code(address, given - 1))
    except Unavailable:
        # A node without old state cannot say; a log that starts late shows as a gap.
        late = False
    if late:
        raise Invalid(
            f"first_block: the Distributor is older than block {given}", field="first_block"
        )
    return given


def _info(distributor: Distributor, head: int) -> ProgramInfo:
    try:
        info = distributor.info(head)
    except NotADistributor as error:
        raise AuditImpossible(error.message) from error
    if not 1 <= info.levels <= LEVELS_MAX or info.families < 1:
        raise AuditImpossible(
            f"levels {info.levels}, families {info.families}: no Distributor has that shape"
        )
    return info


def _replay(
    distributor: Distributor,
    info: ProgramInfo,
    first: int,
    head: int,
    report: AuditReport,
    progress: Progress,
) -> Replay:
    if info.slots != capacity(info.levels):
        report.find(
            "slots_mismatch",
            f"slots() is {info.slots}, {info.levels} levels hold {capacity(info.levels)}",
        )
    instance = Instance(f"{info.levels} levels", info.levels, 0, 0)
    replay = Replay(
        report, ProgramState(instance, info.families), _reserve_before(distributor, first)
    )
    replay.add_all(
        distributor.events(first, head, lambda done, total: progress("logs", done, total))
    )
    return replay


def _reserve_before(distributor: Distributor, first: int) -> int | None:
    if first == 0:
        return 0
    try:
        return distributor.reserve(first - 1)
    except NotADistributor:
        return 0
    except Unavailable:
        return None


def _postings(
    node: Node,
    distributor: Distributor,
    info: ProgramInfo,
    head: Block,
    replay: Replay,
    report: AuditReport,
    progress: Progress,
) -> list[ProofJob]:
    domain = Domain(info.chain_id, distributor.address, info.version)
    check = PostingCheck(node, domain, capacity(info.levels), report, replay.outcomes)
    jobs = []
    for done, step in enumerate(replay.steps, start=1):
        job = check.check(step)
        if job:
            jobs.append(job)
        progress("batches", done, len(replay.steps))
    check_daily_limit(distributor, head, replay.limit_log, check.timestamp, report)
    return jobs


def _payouts(
    node: Node,
    info: ProgramInfo,
    distributor: str,
    replay: Replay,
    report: AuditReport,
    progress: Progress,
) -> None:
    check = PayoutCheck(node, Domain(info.chain_id, distributor, info.version), info.token, report)
    done = itertools.count(1)
    check.check(
        replay.claims,
        report.first_block,
        report.last_block,
        lambda: progress("payouts", next(done), len(replay.claims)),
    )


def _proofs(
    jobs: list[ProofJob], key: VerifyingKey | None, report: AuditReport, progress: Progress
) -> None:
    if key is None:
        for job in jobs:
            event = job.step.event
            message = "no verifying key can be read from the verifier's code"
            report.find(
                "proof_unchecked",
                message,
                bucket=event.bucket,
                sequence=event.sequence,
                tx_hash=event.tx_hash,
            )
        return
    finished = 0

    def done() -> None:
        nonlocal finished
        finished += 1
        progress("proofs", finished, len(jobs))

    check_proofs(jobs, key, report, done)


def _views(
    distributor: Distributor, head: int, replay: Replay, report: AuditReport, progress: Progress
) -> None:
    finished = 0

    def done() -> None:
        nonlocal finished
        finished += 1
        progress("contract", finished, check.steps)

    check = ViewCheck(distributor, head, replay, report, done)
    check.run()
