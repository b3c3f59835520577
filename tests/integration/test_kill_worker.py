"""SIGKILL of the worker at every step of a batch: after a restart everything is exact, and nothing
was sent twice."""

import random
import time
from itertools import pairwise
from pathlib import Path

import pytest

from backend.batch.models import BatchState
from backend.payout.push import push_claims
from tests.integration.exact import assert_audited, assert_exact
from tests.integration.world import World, command_lines, kill_process

STEPS = (
    "close.before_commit",
    "close.after_commit",
    "attest.envelope_fixed",
    "attest.signed",
    "attest.after_commit",
    "prove.before_commit",
    "prove.after_commit",
    "tx.stored",
    "post.before_commit",
    "post.stored",
    "tx.settled",
    "tx.broadcast",
    "index.before_commit",
    "index.after_commit",
)
"""In the order in which a batch comes to them."""

SET_STEPS = ("post.set_before_commit", "post.set_stored")
"""Where a worker comes only with several batches for one transaction."""
TRACKED = "post.tracked"
"""After tx.broadcast too, but a worker that died there finds the batch on chain."""


@pytest.mark.parametrize(
    "steps", [STEPS, pytest.param((TRACKED,), marks=pytest.mark.soak)], ids=["every step", TRACKED]
)
def test_worker_killed(world: World, steps: tuple[str, ...]) -> None:
    """One batch, and the whole worker dies at each of its steps in turn: each new worker takes up
    where the last one died, and the batch lands once."""
    before = len(world.batches())
    whole = {
        "GUERDON_FAILPOINT_WHOLE": "1"
    }  # Another of its processes must not take the next step before they are all dead.
    markers = world.start("worker", failpoint=steps[0], **whole)
    assert world.report((0, 1, 0, 2)) == {"accepted": 4}
    for step, following in pairwise((*steps, None)):
        world.wait_killed(markers, step)
        markers = world.start("worker", failpoint=following, **whole)
    world.settle()
    assert len(world.batches()) == before + 1
    assert_exact(world)


def test_worker_processes_killed_at_every_step(world: World) -> None:
    """Several batches in two buckets, and at each step the process that comes there first dies;
    Celery replaces it, and each batch lands once."""
    markers = world.start("worker", failpoint=",".join((*STEPS, TRACKED)))
    for start in range(0, 40, 10):
        world.report(range(start, start + 10))
    world.wait_killed(markers, *STEPS, TRACKED)
    world.settle()
    assert {batch.bucket for batch in world.batches()} == {0, 1}
    assert_exact(world)


@pytest.mark.soak
def test_killed_while_several_batches_share_a_transaction(world: World) -> None:
    """The whole worker dies before the transaction of several batches is stored, and again after:
    all of them are posted or none, and each lands once."""
    whole = {"GUERDON_FAILPOINT_WHOLE": "1"}
    for step in SET_STEPS:
        markers = world.start("worker", failpoint=step, **whole)

        def shared(markers: Path = markers, step: str = step) -> bool:
            if (markers / f"{step}.killed").exists():
                return True
            # Batches of two buckets are proven one after the other: the first waits for the other.
            if world.is_settled():
                world.report(range(40))
            return False

        world.wait(f"death at {step}", shared)
        world.start("worker")
        world.settle()
    assert max(batch.batches_in_tx or 0 for batch in world.batches()) > 1
    assert_exact(world)


@pytest.mark.soak
def test_worker_killed_at_random_steps(world: World, soak_seed: int) -> None:
    """Deaths of the whole worker or of one of its processes, at steps and with rewards that a seed
    draws: everything lands once."""
    rng = random.Random(soak_seed)
    for _ in range(10):
        steps = rng.sample((*STEPS, *SET_STEPS, TRACKED), rng.randint(1, 4))
        whole = {"GUERDON_FAILPOINT_WHOLE": "1"} if rng.random() < 0.5 else {}
        world.start("worker", failpoint=",".join(steps), **whole)
        for _ in range(rng.randint(1, 3)):
            world.report([rng.randrange(40) for _ in range(rng.randint(1, 12))])
        time.sleep(rng.uniform(0, 5))  # where the next death finds it
        world.start("worker")
        world.settle()
        assert_exact(world)


def _prover_pids(world: World) -> list[int]:
    lines = command_lines(world.service("worker").process.pid)
    return [pid for pid, line in lines.items() if "prover.groth16_process" in line]


@pytest.mark.parametrize(
    "whole", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["prover", "worker"]
)
def test_killed_while_proving(world: World, whole: bool) -> None:
    """The Groth16 process dies in the middle of a proof, alone or with the whole worker: the proof
    is made again, the batch lands once."""
    world.start("worker")
    world.report((0, 1))
    # It is started for the first proof, so it is loading the key or proving.
    world.wait("a proof under way", lambda: bool(_prover_pids(world)))
    assert world.newest().state == BatchState.ATTESTED
    if whole:
        world.kill("worker")
        world.start("worker")
    else:
        for pid in _prover_pids(world):
            kill_process(pid)
        world.wait("the step has failed", lambda: world.newest().failures > 0)
    world.settle()
    assert_exact(world)


@pytest.mark.soak
def test_killed_while_booking_claims(world: World) -> None:
    """Claims that the chain has paid are booked once, though the worker dies with them booked and
    not committed."""
    world.start("worker")
    world.report((0, 1, 2))
    world.settle()
    markers = world.start("worker", failpoint="index.before_commit")
    pushes = push_claims(world.local.context, world.program(), list(world.owed), together=8)
    assert sum(len(push.accounts) for push in pushes) == len(world.owed)
    world.wait_killed(markers, "index.before_commit")
    world.kill("worker")
    world.start("worker")
    world.report((0,))
    world.settle()
    chain = assert_exact(world)
    assert len(chain.claimed) == len(world.owed)


def test_audit_after_it_all(world: World) -> None:
    """The chain alone agrees: every root, proof, attestation and total of what all those deaths
    left behind."""
    assert_audited(world)
