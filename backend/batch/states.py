"""The state machine of a batch: which states follow which, and the one function that moves a batch.

    closed -> attested -> proven -> posted -> final

A batch whose transaction reverted or is lost goes back to proven, and is posted again in the same
envelope. It goes back to closed when its envelope can no longer be posted. A batch that is signed
and proven can be posted by anybody, and the indexer only believes the chain: a batch therefore
becomes final from every active state. A closed or attested batch is quarantined if it cannot be
proven, and superseded if it was built on a quarantined batch (docs/adr/0005).
"""

from collections.abc import Mapping
from types import MappingProxyType

import structlog

from backend.batch.models import Batch, BatchState
from backend.kit.db import in_seconds
from backend.kit.metrics import BATCH_TRANSITIONS

log = structlog.get_logger()

_CLOSED, _ATTESTED, _PROVEN, _POSTED, _FINAL = (
    BatchState.CLOSED,
    BatchState.ATTESTED,
    BatchState.PROVEN,
    BatchState.POSTED,
    BatchState.FINAL,
)
_QUARANTINED, _SUPERSEDED = BatchState.QUARANTINED, BatchState.SUPERSEDED

TRANSITIONS: Mapping[BatchState, frozenset[BatchState]] = MappingProxyType(
    {
        _CLOSED: frozenset({_ATTESTED, _FINAL, _QUARANTINED, _SUPERSEDED}),
        _ATTESTED: frozenset({_CLOSED, _PROVEN, _FINAL, _QUARANTINED, _SUPERSEDED}),
        _PROVEN: frozenset({_CLOSED, _POSTED, _FINAL}),
        _POSTED: frozenset({_CLOSED, _PROVEN, _FINAL}),
        _FINAL: frozenset(),
        _QUARANTINED: frozenset(),
        _SUPERSEDED: frozenset(),
    }
)
"""state -> the states that may follow it."""

ORDER = (_CLOSED, _ATTESTED, _PROVEN, _POSTED, _FINAL)
"""The states of a batch that lands, in order."""


class IllegalTransition(AssertionError):
    """The code tried to move a batch to a state that does not follow the batch's state."""


def transition(batch: Batch, to: BatchState) -> None:
    """Move the batch to `to`, in the caller's transaction, and log one line.

    Nothing else assigns the state of a batch. The line is written before the transaction commits: a
    transaction that fails and runs again logs the transition twice.

    Raises:
        IllegalTransition: `to` does not follow the batch's state.
    """
    before = BatchState(batch.state)
    if to not in TRANSITIONS[before]:
        raise IllegalTransition(f"batch {batch.id}: a batch that is {before} cannot become {to}")
    batch.state = to
    batch.waits = 0
    log_state(batch, before)


def mark_proven(batch: Batch) -> None:
    """Move a signed batch that has its proof to proven.

    Anybody can post the batch until its envelope expires.
    """
    transition(batch, BatchState.PROVEN)
    batch.proven_at = in_seconds(0)
    batch.landable_until = max(batch.envelope().valid_until, batch.landable_until or 0)


def log_state(batch: Batch, before: BatchState | None) -> None:
    """Log and count the batch's state as a transition; `before` is None for a new batch."""
    BATCH_TRANSITIONS.labels(str(batch.state)).inc()
    log.info("batch_moved", **log_fields(batch), before=None if before is None else str(before))


def log_fields(batch: Batch) -> dict[str, int | str]:
    """The fields of a log line that say which batch it is about."""
    return {
        "program": batch.program_id,
        "batch": batch.id,
        "bucket": batch.bucket,
        "sequence": batch.sequence,
        "state": str(batch.state),
    }


def reached(state: BatchState, until: BatchState) -> bool:
    """Whether a batch in `state` needs no step to get to `until`: it is there, is further, or never
    lands."""
    return state not in ORDER or ORDER.index(state) >= ORDER.index(until)
