"""A whole local stack under attack: partners report to it, services die at named places, and what
must be exact is known."""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from eth_utils import keccak, to_checksum_address
from sqlalchemy import select, update

from backend.batch.models import INACTIVE, Batch, BatchState
from backend.chain.models import OPEN, OutgoingTransaction
from backend.client.partner_client import PartnerClient, Reported
from backend.devstack.local import Local, start_local
from backend.devstack.stack import Service, Stack
from backend.interaction.models import Interaction
from backend.ledger.service import reserve
from backend.program.models import Program
from tests.support.nursery import spawn
from tests.support.patience import STALL_SECONDS, Patience, wait_until

ATTESTORS = ("attestor-0", "attestor-1", "attestor-2")
FUNDED = 10**24


def address(number: int) -> str:
    """The checksummed address of test account `number`."""
    return to_checksum_address(keccak(text=f"account {number}")[:20])


@dataclass
class World:
    """One stack, and what was reported to it and taken in: `owed` is address -> base units."""

    local: Local
    owed: Counter[str] = field(default_factory=Counter)
    funded: int = 0
    strays: int = 0
    """Transactions of the poster that could not but revert: a stranger was first after their nonce
    was given out."""
    _events: Iterator[int] = field(default_factory=count)
    _scenarios: Iterator[int] = field(default_factory=count)
    _groups: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.partner = PartnerClient(
            self.local.api_url, self.local.program, self.local.partner, self.local.partner_secret
        )
        self._remember_groups()

    # Reporting

    def reports(self, accounts: Sequence[int], amount: int = 10**18) -> list[Reported]:
        """New interactions, one for each number of an account in `accounts`, of amounts that all
        differ."""
        now = int(time.time())
        return [
            Reported(f"event-{event}", address(number), amount + event, now)
            for number, event in zip(accounts, self._events, strict=False)
        ]

    def send(self, interactions: Sequence[Reported]) -> Counter[str]:
        """Report as a partner does: the same events again until there is an answer. What was taken
        in is owed from then on."""
        patience = Patience()
        while True:
            try:
                outcomes = self.partner.report(interactions)
                break
            except httpx.TransportError:
                if patience.ended(self.standing()):
                    raise
                time.sleep(0.1)
        for interaction in interactions:
            self.owed[interaction.account] += interaction.amount
        return outcomes

    def report(self, accounts: Sequence[int] = (0, 1, 0)) -> Counter[str]:
        """New interactions for these accounts, sent."""
        return self.send(self.reports(accounts))

    # Killing and starting

    def kill(self, *names: str) -> None:
        """SIGKILL to each service and to everything that it started."""
        for name in names:
            service = self.local.stack.services[name]
            if living(service.process.pid):
                service.kill()
            service.process.wait()

    def start(self, *names: str, failpoint: str | None = None, **environment: str) -> Path:
        """Start services anew, killing what still runs of them. With `failpoint` they die there;
        returns the folder of the markers."""
        markers = self.local.stack.folder / f"failpoints-{next(self._scenarios)}"
        if failpoint is not None:
            markers.mkdir()
            environment |= {"GUERDON_FAILPOINT": failpoint, "GUERDON_FAILPOINT_DIR": str(markers)}
        self.kill(*names)
        # The others cannot start without Redis; each of them takes seconds of one core.
        waves = [[name for name in names if (name == "redis") is first] for first in (True, False)]
        with self._environment(environment), ThreadPoolExecutor(2) as pool:
            for wave in waves:
                list(pool.map(self._start, wave))
        self._remember_groups()
        return markers

    def _start(self, name: str) -> None:
        stack = self.local.stack
        if name == "worker":
            stack.start_worker()
        elif name == "api":
            stack.start_api(urlsplit(self.local.api_url).port)
        elif name == "redis":
            stack.start("redis", self.local.stack.services["redis"].process.args)
        else:
            config = stack.folder / name / "attestor.json"
            stack.start_attestor(name, config, self.attestor_port(name))

    def attestor_port(self, name: str) -> int:
        """Where an attestor listens."""
        return urlsplit(self.program().attestors[ATTESTORS.index(name)]).port

    @contextmanager
    def _environment(self, more: dict[str, str]) -> Iterator[None]:
        before = dict(self.local.stack.environment)
        self.local.stack.environment |= more
        try:
            yield
        finally:
            self.local.stack.environment = before

    def service(self, name: str) -> Service:
        return self.local.stack.services[name]

    # Waiting

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = STALL_SECONDS) -> None:
        """As long as anything moves. Raises Stalled."""
        wait_until(what, ready, self.standing, seconds)

    def wait_killed(self, markers: Path, *places: str) -> None:
        """Until each of the places has killed its process."""
        self.wait(
            f"death at {places}",
            lambda: all((markers / f"{place}.killed").exists() for place in places),
        )

    def batches(self) -> list[Batch]:
        """All batches, oldest first."""
        with self.local.context.database.transaction() as session:
            return list(session.scalars(select(Batch).order_by(Batch.id)))

    def program(self) -> Program:
        """The program's row."""
        with self.local.context.database.transaction() as session:
            return session.get_one(Program, self.local.program_id)

    def newest(self) -> Batch | None:
        return (self.batches() or [None])[-1]

    def settle(self) -> None:
        """Until everything that was taken in is final on chain and no transaction of ours is
        open."""
        wait_until("settling", self.is_settled, self._hurried, STALL_SECONDS)

    def hurry(self) -> None:
        """Batches that wait before they are tried again have waited long enough: how long a failure
        holds one up is not under test here, and it is up to a minute."""
        with self.local.context.database.transaction() as session:
            session.execute(
                update(Batch).where(Batch.retry_at.is_not(None)).values(retry_at=None, waits=0)
            )

    def _hurried(self) -> str:
        self.hurry()
        return self.standing()

    def is_settled(self) -> bool:
        """Whether nothing that was taken in is left to do."""
        with self.local.context.database.transaction() as session:
            unbatched = select(Interaction.id).where(
                Interaction.batch_id.is_(None), Interaction.state == "accepted"
            )
            unfinished = select(Batch.id).where(Batch.state.not_in((BatchState.FINAL, *INACTIVE)))
            unsent = select(OutgoingTransaction.id).where(OutgoingTransaction.state.in_(OPEN))
            return not any(
                session.scalars(query.limit(1)).first() for query in (unbatched, unfinished, unsent)
            )

    def standing(self) -> str:
        """For a failed test: where things stand."""
        with self.local.context.database.transaction() as session:
            program = session.get_one(Program, self.local.program_id)
            batches = [
                (batch.bucket, batch.sequence, str(batch.state), batch.failures, batch.note)
                for batch in session.scalars(select(Batch).where(Batch.state != BatchState.FINAL))
            ]
            transactions = [
                (row.nonce, row.state, row.note)
                for row in session.scalars(
                    select(OutgoingTransaction).where(OutgoingTransaction.state != "final")
                )
            ]
        logs = (self.local.stack.folder / "logs").resolve()
        return (
            f"halted: {program.halted}; batches: {batches}; transactions: {transactions}; logs: "
            f"{logs}"
        )

    # The end

    def fund(self, amount: int = FUNDED) -> None:
        """Fund the program and wait until the ledger knows."""
        self.local.fund(amount)
        self.funded += amount
        self.wait("funding", lambda: self._reserve() >= self.funded)

    def _reserve(self) -> int:
        with self.local.context.database.transaction() as session:
            return reserve(session, self.local.program_id)

    def close(self) -> None:
        """Stop everything. Raises AssertionError if a process is left."""
        self.partner.close()
        self.local.close()
        left = [pid for group in self._groups for pid in living(group)]
        assert not left, f"processes {left} outlived the stack"

    def _remember_groups(self) -> None:
        self._groups += [service.process.pid for service in self.local.stack.services.values()]


@contextmanager
def running_world(logs: Path, **options: object) -> Iterator[World]:
    """A fresh stack with a funded program, gone at the end; its logs stay in `logs`. Batches close
    as soon as there is anything to close."""
    # Not below pytest's folders: PostgreSQL runs as another user if the tests run as root, and
    # could not go there.
    folder = Path(tempfile.mkdtemp(prefix="guerdon-stack-"))
    (folder / "logs").symlink_to(logs)
    try:
        local = start_local(
            folder,
            program="main",
            partner="adnet",
            batch_age_max_seconds=0,
            tick_seconds=0.4,
            stack=Stack(folder, spawn=spawn),
            **options,
        )
        world = World(local)
        try:
            world.fund()
            yield world
        finally:
            world.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def living(group: int) -> list[int]:
    """Processes of a process group that run: a zombie that nobody has reaped does not."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # After the command, which is in parentheses and may hold anything: state, parent,
            # group.
            state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(entry.name))
    return found


def command_lines(group: int) -> dict[int, str]:
    """pid -> command line of a group's processes."""
    lines = {}
    for pid in living(group):
        try:
            lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return lines


def kill_process(pid: int) -> None:
    os.kill(pid, 9)
