"""The queues of the workers, and the messages that wake them.

A message over Redis says only "look now". The rows hold the truth, so a lost, late or doubled
message does no harm. No message expires: whether it did would be decided by comparing the clocks of
two machines. Instead, a message that comes late finds nothing to do, and no more are sent while
many wait.
"""

import contextlib
import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, Protocol

import redis
import structlog
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from backend.config import settings
from backend.kit.db import AWAY, is_away
from backend.kit.outage import OneLine, Outage

log = structlog.get_logger()

TICK = "guerdon.tick"
INVARIANTS = "guerdon.invariants"
PROVE = "guerdon.prove"
WORK, PROOFS = "guerdon", "guerdon-proofs"
"""The queues. A proof occupies a core for its whole time. In a queue of its own it delays nothing
else on the workers of the other queue."""
QUEUED_MAX = 32
"""Most messages that wait in a queue before no more are sent."""

celery = Celery("guerdon", broker=settings().redis_url, set_as_current=True)
celery.conf.update(
    task_ignore_result=True,
    task_queues=[Queue(name) for name in (WORK, PROOFS)],  # type: ignore[no-untyped-call]  # untyped
    task_default_queue=WORK,
    task_routes={PROVE: PROOFS},
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 5},
    worker_hijack_root_logger=False,
    beat_schedule={
        "tick": {"task": TICK, "schedule": settings().tick_seconds},
        "invariants": {"task": INVARIANTS, "schedule": settings().invariants_seconds},
    },
)

_REDIS_AWAY = (OperationalError, redis.RedisError)
_database, _redis = Outage("database"), Outage("redis")
for _name in ("celery.worker.consumer.consumer", "celery.beat", "celery.worker.pidbox"):
    logging.getLogger(_name).addFilter(OneLine(OSError, *_REDIS_AWAY))

P = ParamSpec("P")


class Task(Protocol[P]):
    """A Celery task: a function that can be sent to a queue."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None: ...

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> object:
        """Send the task."""

    def apply_async(self, args: tuple[object, ...]) -> object:
        """Send the task."""


def task(name: str) -> Callable[[Callable[P, None]], Task[P]]:
    """Make a function the task `name`."""
    decorate: Callable[[Callable[P, None]], Task[P]] = celery.task(name=name)
    return lambda function: decorate(in_one_line(function))


def in_one_line(function: Callable[P, None]) -> Callable[P, None]:
    """The function, ending where a server does not answer with a line in the log, no traceback. The
    clock's next tick finds the work again, because rows own the state."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except AWAY as error:
            if not is_away(error):
                raise
            _database.failed(error)
        except _REDIS_AWAY as error:
            _redis.failed(error)
        else:
            _database.over()
            _redis.over()

    return run


def soon() -> None:
    """Ask for a tick now. If Redis does not answer, the work waits for the next regular tick."""
    with contextlib.suppress(*_REDIS_AWAY):
        celery.send_task(TICK)
        return
    log.warning("wake_failed")


def room(queue: str) -> int:
    """How many more messages the queue should get now: what waits in it was sent for nothing if the
    workers are too slow. All of QUEUED_MAX if Redis does not answer."""
    try:
        waiting = _connect(settings().redis_url).llen(queue)
    except redis.RedisError:
        return QUEUED_MAX
    return max(QUEUED_MAX - waiting, 0)


def is_turn(name: str, seconds: float) -> bool:
    """Whether nobody had the turn of this name in the last `seconds`, by the clock of Redis; it is
    taken then. True if Redis does not answer."""
    try:
        taken = _connect(settings().redis_url).set(
            f"guerdon:turn:{name}", 1, nx=True, px=max(1, int(seconds * 1000))
        )
    except redis.RedisError:
        return True
    return bool(taken)


@functools.cache
def _connect(url: str) -> redis.Redis:
    """One client a process: its pool makes new connections in a forked process."""
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)


def ping(url: str) -> None:
    """Raises redis.RedisError unless Redis answers."""
    _connect(url).ping()
