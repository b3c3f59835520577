"""Structured logs, one JSON object per line.

Logs hold ids, states and counts. They never hold bodies, headers, secrets or keys.
"""

import logging
import sys

import stamina
import structlog
from stamina.instrumentation import RetryDetails


def configure(level: int = logging.INFO) -> None:
    """Log JSON lines of `level` and above to standard error."""
    # stamina's own hook logs the arguments of a retried call: evidence, or URLs that hold keys.
    stamina.instrumentation.set_on_retry_hooks([_log_retry])
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Looked up for each line, because a test or a daemon may replace standard error later.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
    )


def _log_retry(details: RetryDetails) -> None:
    kind = type(details.caused_by).__name__
    structlog.get_logger().warning(
        "retry_scheduled", callable=details.name, retry_num=details.retry_num, caused_by=kind
    )
