"""Waking the workers. Celery over Redis carries only "look now": the rows own the truth, so a lost
or doubled message does no harm."""

import contextlib

import redis
import structlog
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from backend.config import settings

log = structlog.get_logger()

TICK = "guerdon.tick"
INVARIANTS = "guerdon.invariants"
PROVE = "guerdon.prove"
WORK, PROOFS = "guerdon", "guerdon-proofs"
"""The queues. A proof takes a core for as long as it lasts; in a queue of its own it holds up
nothing else where the workers are."""

celery = Celery("guerdon", broker=settings().redis_url, set_as_current=True)
celery.conf.update(
    task_ignore_result=True,
    task_queues=[Queue(WORK), Queue(PROOFS)],
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


def soon() -> None:
    """Ask for a tick now. If Redis does not answer, the work waits for the next tick by itself."""
    with contextlib.suppress(OperationalError, redis.RedisError):
        celery.send_task(TICK, expires=10)
        return
    log.warning("wake_failed")


def ping(url: str) -> None:
    """Raises redis.RedisError unless Redis answers."""
    redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2).ping()
