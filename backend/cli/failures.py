"""Expected failures of a command, as one clear line and exit code 1 instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import typer
from pydantic import ValidationError
from redis import RedisError
from requests.exceptions import RequestException
from sqlalchemy.exc import DBAPIError

from backend.cli.output import errors
from backend.errors import CommandError, GuerdonError
from backend.signer.base import SignerError
from prover.circuit import CircuitError
from prover.groth16 import Groth16Error
from prover.keys import SetupError

_OURS = (GuerdonError, CommandError, SignerError, CircuitError, Groth16Error, SetupError)


@contextmanager
def failures() -> Iterator[None]:
    """Inside, an expected failure ends the command with its reason.

    Expected are errors of ours, a server that does not answer, a bad setting and a bad file.
    """
    try:
        yield
    except _OURS as error:
        reason = str(error)
    except ValidationError as error:
        # The input is not shown: it may be a secret.
        reason = "; ".join(
            f"GUERDON_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}"
            for e in error.errors(include_input=False)
        )
    except DBAPIError as error:
        reason = f"PostgreSQL (DATABASE_URL): {error.orig}".strip()
    except RedisError as error:
        reason = f"Redis (REDIS_URL): {error}"
    except httpx.HTTPError as error:
        reason = f"no answer over HTTP: {str(error) or type(error).__name__}"
    except RequestException as error:
        # Its text holds the node's URL, and so perhaps its key.
        reason = f"the node (RPC_URL) does not answer: {type(error).__name__}"
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    else:
        return
    errors.print("[red]error:[/red]", end=" ")
    errors.print(reason, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1)
