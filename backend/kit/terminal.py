"""Standard output and standard error of a command.

Data goes to standard output, messages to standard error. JSON is plain text, whatever the
environment asks for. Where a stream is no terminal, nothing is wrapped and nothing is cut: a
program or a file reads it. FORCE_COLOR and NO_COLOR decide over colours, never over the text.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

UNCUT = 100_000
"""Columns of a stream that is no terminal."""


class OutputError(Exception):
    """What was to be said could not be written. The message says why."""


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error.strerror) from error


class Stream:
    """One of the two streams. Each call looks at the environment and at the stream again: tests and
    daemons replace both."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._console: tuple[tuple[object, ...], Console] | None = None
        self.documents = 0
        """How many JSON documents were printed."""

    @property
    def file(self) -> TextIO:
        stream: TextIO = getattr(sys, self._name)
        return stream

    @property
    def is_terminal(self) -> bool:
        return self.file.isatty()

    def console(self) -> Console:
        """The console that writes to the stream: the same one as long as nothing changes, since a
        line that moves must know what is printed above it."""
        forced = os.environ.get("FORCE_COLOR", "") != "" and not os.environ.get("NO_COLOR")
        made_for = (self.file, self.is_terminal, forced, os.environ.get("TERM"))
        if self._console is None or self._console[0] != made_for:
            console = Console(
                file=self.file,
                force_terminal=self.is_terminal,
                color_system="standard" if forced else "auto",
                width=None if self.is_terminal else UNCUT,
                emoji=False,
                highlight=False,
            )
            self._console = (made_for, console)
        return self._console[1]

    def print(self, what: str | Text | Table = "", *, style: str | None = None) -> None:
        """A line or a table. Text is taken as it is: brackets mean nothing. Raises OutputError."""
        with _written():
            if isinstance(what, Table):
                if what.title:
                    # A line of its own: a title in the table is folded to the table's width.
                    self.console().print(what.title, soft_wrap=True, style=what.title_style)
                what.title = None
                self.console().print(what)
            else:
                self.console().print(what, style=style, markup=False, soft_wrap=True)

    def status(self, text: str) -> Status:
        """A line that changes; shown on a terminal alone."""
        return self.console().status(text)

    def document(self, value: object) -> None:
        """`value` as one JSON document of plain ASCII. Raises OutputError."""
        with _written():
            self.file.write(json.dumps(value, indent=2) + "\n")
            self.file.flush()
        self.documents += 1


def new_table(title: str, *columns: str) -> Table:
    """A table whose cells are folded where a terminal is narrow: nothing in it is cut."""
    table = Table(title=Text(title), title_justify="left")
    for name in columns:
        table.add_column(Text(name.replace("_", " ")), overflow="fold")
    return table


def cell(value: object) -> Text:
    """A value as a table shows it. It is text, not markup: names and reasons hold brackets."""
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}", justify="right")
    if isinstance(value, list | tuple):
        return Text("\n".join(map(str, value)))
    return Text("" if value is None else str(value))


output = Stream("stdout")
errors = Stream("stderr")
