"""What a command writes: plain JSON, uncut tables, and colours only where they are wanted."""

import io
import json
import re
import sys

import pytest

from backend.kit.terminal import Stream, cell, new_table

DIGEST = "0x" + "5d" * 32


class Screen(io.StringIO):
    """Standard output that may be a terminal."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    made = Screen()
    monkeypatch.setattr(sys, "screen", made, raising=False)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return made


def table() -> object:
    made = new_table("A list [of] digests", "digest", "reason")
    made.add_row(cell(DIGEST), cell("held: [budget] :lock: " * 20))
    return made


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", ["FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "NOTHING"])
def test_json_is_plain(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, name: str, terminal: bool
) -> None:
    """Whatever the environment asks for, and on a terminal too: ASCII without a colour code."""
    screen.terminal = terminal
    monkeypatch.setenv(name, "1")
    Stream("screen").document({"secret": "whsec_[bold]1", "name": "Zoë"})
    assert "\x1b" not in screen.getvalue()
    assert screen.getvalue().isascii()
    assert json.loads(screen.getvalue()) == {"secret": "whsec_[bold]1", "name": "Zoë"}


@pytest.mark.parametrize("columns", ["", "1", "20", "80"])
@pytest.mark.parametrize("term", ["dumb", "xterm", ""])
def test_a_pipe_gets_whole_lines(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, columns: str, term: str
) -> None:
    """Where standard output is no terminal, a row is one line with every character of it, whatever
    COLUMNS says."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", term)
    stream = Stream("screen")
    stream.print(table())
    stream.print(f"{DIGEST} " * 10)
    lines = screen.getvalue().splitlines()
    assert lines[0] == "A list [of] digests"
    assert sum(DIGEST in line and "held: [budget] :lock: " * 19 in line for line in lines) == 1
    assert lines[-1].count(DIGEST) == 10


@pytest.mark.parametrize("columns", ["12", "30", "79"])
def test_a_narrow_terminal_folds(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """On a terminal no line is longer than it is wide, and nothing is left out."""
    screen.terminal = True
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    made = new_table("", "digest")
    made.add_row(cell(DIGEST))
    Stream("screen").print(made)
    shown = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    assert DIGEST in "".join(part for part in shown if part.isalnum())
    assert max(map(len, shown.splitlines())) <= int(columns)


def test_colours(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe only where FORCE_COLOR asks, never against NO_COLOR; on a dumb terminal never."""
    stream = Stream("screen")
    for environment, terminal, coloured in (
        ({}, False, False),
        ({}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            screen.terminal = terminal
            screen.seek(0)
            screen.truncate()
            stream.print("red", style="red")
        assert ("\x1b[31m" in screen.getvalue()) == coloured, (environment, terminal)
        assert "red" in screen.getvalue()
