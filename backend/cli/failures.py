"""Expected failures of a command, as one clear line and exit code 1 instead of a traceback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.text import Text

from backend.cli.output import wants_json
from backend.errors import GuerdonError
from backend.kit.terminal import errors, output

_NO_SUCH_TABLE_OR_COLUMN = ("42P01", "42703")
"""PostgreSQL's codes."""


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
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if (reason := _reason(error)) is None:
            raise
        known = error if isinstance(error, GuerdonError) else None
        tell(reason, wants_json(), known)
        raise typer.Exit(1) from None


def tell(
    reason: str, as_json: bool, error: GuerdonError | None = None, code: str = "failed"
) -> None:
    """Say why a command ends: a line for a person, and with `as_json` a document on standard output
    in the API's shape for errors."""
    errors.print(Text("error: ", style="red").append(reason, style="default"))
    if as_json:
        output.document((error or GuerdonError(reason, code=code)).to_json())


def _reason(error: Exception) -> str | None:
    """What an expected failure says to a person; None for a mistake of ours."""
    # The libraries are imported here: a command that fails has most of them already.
    import httpx
    from pydantic import ValidationError
    from redis import RedisError
    from requests.exceptions import RequestException
    from sqlalchemy.exc import DBAPIError

    from backend.errors import CommandError
    from backend.signer.base import SignerError
    from prover.circuit import CircuitError
    from prover.groth16 import Groth16Error
    from prover.keys import SetupError

    match error:
        case (
            GuerdonError()
            | CommandError()
            | SignerError()
            | CircuitError()
            | Groth16Error()
            | SetupError()
        ):
            return str(error)
        case ValidationError():
            # The input is not shown: it may be a secret.
            return "; ".join(
                f"GUERDON_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}"
                for e in error.errors(include_input=False)
            )
        case DBAPIError():
            if getattr(error.orig, "sqlstate", None) in _NO_SUCH_TABLE_OR_COLUMN:
                return "DATABASE_URL: its tables are missing or old: run `guerdon migrate`"
            return f"PostgreSQL (DATABASE_URL): {' '.join(str(error.orig).split())}"
        case RedisError():
            return f"Redis (REDIS_URL): {error}"
        case httpx.HTTPError():
            return f"no answer over HTTP: {str(error) or type(error).__name__}"
        case RequestException():
            # Its text holds the node's URL, and so perhaps its key.
            return f"the node (RPC_URL) does not answer: {type(error).__name__}"
        case OSError():
            return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None
