"""backend/kit/metrics.py: what a scraper reads, from one process and from several."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from backend import tasks
from backend.config import Settings
from backend.devstack.stack import free_port
from backend.kit import metrics

ROOT = Path(__file__).parents[2]

PROCESSES = """
import os, sys
from backend.kit import metrics
for outcome in sys.argv[1:]:
    if os.fork() == 0:
        metrics.INTAKE_ITEMS.labels(outcome).inc(2)
        metrics.INDEXER_LAG_BLOCKS.labels("main").set(7)
        os._exit(0)
    os.wait()
sys.stdout.write(metrics.exposition().decode())
"""


def test_processes_share_a_folder(tmp_path: Path) -> None:
    """With PROMETHEUS_MULTIPROC_DIR, a process serves what its forks have counted, as the main
    process of a Celery worker must."""
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES, "held", "held", "accepted"],
        cwd=ROOT,
        env=os.environ | {metrics.SHARED_FOLDER: str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert 'guerdon_intake_items_total{outcome="held"} 4.0' in lines
    assert 'guerdon_intake_items_total{outcome="accepted"} 2.0' in lines
    assert [line for line in lines if line.startswith("guerdon_indexer_lag_blocks{")] == [
        'guerdon_indexer_lag_blocks{program="main"} 7.0'
    ]


def test_a_worker_serves_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker serves all metrics on the port of its setting, and on none without it."""
    served: list[tuple[str, int]] = []
    monkeypatch.setattr(metrics, "serve", lambda host, port: served.append((host, port)))
    for port in (None, 9100):
        monkeypatch.setattr(tasks, "settings", lambda port=port: Settings(metrics_port=port))
        tasks._serve_metrics()
    assert served == [("127.0.0.1", 9100)]


def test_metrics_over_http() -> None:
    """`serve` answers a scraper, in a thread of the process."""
    port = free_port()
    metrics.HTTP_REFUSALS.labels("not_found").inc()
    metrics.serve("127.0.0.1", port)
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    assert 'guerdon_http_refusals_total{code="not_found"}' in answer.text


def test_labels_have_few_values() -> None:
    """No metric is labelled by an account, an event, a partner, a server or a batch: the number of
    series has a bound, and no series tells of a person."""
    labels = {
        label
        for value in vars(metrics).values()
        if hasattr(value, "_labelnames")
        for label in value._labelnames
    }
    assert labels == {"cause", "outcome", "code", "state", "instance", "program", "result"}
