"""Opening many accounts at once, with a second program beside it, end to end.

`python -m scripts.bench_openings [ACCOUNTS]` (5,000) reports one reward for each new account of a
dev program over HTTP, on a chain with a block a second and a finality of 64 blocks, and waits until
every account can claim. A second program's rewards are timed alone first, then beside it. It takes
some ten minutes, so `make bench` does not run it.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from eth_utils import keccak, to_checksum_address
from rich.console import Console
from sqlalchemy import func, select

from backend.account.models import Account
from backend.batch.models import Batch, BatchState
from backend.client.partner_client import PartnerClient, Reported
from backend.devstack import local
from backend.devstack.local import ATTESTORS, Plan, Prepared, Urls
from backend.devstack.stack import Stack, free_port
from backend.kit.files import private_folder, write_private
from backend.ledger.service import reserve
from backend.program.families import families_for
from prover.circuit import load_instance
from scripts.anvil import anvil

ACCOUNTS, FINALITY_BLOCKS = 5_000, 64
FUNDING, AMOUNT = 10**30, 10**18
DELIVERY_ITEMS = 250
POLL_SECONDS = 1.0
PARTNER = "adnet"


class BenchFailed(Exception):
    """The run did not reach what it was to measure."""


class Bench:
    """A stack with two programs. Times are seconds."""

    def __init__(self, folder: Path, rpc_url: str, stack: Stack, accounts: int) -> None:
        self.stack, self.console = stack, Console(highlight=False)
        urls = Urls(stack.start_postgres(), stack.start_redis(), rpc_url)
        families = families_for(accounts, load_instance("dev").slots)
        self.many = self._prepare(folder / "many", urls, "many", families)
        self.few = self._prepare(folder / "few", urls, "few", 1)
        stack.environment |= self.many.environment
        token = self.many.environment["GUERDON_ATTESTOR_TOKEN"]
        for prepared in (self.many, self.few):
            for i in range(ATTESTORS):
                own = prepared.folder / f"attestor-{i}"
                write_private(own / "token", token)
                port = json.loads((own / "attestor.json").read_text())["port"]
                name = f"attestor-{prepared.program}-{i}"
                stack.start_attestor(name, own / "attestor.json", port)
        self.api_url = stack.start_api()
        stack.start_worker(2)
        for prepared in (self.many, self.few):
            prepared.fund(FUNDING)
        self._wait("funding", lambda: all(self._funded(one) for one in (self.many, self.few)))

    def _prepare(self, folder: Path, urls: Urls, name: str, families: int) -> Prepared:
        hosts = [("127.0.0.1", free_port()) for _ in range(ATTESTORS)]
        plan = Plan(
            program=name,
            partner=PARTNER,
            instance="dev",
            attestor_urls=[f"http://{host}:{port}" for host, port in hosts],
            attestor_hosts=hosts,
            batch_age_max_seconds=2,
            tick_seconds=0.5,
        )
        private_folder(folder)
        plan = replace(plan, families=families, finality=str(FINALITY_BLOCKS))
        return local.prepare(folder, urls, plan)

    def _funded(self, prepared: Prepared) -> bool:
        with prepared.context.database.transaction() as session:
            return reserve(session, prepared.program_id) >= FUNDING

    def _wait(self, what: str, ready: object, seconds: float = 3600) -> None:
        assert callable(ready)
        deadline = time.monotonic() + seconds
        while not ready():
            self.stack.check()
            if time.monotonic() > deadline:
                raise BenchFailed(f"{what}: not after {seconds} s")
            time.sleep(POLL_SECONDS)

    def report(self, prepared: Prepared, names: Sequence[str]) -> None:
        """One reward for each name."""
        assert prepared.partner is not None
        assert prepared.partner_secret is not None
        client = PartnerClient(
            self.api_url, prepared.program, prepared.partner, prepared.partner_secret
        )
        now = int(time.time())
        for start in range(0, len(names), DELIVERY_ITEMS):
            part = names[start : start + DELIVERY_ITEMS]
            outcomes = client.report(
                [Reported(name, account_of(name), AMOUNT, now) for name in part]
            )
            if outcomes != {"accepted": len(part)}:
                raise BenchFailed(f"{prepared.program}: {dict(outcomes)}")
        client.close()

    def claimable(self, prepared: Prepared) -> int:
        """How many accounts have something on the final chain."""
        query = select(func.count()).where(
            Account.program_id == prepared.program_id, Account.posted > 0
        )
        with prepared.context.database.transaction() as session:
            return session.scalar(query) or 0

    def one_more(self, number: int) -> float:
        """Seconds from a report to the second program until its new account can claim."""
        start, before = time.monotonic(), self.claimable(self.few)
        self.report(self.few, [f"few-{number}"])
        self._wait("the second program", lambda: self.claimable(self.few) > before, 1800)
        return time.monotonic() - start

    def run(self, accounts: int) -> dict[str, float]:
        alone = [self.one_more(number) for number in range(2)]
        self.console.print(f"the second program alone: {[round(one) for one in alone]} s")
        start = time.monotonic()
        self.report(self.many, [f"many-{number}" for number in range(accounts)])
        self.console.print(f"{accounts:,} accounts reported in {time.monotonic() - start:.0f} s")
        beside: list[float] = []
        while (done := self.claimable(self.many)) < accounts:
            beside.append(self.one_more(100 + len(beside)))
            self.console.print(
                f"{time.monotonic() - start:4.0f} s: {done:,} of {accounts:,} can claim; "
                f"the second program took {beside[-1]:.0f} s"
            )
        seconds = time.monotonic() - start
        with self.many.context.database.transaction() as session:
            query = select(func.count()).where(
                Batch.program_id == self.many.program_id, Batch.state == BatchState.FINAL
            )
            batches = session.scalar(query) or 0
        return {
            f"openings_{accounts}_seconds": round(seconds),
            f"openings_{accounts}_batches": batches,
            "openings_beside_seconds": round(max(beside, default=0)),
            "openings_alone_seconds": round(max(alone)),
        }


def account_of(name: str) -> str:
    return to_checksum_address(keccak(text=f"openings {name}")[12:])


def measure(accounts: int = ACCOUNTS) -> dict[str, float]:
    """Figures by name. Raises BenchFailed."""
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="guerdon-openings-")))
        chain = open_.enter_context(anvil(block_time=1, hardfork="prague"))
        private_folder(folder / "stack")
        stack = Stack(folder / "stack")
        open_.callback(stack.close)
        bench = Bench(folder, chain.url, stack, accounts)
        return bench.run(accounts)


if __name__ == "__main__":
    load = os.getloadavg()[0]
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS)
    print(json.dumps(found | {"load_before": round(load, 1)}, indent=2))
