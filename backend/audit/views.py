"""What the contract answers against what the log gives: buckets, kept roots, claims, attestors, totals and the reserve."""

from collections.abc import Callable
from typing import Any

from backend.audit.replay import Replay
from backend.audit.report import AuditReport
from backend.chain.distributor import ROOTS_KEPT, Distributor, NotADistributor
from backend.errors import NotFound


class ViewCheck:
    """Compares one Distributor's views at one block with a finished replay. `done` is called after each bucket and claimed slot."""

    def __init__(self, distributor: Distributor, block: int, replay: Replay, report: AuditReport, done: Callable[[], None]) -> None:
        self.distributor, self.block, self.replay, self.report, self.done = distributor, block, replay, report, done

    @property
    def steps(self) -> int:
        """How often `done` will be called."""
        return len(self.replay.state.buckets) + len(self.replay.claimed_by_slot)

    def run(self) -> None:
        self._totals()
        self._attestors()
        for bucket in self.replay.state.buckets:
            self._bucket(bucket)
            self.done()
        for (bucket, slot), amount in self.replay.claimed_by_slot.items():
            self._equal("claimed_mismatch", f"claimed({bucket}, {slot})", amount, bucket=bucket, call=self.distributor.claimed, args=(bucket, slot))
            self.done()

    def _bucket(self, bucket: int) -> None:
        state = self.replay.state.buckets[bucket]
        said = (state.sequence, state.opened)
        self._equal("bucket_mismatch", f"buckets({bucket})", said, bucket=bucket, call=self.distributor.bucket, args=(bucket,))
        for sequence in range(max(0, state.sequence - ROOTS_KEPT + 1), state.sequence + 1):
            expected = self.replay.rebuilt_roots[bucket].get(sequence)
            if expected is not None:
                where = {"bucket": bucket, "sequence": sequence}
                self._equal(
                    "stored_root_mismatch", f"root({bucket}, {sequence})", expected, call=self.distributor.root, args=(bucket, sequence), **where
                )

    def _attestors(self) -> None:
        allowed = self.replay.attestor_set
        said = (tuple(sorted(allowed.attestors, key=lambda a: int(a, 16))), allowed.threshold, allowed.epoch)
        self._equal("attestors_mismatch", "attestors, threshold and epoch", said, call=self.distributor.attestors, args=())

    def _totals(self) -> None:
        replay, report = self.replay, self.report
        totals = self._ask("totals", self.distributor.totals, ())
        if totals is None:
            return
        report.checks["contract views"] += 2
        report.totals["reserve"] = totals.reserve
        if totals.committed != replay.committed:
            report.find("committed_mismatch", f"committed() is {totals.committed}, the log gives {replay.committed}")
        if totals.claimed != replay.claimed:
            report.find("claimed_total_mismatch", f"claimedTotal() is {totals.claimed}, the log gives {replay.claimed}")
        report.checks["reserve covers committed"] += 1
        if replay.committed > totals.reserve + replay.claimed:
            message = f"{replay.committed} committed, but {totals.reserve} held and {replay.claimed} claimed"
            report.find("committed_beyond_reserve", message)
        report.checks["reserve accounts for every claim"] += 1
        if replay.reserve is not None and totals.reserve < replay.reserve - replay.claimed:
            message = f"{totals.reserve} held, but the log gives {replay.reserve - replay.claimed}: funded less withdrawn and claimed"
            report.find("reserve_short", message)

    def _equal(self, code: str, name: str, expected: Any, *, call: Callable[..., Any], args: tuple, **where: Any) -> None:
        said = self._ask(name, call, args, **where)
        if said is None:
            return
        self.report.checks["contract views"] += 1
        if said != expected:
            self.report.find(code, f"the contract says {name} is {said}, the log gives {expected}", **where)

    def _ask(self, name: str, call: Callable[..., Any], args: tuple, **where: Any) -> Any:
        try:
            return call(*args, self.block)
        except (NotADistributor, NotFound) as error:
            self.report.find("view_failed", f"{name}: {error.message}", **where)
            return None
