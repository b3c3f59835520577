"""Three attestors, each a process of its own, on a real chain with the real contracts and real
proofs."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from backend.attestation.client import (
    AskAgain,
    Attested,
    LeavesAsked,
    Refusal,
    open_client,
    request_attestation,
    send_leaves,
)
from backend.attestation.conversation import encode
from backend.chain.calldata import Attestation
from backend.chain.calldata import Batch as ChainBatch
from backend.chain.distributor import Distributor
from backend.signer import keystore
from prover.eip712 import Domain
from tests.attestor.world import Batch, Coordinator, account, report, write_pins
from tests.support.anvil import anvil
from tests.support.nursery import spawn
from tests.support.program import Program, attestor_keys, real_program

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-tests"


@dataclass
class Process:
    """One attestor: its folder, port and, while it runs, its process."""

    folder: Path
    port: int
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, **environment: str) -> None:
        """Start, and wait until it answers."""
        command = [
            sys.executable,
            "-m",
            "backend.attestor",
            "--config",
            str(self.folder / "config.json"),
            "--port",
            str(self.port),
        ]
        with (self.folder / "log").open("a") as log:
            self.process = spawn(command, cwd=ROOT, stdout=log, env={**os.environ, **environment})
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/healthz", timeout=1).raise_for_status()
                return
            except httpx.HTTPError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
        raise AssertionError("the attestor does not answer after 60 s")

    def stop(self) -> int:
        """SIGTERM, as a supervisor would; the exit code (uvicorn raises the signal again once all
        is closed)."""
        self.process.terminate()
        return self.process.wait(20)

    def ask(self, batch: Batch) -> object:
        return self.request(batch.payload, batch.digest)

    def request(self, payload: dict[str, Any], digest: bytes, token: str = TOKEN) -> object:
        async def go() -> object:
            async with open_client(token, [self.url]) as http:
                return await request_attestation(http, self.url, encode(payload), digest)

        return asyncio.run(go())

    def send(self, batch: Batch) -> object:
        async def go() -> object:
            async with open_client(TOKEN, [self.url]) as http:
                return await send_leaves(http, self.url, encode(batch.leaves_payload))

        return asyncio.run(go())


@dataclass
class Stack:
    """The program on chain, the coordinator that knows it, and the attestors."""

    program: Program
    coordinator: Coordinator
    attestors: list[Process]

    def post(self, batch: Batch, attested: Sequence[Attested | Attestation]) -> None:
        """Prove and post a batch with these attestations, and book it."""
        e = batch.envelope
        proof = self.program.prove(batch.statement, batch.digest)
        on_chain = ChainBatch(
            e.bucket,
            e.sequence,
            e.new_root,
            e.items_root,
            e.interactions_root,
            e.ledger_head,
            e.valid_until,
        )
        signatures = [Attestation(answer.attestor, answer.signature) for answer in attested]
        receipt = self.program.send(
            Distributor.post_batch(on_chain, batch.deltas, proof, signatures)
        )
        assert receipt["status"] == 1
        self.coordinator.book(batch)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_process(folder: Path, key: bytes, program: Program, coordinator: Coordinator) -> Process:
    """An attestor's files: key, password, token, pins, configuration."""
    folder.mkdir()
    keystore.create(folder / "key.json", "pw", scrypt_n=2, private_key=key)
    (folder / "password").write_text("pw")
    (folder / "token").write_text(TOKEN)
    write_pins(
        folder / "partners.json",
        {name: [secret] for name, secret in coordinator.secrets.items()},
        program.address,
    )
    config = {
        "chain_id": program.domain.chain_id,
        "rpc_url": program.chain.url,
        "keystore": "key.json",
        "password_file": "password",
        "token_file": "token",
        "database": "attestor.sqlite",
        "pins": "partners.json",
        "programs": [
            {
                "distributor": program.address,
                "instance": "dev",
                "first_block": program.deployment.block,
                "finality": "latest",
            }
        ],
    }
    (folder / "config.json").write_text(json.dumps(config))
    return Process(folder, free_port())


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """A chain, a funded program and three attestors that are not started yet; none of them is left
    behind."""
    with ExitStack() as stack:
        chain = stack.enter_context(anvil())
        program = real_program(chain)
        program.fund(10**24)
        head = chain.w3.eth.get_block("latest")["timestamp"]
        coordinator = Coordinator(
            Domain(program.domain.chain_id, program.address), valid_until=head + 3600
        )
        made = [
            make_process(folder / f"attestor{i}", bytes(key.key), program, coordinator)
            for i, key in enumerate(attestor_keys())
        ]
        try:
            yield Stack(program, coordinator, made)
        finally:
            for one in made:
                if one.process is not None and one.process.poll() is None:
                    one.process.kill()
                    one.process.wait()


def test_three_attestors(tmp_path):
    """Two of three attest a batch and it lands; the third, who never saw it, signs the next after
    it was sent the leaves; a replayed event, foreign leaves and a state that is not there are
    refused by all."""
    with running(tmp_path) as stack:
        a, b, c = stack.attestors
        for one in stack.attestors:
            one.start()
        assert [httpx.get(f"{one.url}/readyz").status_code for one in stack.attestors] == [200] * 3
        assert isinstance(a.request({}, bytes(32), "wrong"), Refusal)

        coordinator = stack.coordinator
        first = coordinator.batch(
            0,
            [
                coordinator.deliver([report("a", account(1)), report("b", account(2))]),
                coordinator.deliver([report("c", account(1))]),
            ],
        )
        signed = [a.ask(first), b.ask(first)]
        assert all(isinstance(answer, Attested) for answer in signed)
        assert isinstance(a.ask(first.with_envelope(sequence=2)), AskAgain)
        stack.post(first, signed)
        assert a.ask(first).code == "already_landed"

        second = coordinator.batch(
            0, [coordinator.deliver([report("d", account(3)), report("e", account(2))])]
        )
        assert c.ask(second) == LeavesAsked(((0, 1),), first.domain.distributor)
        foreign = replace(first, items=(replace(first.items[0], amount=1), *first.items[1:]))
        assert c.send(foreign).reason == "interactions_root"
        assert c.ask(second) == LeavesAsked(((0, 1),), first.domain.distributor)
        assert c.send(first) is None
        replayed = coordinator.batch(
            0, [coordinator.deliver([report("f", account(3))]), first.deliveries[1]]
        )
        for one in stack.attestors:
            refused = one.ask(replayed)
            assert (refused.reason, refused.item) == ("paid_event", 1)
        stack.post(second, [a.ask(second), c.ask(second)])
        assert stack.program.distributor.bucket(0) == (2, 3)
        assert stack.program.distributor.totals().committed == 5000
        assert [one.stop() for one in stack.attestors] == [-signal.SIGTERM] * 3
        _require_quiet_logs(stack, [first, second])


def test_killed_attestors(tmp_path):
    """SIGKILL before and after the commit of a signature: asked again, each attestor gives a
    signature that the chain takes, and the one that had committed signs nothing else in its
    place."""
    with running(tmp_path) as stack:
        before, after, _ = stack.attestors
        batch = stack.coordinator.batch(0, [stack.coordinator.deliver([report("a", account(1))])])
        for one, place in ((before, "attestor.signed"), (after, "attestor.signed.committed")):
            one.start(GUERDON_FAILPOINT=place, GUERDON_FAILPOINT_DIR=str(one.folder))
            assert one.ask(batch).code == "unreachable"
            assert one.process.wait(10) == -signal.SIGKILL
            one.start()
        other = batch.with_envelope(ledger_head=bytes(32))
        assert after.ask(other).code == "other_digest_signed"
        stack.post(batch, [before.ask(batch), after.ask(batch)])
        assert before.ask(other).code == after.ask(other).code == "already_landed"
        assert stack.program.distributor.bucket(0) == (1, 1)


def test_chain_taken_back(tmp_path):
    """A chain that takes a final batch back halts the attestor; after a person has told it to read
    anew, it signs that same batch again."""
    with running(tmp_path) as stack:
        a = stack.attestors[0]
        a.start()
        snapshot = stack.program.chain.rpc("evm_snapshot")
        batch = stack.coordinator.batch(0, [stack.coordinator.deliver([report("a", account(1))])])
        signed = a.ask(batch)
        (other,) = stack.program.sign(batch.digest, attestor_keys()[1:2])
        stack.post(batch, [signed, other])
        assert a.ask(batch).code == "already_landed"
        stack.program.chain.rpc("evm_revert", snapshot)
        for _ in range(2):
            stack.program.chain.rpc("anvil_mine", "0x2")
            assert a.ask(batch).code == "halted"
        assert httpx.get(f"{a.url}/readyz").status_code == 503
        a.stop()
        command = [
            sys.executable,
            "-m",
            "backend.attestor",
            "--config",
            str(a.folder / "config.json"),
            "--forget-chain",
        ]
        a.process = subprocess.Popen(
            [*command, "--port", str(a.port)], cwd=ROOT, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while (
            isinstance(answer := a.ask(batch), AskAgain)
            and answer.code == "unreachable"
            and time.monotonic() < deadline
        ):
            time.sleep(0.1)
        assert answer == signed


def _require_quiet_logs(stack: Stack, batches: list[Batch]) -> None:
    """What the processes logged holds no secret and no evidence."""
    text = "".join((one.folder / "log").read_text() for one in stack.attestors)
    assert "Traceback" not in text
    assert '"event": "batch_signed"' in text
    sent = [delivery for batch in batches for delivery in batch.deliveries]
    evidence = (
        [d.delivery.header("webhook-signature") for d in sent]
        + [d.delivery.header("webhook-id") for d in sent]
        + [d.salt.hex() for d in sent]
    )
    assert not [
        item for item in [TOKEN, *stack.coordinator.secrets.values(), *evidence] if item in text
    ]
