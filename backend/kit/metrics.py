"""Prometheus metrics: every definition, and how a process serves them.

Labels have few values: states, outcomes, error codes, instances and program names. No label holds
an account, an event, an address of a server, or a secret.

Processes that share one address, as the processes of a Celery worker do, share a folder too. It is
PROMETHEUS_MULTIPROC_DIR, empty at their start.
"""

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

INTAKE_ITEMS = Counter("guerdon_intake_items", "Reported items, by outcome.", ["outcome"])
"""Outcomes: accepted, duplicate, held, rejected."""
HTTP_REFUSALS = Counter(
    "guerdon_http_refusals", "Requests answered with an error, by its stable code.", ["code"]
)
BATCH_TRANSITIONS = Counter("guerdon_batch_transitions", "Batches that entered a state.", ["state"])
ATTESTATION_SECONDS = Histogram(
    "guerdon_attestation_seconds",
    "Time of one round in which the attestors are asked about a batch.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
ATTESTATION_ANSWERS = Counter(
    "guerdon_attestation_answers", "Attestors' answers about batches, by outcome.", ["outcome"]
)
PROVE_SECONDS = Histogram(
    "guerdon_prove_seconds",
    "Time to make one proof.",
    ["instance"],
    buckets=(0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640),
)
TRANSACTION_TRANSITIONS = Counter(
    "guerdon_transaction_transitions", "Outgoing transactions that entered a state.", ["state"]
)
POSTS_REPEATED = Counter(
    "guerdon_posts_repeated", "Posts of batches that did not land, by cause.", ["cause"]
)
"""Causes: attestor (one refused its signature), unknown (an attestor may have), other, lost."""
FEE_CAP_HITS = Counter("guerdon_fee_cap_hits", "Bids that GUERDON_MAX_FEE_PER_GAS_WEI forbade.")
INDEXER_LAG_BLOCKS = Gauge(
    "guerdon_indexer_lag_blocks",
    "Final blocks of the chain that the ledger has not indexed yet.",
    ["program"],
    multiprocess_mode="mostrecent",
)
INVARIANT_RUNS = Counter(
    "guerdon_invariant_runs", "Checks of a program's invariants, by result.", ["result"]
)
"""Results: ok, broken, unavailable."""
ATTESTOR_ANSWERS = Counter(
    "guerdon_attestor_answers", "An attestor's answers: signed, or an error's code.", ["code"]
)


def exposition(*more: Collector) -> bytes:
    """All metrics of this process, or of all processes with its shared folder, and of `more`."""
    extra = CollectorRegistry()
    for collector in more:
        extra.register(collector)
    return generate_latest(_registry()) + generate_latest(extra)


def serve(host: str, port: int) -> None:
    """Serve `exposition` over HTTP, without a guard, in a thread of this process."""
    start_http_server(port, host, _registry())


def _registry() -> CollectorRegistry:
    if SHARED_FOLDER not in os.environ:
        return REGISTRY
    shared = CollectorRegistry()
    MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # the library types it in part
    return shared
