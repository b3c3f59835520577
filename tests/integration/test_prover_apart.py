"""Proofs on machines of their own: a worker of the other queue does all but prove, and who proves
holds no key that signs."""

from pathlib import Path

from backend import pipeline
from backend.batch.models import BatchState
from backend.context import Context
from backend.pipeline import look_at_program
from backend.queue import WORK
from tests.integration.exact import assert_exact
from tests.integration.world import World, command_lines


def test_the_prover_needs_no_signing_key(world: World) -> None:
    """A batch waits attested for its proof, is proven by a process without keystore or token, and
    lands; a second prover finds nothing to do."""
    world.kill("worker")
    world.local.stack.start_worker(queue=WORK)
    world.report((0, 1))
    world.wait(
        "an attested batch",
        lambda: {batch.state for batch in world.batches()} >= {BatchState.ATTESTED},
    )
    batch = world.newest()
    prover = Context(
        world.local.context.settings.model_copy(
            update={"keystore": Path("none"), "attestor_token": None}
        )
    )
    try:
        # A tick may hold the batch for a moment.
        world.wait("the proof", lambda: pipeline.prove(prover, batch.id))
        assert pipeline.prove(prover, batch.id) is False
    finally:
        prover.close()
    lines = command_lines(world.service("worker").process.pid).values()
    assert not any("prover.groth16_process" in line for line in lines)
    world.settle()
    assert_exact(world)


def test_handed_over_once_for_each_look(world: World) -> None:
    """Whoever hands over proves nothing, and the batch stays where it was."""
    world.kill("worker")
    world.report((2,))
    context, program_id = world.local.context, world.local.program_id
    world.wait("a batch", lambda: look_at_program(context, program_id) == 1)
    batch = world.newest()
    handed: list[int] = []

    def hand_over(batch_id: int) -> None:
        with context.database.advisory_lock(f"batch {batch_id}") as free:
            assert free, "whoever proves it would find it taken"
        handed.append(batch_id)

    assert pipeline.advance(context, batch.id, hand_over=hand_over) is BatchState.ATTESTED
    assert (handed, world.newest().proof) == ([batch.id], None)
    world.start("worker")
    world.settle()
    assert_exact(world)
