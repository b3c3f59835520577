"""Batches that cannot be proven, on the real stack: they are quarantined, what is good lands,
and money stays exact."""

from collections.abc import Callable, Iterator

import pytest

from backend import pipeline
from backend.batch import repository
from backend.batch.close import close_batches
from backend.batch.models import Batch, BatchState
from backend.batch.quarantine import quarantine, release_unprovable
from backend.pipeline import look_at_program
from backend.program import repository as programs
from backend.program.models import Program
from prover.groth16 import Groth16Error, Prover
from prover.statement import Challenged
from prover.wire import Proof
from prover.witness import WitnessError
from tests.integration.exact import assert_exact
from tests.integration.world import World, address, running_world
from tests.support.patience import Patience


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A stack of these tests' own: they let its clock run."""
    with running_world(tmp_path_factory.mktemp("logs")) as found:
        yield found


def close(world: World, *accounts: int) -> Batch:
    """Report something for the accounts with no worker running, and close it; the batch."""
    world.kill("worker")
    world.report(accounts)
    with world.local.context.database.transaction() as session:
        [batch] = close_batches(session, programs.lock(session, world.local.program_id), force=True)
    return batch


def travel_past_signatures(world: World) -> None:
    """Until no signature of an attestor is good any more, by the chain's clock."""
    node = world.local.context.node
    node.request("evm_increaseTime", [world.local.context.settings.batch_valid_seconds + 1])
    node.request("evm_mine", [])


def patched(monkeypatch: pytest.MonkeyPatch, before: Callable[[Challenged], None]) -> None:
    """Let `before` see, and refuse, each statement that is to be proven in this process."""
    prove = Prover.prove

    def wrapper(prover: Prover, challenged: Challenged) -> Proof:
        before(challenged)
        return prove(prover, challenged)

    monkeypatch.setattr(Prover, "prove", wrapper)


def advance_all(world: World) -> list[Batch]:
    """Close and move whatever can be moved, once; what is on its way afterwards."""
    context, program_id = world.local.context, world.local.program_id
    look_at_program(context, program_id)
    with context.database.transaction() as session:
        ids = [batch.id for batch in repository.open_batches(session, program_id)]
    for batch_id in ids:
        pipeline.advance(context, batch_id)
    with context.database.transaction() as session:
        return repository.open_batches(session, program_id)


def unbatched(world: World) -> bool:
    with world.local.context.database.transaction() as session:
        return bool(repository.queues(session, session.get_one(Program, world.local.program_id)))


def test_poisonous_interaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One interaction makes every batch that it is in unprovable: the others land, as soon as the
    attestors' first signatures have expired; it stays booked until an operator releases it."""

    def refuse(challenged: Challenged) -> None:
        if int(address(3), 16) in [account for account, _ in challenged.statement.items]:
            raise WitnessError("poison")

    patched(monkeypatch, refuse)
    first = close(world, 1, 2, 3, 4, 5)
    later = close(world, 1, 2)
    assert pipeline.advance(world.local.context, first.id) is BatchState.QUARANTINED
    states = {batch.id: (batch.state, batch.reason) for batch in world.batches()}
    assert states[first.id] == (BatchState.QUARANTINED, "poison")
    assert states[later.id][0] == BatchState.SUPERSEDED
    # The half that holds it goes as well, before anybody has signed it.
    assert advance_all(world) == []
    assert [batch.state for batch in world.batches()].count(BatchState.QUARANTINED) == 2
    [waiting] = advance_all(world)
    assert (waiting.sequence, waiting.state, waiting.items) == (
        first.sequence,
        BatchState.CLOSED,
        2,
    )
    assert waiting.quarantine_batch_id is not None
    assert waiting.proof is not None
    assert "other_digest_signed" in waiting.note
    travel_past_signatures(world)
    patience = Patience()
    while advance_all(world) or unbatched(world):
        assert not patience.ended(world.standing()), world.standing()
    monkeypatch.undo()
    with world.local.context.database.transaction() as session:
        assert release_unprovable(session, world.local.program_id) == 1
    world.start("worker")
    world.settle()
    assert_exact(world)


@pytest.mark.soak
def test_worker_dies_of_a_batch(world: World) -> None:
    """A batch whose proof takes the worker with it three times is quarantined, through a crash at
    either side of that commit; its halves can be proven, and land."""
    world.kill("worker")
    before = len(world.batches())
    markers = world.start("worker", failpoint="prove.counted")
    world.report((6, 7, 6))
    for following in (
        "prove.counted",
        "prove.counted",
        "quarantine.before_commit",
        "quarantine.after_commit",
    ):
        world.wait("the worker's death", lambda folder=markers: any(folder.iterdir()))
        world.kill("worker")
        world.hurry()
        markers = world.start("worker", failpoint=following)
    world.wait_killed(markers, "quarantine.after_commit")
    travel_past_signatures(world)
    world.settle()
    batches = world.batches()[before:]
    assert [(batch.state, batch.items) for batch in batches] == [
        ("quarantined", 3),
        ("final", 2),
        ("final", 1),
    ]
    assert batches[0].reason == "3 attempts to prove it ended with the prover"
    assert_exact(world)


def test_broken_prover(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the prover fails on anything, no batch is quarantined for it, however often it fails: the
    batch lands once the prover works."""

    def fail(_: Challenged) -> None:
        raise Groth16Error("out of memory")

    batch = close(world, 8)
    patched(monkeypatch, fail)
    for _ in range(2 * world.local.context.settings.prove_attempts_max + 2):
        pipeline.advance(world.local.context, batch.id)
    assert world.newest().state == BatchState.ATTESTED
    assert "out of memory" in world.newest().note
    monkeypatch.undo()
    world.start("worker")
    world.settle()
    assert world.newest().id == batch.id
    assert_exact(world)


def test_proven_ahead(world: World) -> None:
    """A later batch of a bucket is proven while the one before it is not even signed; its turn
    come, that proof is used."""
    head = close(world, 1, 2)
    later = close(world, 2, 3)
    assert pipeline.advance(world.local.context, later.id) is BatchState.CLOSED
    ahead = world.newest()
    assert ahead.proof is not None
    assert ahead.prove_attempts == 0
    assert world.batches()[-2].digest is None
    with world.local.context.database.transaction() as session:
        assert [batch.id for batch in repository.movable(session)] == [head.id]
    world.start("worker")
    world.settle()
    landed = world.newest()
    assert (landed.id, landed.proof, landed.digest) == (ahead.id, ahead.proof, ahead.digest)
    assert_exact(world)


@pytest.mark.soak
def test_proven_ahead_and_expired(world: World) -> None:
    """A proof that was made ahead and has expired before its turn is made again."""
    close(world, 1)
    later = close(world, 2)
    pipeline.advance(world.local.context, later.id)
    ahead = world.newest()
    travel_past_signatures(world)
    world.start("worker")
    world.settle()
    assert world.newest().digest != ahead.digest
    assert_exact(world)


def test_superseded_while_it_is_proven(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is proving a batch ahead while another sets the one before it aside: its proof
    is dropped, and the rebuilt batches land."""
    head = close(world, 1, 2)
    later = close(world, 3)

    def withdraw(_: Challenged) -> None:
        with world.local.context.database.transaction() as session:
            assert len(quarantine(session, world.local.program_id, head.id, "for the test", 0)) == 2

    patched(monkeypatch, withdraw)
    assert pipeline.advance(world.local.context, later.id) is BatchState.SUPERSEDED
    monkeypatch.undo()
    assert world.newest().proof is None
    world.start("worker")
    world.settle()
    assert_exact(world)
