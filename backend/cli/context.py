"""What a command of the operator works with, opened from the environment's settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from backend.cli.failures import failures
from backend.config import settings
from backend.context import Context
from backend.program import repository as programs
from backend.program.models import Program

ProgramName = Annotated[
    str, typer.Argument(help="Name of the program, or its Distributor's address.")
]


@contextmanager
def open_context() -> Iterator[Context]:
    """The context of the environment's settings.

    An expected failure inside becomes one clear line and exit code 1.
    """
    with failures():
        context = Context(settings())
        try:
            yield context
        finally:
            context.close()


def load_program(context: Context, name: str) -> Program:
    """The program. Raises NotFound, and Conflict if it is on another chain than the node."""
    with context.database.transaction() as session:
        row = programs.get(session, name)
    context.require_chain(row)
    return row
