"""The queues of the workers, and the messages that wake them.

A message over Redis says only "look now". The rows hold the truth, so a lost or doubled message
does no harm.
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
        "tick": {
            "task": TICK,
            "schedule": settings().tick_seconds,
            "options": {"expires": 2 * settings().tick_seconds},
        },
        "invariants": {
            "task": INVARIANTS,
            "schedule": settings().invariants_seconds,
            "options": {"expires": 60},
        },
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

    def apply_async(self, args: tuple[object, ...], *, expires: float) -> object:
        """Send the task; it is dropped if no worker takes it within `expires` seconds."""


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
        celery.send_task(TICK, expires=10)
        return
    log.warning("wake_failed")


def ping(url: str) -> None:
    """Raises redis.RedisError unless Redis answers."""
    redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2).ping()
