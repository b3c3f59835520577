"""Expected failures of a command, as one clear line and exit code 1 instead of a traceback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from backend.cli.output import errors


@contextmanager
def failures() -> Iterator[None]:
    """Inside, an expected failure ends the command with its reason.

    Expected are errors of ours, a server that does not answer, a bad setting and a bad file. A
    person reads the output: progress and errors are not log lines.
    """
    from backend.kit.log import configure

    configure(logging.ERROR)
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if (reason := _reason(error)) is None:
            raise
        errors.print("[red]error:[/red]", end=" ")
        errors.print(reason, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _reason(error: Exception) -> str | None:
    """What an expected failure says to a person; None for a mistake of ours."""
    # The libraries are imported here: a command that fails has most of them already.
    import httpx
    from pydantic import ValidationError
    from redis import RedisError
    from requests.exceptions import RequestException
    from sqlalchemy.exc import DBAPIError

    from backend.errors import CommandError, GuerdonError
    from backend.signer.base import SignerError
    from prover.circuit import CircuitError
    from prover.groth16 import Groth16Error
    from prover.keys import SetupError

    ours = GuerdonError | CommandError | SignerError | CircuitError | Groth16Error | SetupError
    match error:
        case ValidationError():
            # The input is not shown: it may be a secret.
            return "; ".join(
                f"GUERDON_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}"
                for e in error.errors(include_input=False)
            )
        case DBAPIError():
            return f"PostgreSQL (DATABASE_URL): {error.orig}".strip()
        case RedisError():
            return f"Redis (REDIS_URL): {error}"
        case httpx.HTTPError():
            return f"no answer over HTTP: {str(error) or type(error).__name__}"
        case RequestException():
            # Its text holds the node's URL, and so perhaps its key.
            return f"the node (RPC_URL) does not answer: {type(error).__name__}"
        case OSError() if not isinstance(error, ours):
            return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return str(error) if isinstance(error, ours) else None
