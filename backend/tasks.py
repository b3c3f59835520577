"""The workers' composition root: all Celery tasks. A task looks for work and calls the pipeline.

Start with `celery -A backend.tasks worker -B`. To prove on another machine, start with `-Q guerdon`
here and with `-Q guerdon-proofs` there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256

import structlog
from celery.signals import worker_process_init, worker_ready

from backend import pipeline, queue
from backend.batch import repository
from backend.batch.models import BatchState
from backend.config import settings
from backend.context import Context
from backend.errors import GuerdonError, Unavailable
from backend.kit import metrics
from backend.kit.db import is_away
from backend.kit.log import configure
from backend.kit.metrics import INVARIANT_RUNS
from backend.kit.processes import end_on_hangup
from backend.program import halts
from backend.program import repository as programs
from backend.program import service as program_service
from backend.program.models import Program
from backend.queue import INVARIANTS, PROOFS, PROVE, TICK, WORK, celery, in_one_line, task
from backend.settlement.post_track import track_orphaned

log = structlog.get_logger()
app = celery

TURNS_MAX = 8
"""How many batches a process tries whose proofs others are making, before it leaves them."""


def _start(**_: object) -> None:
    configure()


@in_one_line
def _check_keys(**_: object) -> None:
    """Tell an operator at the start, and not at the first batch, that a program's verifier and the
    keys of this machine do not fit."""
    # Not the cached context: processes that are forked later must not share its connections.
    context = Context(settings())
    try:
        for name, reason in context.keys.unfit(_ours(context)).items():
            log.error("unfit_key", program=name, error=reason)
    except Unavailable as error:
        log.warning("keys_not_checked", error=error.message)
    finally:
        context.close()


@in_one_line
def _describe_tokens(**_: object) -> None:
    """Ask for what is not known of the programs' tokens: a version before this one did not ask."""
    context = Context(settings())
    try:
        for program in _ours(context):
            with context.database.transaction() as session:
                program_service.describe_token(session, context.node, program)
    except Unavailable as error:
        log.warning("tokens_not_described", error=error.message)
    finally:
        context.close()


def _end_on_hangup(**_: object) -> None:
    """Celery would restart on SIGHUP: a worker that nobody sees, after its terminal is gone."""
    end_on_hangup()


def _serve_metrics(**_: object) -> None:
    """Serve the metrics of all processes of this worker, from its main process."""
    if (port := settings().metrics_port) is None:
        return
    if metrics.SHARED_FOLDER not in os.environ:
        # The main process counts nothing itself.
        log.error("metrics_incomplete", expected=f"{metrics.SHARED_FOLDER} to be set")
    metrics.serve(settings().metrics_host, port)
    log.info("metrics_served", host=settings().metrics_host, port=port)


worker_process_init.connect(_start)
worker_ready.connect(_end_on_hangup)
worker_ready.connect(_check_keys)
worker_ready.connect(_describe_tokens)
worker_ready.connect(_serve_metrics)


@cache
def _context() -> Context:
    """The worker process's context, made after the fork."""
    return Context(settings())


def _ours(context: Context) -> list[Program]:
    """The programs on the node's chain. Raises Unavailable if the node does not answer."""
    rows = _all_programs(context)
    for program in rows:
        if program.chain_id != context.chain_id:
            _say_left_alone(program.name, program.chain_id, context.chain_id)
    return [program for program in rows if program.chain_id == context.chain_id]


def _all_programs(context: Context) -> list[Program]:
    with context.database.transaction() as session:
        return programs.all_programs(session)


@cache
def _say_left_alone(name: str, chain_id: int, node_chain_id: int) -> None:
    """Log it once in each process."""
    log.warning(
        "program_on_another_chain", program=name, chain_id=chain_id, node_chain_id=node_chain_id
    )


@task(TICK)
def tick() -> None:
    """Look for work in every program of the node's chain: batches to move, events to record,
    rewards to release, batches to close."""
    context = _context()
    # One name for each node, known without asking the node: the workers of one chain must not wait
    # for the workers of another chain, nor for a node that does not answer.
    node = sha256(context.settings.rpc_url.encode()).hexdigest()
    # Ticks that piled up while all workers were busy are one tick.
    if not queue.is_turn(f"tick {node}", context.settings.tick_seconds / 2):
        return
    with context.database.advisory_lock(f"tick {node}") as mine:
        if not mine:
            return
        with context.database.transaction() as session:
            halts.tell(session)
        try:
            rows = _ours(context)
        except Unavailable as error:
            # Batches are tried all the same: each then says what it waits for.
            log.warning("tick_failed", error=error.message)
            rows = _all_programs(context)
        else:
            # First: what is ready must not wait until every program has been looked at.
            _hand_out(context, rows)
            _look_around(context, rows)
        _hand_out(context, rows)


def _hand_out(context: Context, rows: list[Program]) -> None:
    """Send the batches that are due to the workers."""
    programs_here, looks = [program.id for program in rows], context.settings.looks_per_second
    with context.database.transaction() as session:
        ids = repository.hand_out(session, programs_here, looks, queue.room(WORK))
    for batch_id in ids:
        advance.apply_async((batch_id,))


def _look_around(context: Context, rows: list[Program]) -> None:
    for program in rows:
        try:
            pipeline.look_at_program(context, program.id)
        except GuerdonError as error:
            log.warning("tick_failed", program=program.name, error=error.message)
        except Exception as error:
            if is_away(error):
                raise
            # One program's fault must not hold up the others. The next tick tries again.
            log.exception("tick_failed", program=program.name)
    try:
        track_orphaned(context)
    except GuerdonError as error:
        log.warning("track_failed", error=error.message)


@task(INVARIANTS)
def check_invariants() -> None:
    """Check the invariants of every program of the node's chain that is not halted."""
    context = _context()
    with context.database.advisory_lock("invariants") as mine:
        # A check may take longer than the time to the next one: checks must not pile up.
        if not mine:
            return
        try:
            rows = _ours(context)
        except Unavailable as error:
            INVARIANT_RUNS.labels("unavailable").inc()
            log.warning("invariants_not_checked", error=error.message)
            return
        for program in rows:
            if program.halted is None:
                _check_invariants(context, program.id)


def _check_invariants(context: Context, program_id: int) -> None:
    try:
        pipeline.check_program(context, program_id)
    except GuerdonError as error:
        INVARIANT_RUNS.labels("unavailable").inc()
        log.warning("invariants_not_checked", program=program_id, error=error.message)


@task("guerdon.advance")
def advance(batch_id: int) -> None:
    """Take one batch as far as it goes now, then look for what that made possible."""
    context = _context()
    with context.database.transaction() as session:
        if not repository.is_due(session, batch_id):
            return
    with _logged(batch_id):
        state = pipeline.advance(context, batch_id, hand_over=_hand_over)
        if state in (BatchState.FINAL, BatchState.QUARANTINED):
            celery.send_task(TICK)


@task(PROVE)
def prove(batch_id: int) -> None:
    """Make the proof whose turn it is, and hand its batch back. The message says that `batch_id`
    needs a proof; a program with many batches must not keep another program's one waiting."""
    context = _context()
    with _logged(batch_id):
        for _ in range(TURNS_MAX):
            with context.database.transaction() as session:
                taken = repository.take_to_prove(session, context.chain_id)
            if taken is None:
                return
            if pipeline.prove(context, taken):
                advance.delay(taken)
                return


@contextmanager
def _logged(batch_id: int) -> Iterator[None]:
    """Log an error of a batch. Workers of two chains may share a queue: each leaves the batches of
    the other chain alone."""
    try:
        yield
    except GuerdonError as error:
        log.warning("batch_not_advanced", batch=batch_id, error=error.message)


def _hand_over(batch_id: int) -> None:
    # With many proofs queued the batch comes to its turn without a message of its own.
    if queue.room(PROOFS):
        prove.apply_async((batch_id,))
