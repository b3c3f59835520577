"""The workers' composition root: all Celery tasks. Thin: they look at the rows and call the domains.

Start with `celery -A backend.tasks worker -B`; to prove elsewhere, with `-Q guerdon` here and `-Q guerdon-proofs` there.
"""

from functools import cache

import structlog
from celery.signals import worker_process_init, worker_ready

from backend.batch import pipeline, repository
from backend.batch.close import close_batches
from backend.batch.models import BatchState
from backend.config import settings
from backend.context import Context
from backend.errors import GuerdonError
from backend.interaction.service import release_held
from backend.invariant import check_with_chain
from backend.kit.failpoint import failpoint
from backend.kit.log import configure
from backend.ledger import chain as ledger_chain
from backend.program import repository as programs
from backend.settlement import post
from backend.settlement.watch import watch
from backend.wake import INVARIANTS, PROVE, TICK, celery

log = structlog.get_logger()
app = celery


@worker_process_init.connect
def _start(**_: object) -> None:
    configure()


@worker_ready.connect
def _check_keys(**_: object) -> None:
    """An operator learns at the start, not from the first batch, that a program's verifier and this machine's keys do not fit."""
    context = Context(settings())  # Not the cached one: processes that are forked later must not share its connections.
    try:
        with context.database.transaction() as session:
            rows = programs.all_programs(session)
        for name, reason in context.keys.unfit(rows).items():
            log.error("unfit_key", program=name, error=reason)
    finally:
        context.close()


@cache
def _context() -> Context:
    """One context a worker process, made after the fork."""
    return Context(settings())


@celery.task(name=TICK)
def tick() -> None:
    """Look for work in every program: events to book, rewards to release, batches to close, batches to move."""
    context = _context()
    with context.lock("tick") as mine:
        if not mine:
            return
        with context.database.transaction() as session:
            rows = programs.all_programs(session)
        for program in rows:
            try:
                look_at_program(context, program.id)
            except GuerdonError as error:
                log.warning("tick_failed", program=program.name, error=error.message)
            except Exception:  # One program's fault must not hold up the others; the next tick tries again.
                log.exception("tick_failed", program=program.name)
        try:
            post.follow_strays(context)
        except GuerdonError as error:
            log.warning("follow_failed", error=error.message)
        with context.database.transaction() as session:
            ids = [batch.id for batch in repository.movable(session)]
    for batch_id in ids:
        advance.apply_async((batch_id,), expires=settings().tick_seconds)


def look_at_program(context: Context, program_id: int) -> int:
    """Book what is final, release what is funded now, close what is due. Returns how many batches were closed."""
    watch(context, program_id)
    with context.database.transaction() as session:
        # Apart from closing: whoever releases holds the budget, which every request needs.
        release_held(session, program_id)
    _seal_full_blocks(context, program_id)
    closed = 0
    while True:
        with context.database.transaction() as session:
            batches = close_batches(session, programs.lock(session, program_id))
            if batches:
                failpoint("close.before_commit")
        if not batches:
            return closed
        failpoint("close.after_commit")
        closed += len(batches)


def _seal_full_blocks(context: Context, program_id: int) -> None:
    """What stranger after stranger sends to a program that closes no batch is sealed all the same, a transaction a block."""
    sealed = True
    while sealed:
        with context.database.transaction() as session:
            programs.lock(session, program_id)
            sealed = ledger_chain.seal_full(session, program_id)


@celery.task(name=INVARIANTS)
def check_invariants() -> None:
    """Check that money is conserved, in the database and against the chain; a program for which it is not is halted until a person looks."""
    context = _context()
    with context.database.transaction() as session:
        ids = [program.id for program in programs.all_programs(session) if program.halted is None]
    for program_id in ids:
        try:
            findings = check_with_chain(context, program_id)
        except GuerdonError as error:
            log.warning("invariants_not_checked", program=program_id, error=error.message)
            continue
        if findings:
            log.error("invariants_broken", program=program_id, findings=findings[:10])
            with context.database.transaction() as session:
                programs.lock(session, program_id).halted = f"an invariant is broken: {findings[0]}"


@celery.task(name="guerdon.advance")
def advance(batch_id: int) -> None:
    """Take one batch as far as it goes now, then look for what that made possible."""
    if pipeline.advance(_context(), batch_id, hand_over=_hand_over) in (BatchState.FINAL, BatchState.SET_ASIDE):
        celery.send_task(TICK, expires=10)


@celery.task(name=PROVE)
def prove(batch_id: int) -> None:
    """Make one batch's proof, then hand the batch back."""
    if pipeline.prove(_context(), batch_id):
        advance.delay(batch_id)


def _hand_over(batch_id: int) -> None:
    # Ticks ask again: a message that has waited for some of them is one too many.
    prove.apply_async((batch_id,), expires=10 * settings().tick_seconds)
