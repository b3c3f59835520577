"""Structured logs, one JSON object a line. What is logged is ids, states and counts: never bodies, headers, secrets or keys."""

import logging
import sys

import structlog


def configure(level: int = logging.INFO) -> None:
    """Log JSON lines of `level` and above to standard error."""
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
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
