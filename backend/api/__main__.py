"""`python -m backend.api`: serve the API until SIGTERM or Ctrl-C."""

import argparse

import uvicorn

from backend.config import settings
from backend.kit.server import ConnectionBounds, options


def main() -> None:
    """Serve the API where the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m backend.api", description="Serve the API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    config = settings()
    bounds = ConnectionBounds(config.connections_max, head_seconds=config.request_seconds)
    uvicorn.run(
        "backend.api.app:create_app",
        factory=True,
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        **options(bounds),
    )


if __name__ == "__main__":
    main()
