"""`python -m backend.attestor --config FILE`: run one attestor until SIGTERM, SIGHUP or Ctrl-C."""

import argparse
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backend.attestor.config import AttestorConfig


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m backend.attestor", description="Run one Guerdon attestor."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML, or JSON")
    parser.add_argument("--host", help="instead of the configuration's")
    parser.add_argument("--port", type=int, help="instead of the configuration's")
    parser.add_argument(
        "--forget-chain",
        action="store_true",
        help="before starting, drop what was read from the chain and read it again (after a halt, "
        "once a person has looked); "
        "signatures and leaves stay",
    )
    return parser.parse_args()


def _forget_chain(config: "AttestorConfig") -> None:
    from backend.attestor.store import Store

    store = Store(config.database)
    for program in config.programs:
        store.forget_chain(f"{config.chain_id}:{program.distributor}")
    store.close()


def main() -> int:
    arguments = _arguments()
    # A wrong command line is told at once: what the attestor works with takes a second to import.
    import uvicorn

    from backend.attestor.app import create_app
    from backend.attestor.config import ConfigError, load_config
    from backend.attestor.store import StoreError
    from backend.kit.log import configure
    from backend.kit.processes import end_on_hangup
    from backend.kit.server import ConnectionBounds, options
    from backend.signer.base import SignerError

    configure()
    try:
        config = load_config(arguments.config, host=arguments.host, port=arguments.port)
        if arguments.forget_chain:
            _forget_chain(config)
        app = create_app(config)
    except (ConfigError, SignerError, StoreError) as error:
        print(f"attestor: {error}", file=sys.stderr)
        return 2
    # A daemon: a replay, which may take minutes, is not what a stop waits for.
    threading.Thread(target=app.state.attestor.catch_up, name="catch up", daemon=True).start()
    end_on_hangup()
    uvicorn.run(app, host=config.host, port=config.port, **options(ConnectionBounds()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
