"""The queues of the workers, and the messages that wake them.

A message over Redis says only "look now". The rows hold the truth, so a lost or doubled message
does no harm.
"""

import contextlib
from collections.abc import Callable
from typing import ParamSpec, Protocol

import redis
import structlog
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from backend.config import settings

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
    return decorate


def soon() -> None:
    """Ask for a tick now. If Redis does not answer, the work waits for the next regular tick."""
    with contextlib.suppress(OperationalError, redis.RedisError):
        celery.send_task(TICK, expires=10)
        return
    log.warning("wake_failed")


def ping(url: str) -> None:
    """Raises redis.RedisError unless Redis answers."""
    redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2).ping()
