"""What the contract answers against what the log gives: buckets, roots, claims, attestors,
totals and the reserve."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from backend.audit.replay import Replay
from backend.audit.report import AuditReport
from backend.chain.distributor import Distributor, NotADistributor
from backend.errors import NotFound

FAMILIES_BEYOND_MAX = 16


class ViewCheck:
    """Compares one Distributor's views at one block with a finished replay. `done` is called after
    each bucket."""

    def __init__(
        self,
        distributor: Distributor,
        block: int,
        replay: Replay,
        report: AuditReport,
        done: Callable[[], None],
    ) -> None:
        self.distributor, self.block, self.replay, self.report, self.done = (
            distributor,
            block,
            replay,
            report,
            done,
        )

    @property
    def steps(self) -> int:
        """How often `done` will be called."""
        return len(self._buckets)

    def run(self) -> None:
        self._totals()
        self._attestors()
        self._families()
        for bucket in self._buckets:
            self._bucket(bucket)
            self.done()

    @cached_property
    def _buckets(self) -> list[int]:
        """Those of the log, and the next of each family: nothing may stand where the log says
        nothing."""
        known = set(self.replay.state.buckets)
        families = min(self.replay.state.families, FAMILIES_BEYOND_MAX)
        beyond = max(known, default=-1) + 1
        return sorted(known | set(range(beyond, min(beyond + families, 2**32))))

    def _bucket(self, bucket: int) -> None:
        state = self.replay.state.bucket(bucket)
        said = (state.sequence, state.opened)
        self._equal("bucket_mismatch", f"buckets({bucket})", said, self.distributor.bucket, bucket)
        for sequence in range(1, state.sequence + 1):
            expected = self.replay.rebuilt_roots[bucket].get(sequence)
            if expected is not None:
                name = f"root({bucket}, {sequence})"
                self._equal(
                    "stored_root_mismatch",
                    name,
                    expected,
                    self.distributor.root,
                    bucket,
                    sequence,
                    sequence=sequence,
                )
        for slot in range(state.opened):
            amount = self.replay.claimed_by_slot.get((bucket, slot), 0)
            self._equal(
                "claimed_mismatch",
                f"claimed({bucket}, {slot})",
                amount,
                self.distributor.claimed,
                bucket,
                slot,
            )

    def _attestors(self) -> None:
        allowed = self.replay.attestor_set
        said = (
            tuple(sorted(allowed.attestors, key=lambda attestor: int(attestor, 16))),
            allowed.threshold,
            allowed.epoch,
        )
        self._equal(
            "attestors_mismatch", "attestors, threshold and epoch", said, self.distributor.attestors
        )

    def _families(self) -> None:
        if self.replay.families:
            said = self.replay.families
            self._equal("families_mismatch", "families()", said, self.distributor.families)

    def _totals(self) -> None:
        replay, report = self.replay, self.report
        totals = self._ask("totals", self.distributor.totals)
        if totals is None:
            return
        report.checks["contract views"] += 2
        report.totals["reserve"] = totals.reserve
        if totals.committed != replay.committed:
            report.find(
                "committed_mismatch",
                f"committed() is {totals.committed}, the log gives {replay.committed}",
            )
        if totals.claimed != replay.claimed:
            report.find(
                "claimed_total_mismatch",
                f"claimedTotal() is {totals.claimed}, the log gives {replay.claimed}",
            )
        report.checks["reserve covers committed"] += 1
        if replay.committed > totals.reserve + replay.claimed:
            message = (
                f"{replay.committed} committed, but {totals.reserve} held and {replay.claimed} "
                "claimed"
            )
            report.find("committed_beyond_reserve", message)
        report.checks["reserve accounts for every claim"] += 1
        if replay.reserve is not None and totals.reserve < replay.reserve - replay.claimed:
            message = (
                f"{totals.reserve} held, but the log gives {replay.reserve - replay.claimed}: "
                "funded less withdrawn and claimed"
            )
            report.find("reserve_short", message)

    def _equal(
        self,
        code: str,
        name: str,
        expected: Any,
        call: Callable[..., Any],
        *args: int,
        sequence: int | None = None,
    ) -> None:
        where = {"bucket": args[0] if args else None, "sequence": sequence}
        said = self._ask(name, call, *args, **where)
        if said is None:
            return
        self.report.checks["contract views"] += 1
        if said != expected:
            self.report.find(
                code, f"the contract says {name} is {said}, the log gives {expected}", **where
            )

    def _ask(self, name: str, call: Callable[..., Any], *args: int, **where: int | None) -> Any:
        try:
            return call(*args, self.block)
        except (NotADistributor, NotFound) as error:
            self.report.find("view_failed", f"{name}: {error.message}", **where)
            return None
