"""What a command of the operator works with, opened from the environment's settings.

Modules of commands import at their head only what `--help` needs. What a command works with takes a
second to import: it is imported in the command.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.failures import failures

if TYPE_CHECKING:
    from backend.config import Settings
    from backend.context import Context
    from backend.program.models import Program

ProgramName = Annotated[
    str, typer.Argument(help="Name of the program, or its Distributor's address.")
]


def settings() -> "Settings":
    """The environment's settings."""
    from backend import config

    return config.settings()


@contextmanager
def open_context() -> Iterator["Context"]:
    """The context of the environment's settings.

    An expected failure inside becomes one clear line and exit code 1.
    """
    from backend.context import Context

    with failures():
        context = Context(settings())
        try:
            yield context
        finally:
            context.close()


def halt_text(program: "Program") -> str:
    """Why a halted program is halted, and the operator's next step."""
    from backend.program.halts import what_to_do

    return f"the program is halted: {program.halted}; {what_to_do(program.name)}"


def load_program(context: "Context", name: str) -> "Program":
    """The program. Raises NotFound, and Conflict if it is on another chain than the node."""
    from backend.cli.names import find_program

    with context.database.transaction() as session:
        row = find_program(session, name)
    context.require_chain(row)
    return row
