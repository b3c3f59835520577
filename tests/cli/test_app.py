"""How every command starts and ends, whatever the shell hands over."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from backend.cli.app import Commands, Root
from backend.errors import Conflict
from backend.kit.terminal import errors, output
from backend.main import app

GUERDON = Path(sys.executable).parent / "guerdon"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command line of bash in which `guerdon` is ours."""
    return subprocess.run(
        ["bash", "-c", line.replace("guerdon", str(GUERDON))],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("words", ["--version", "--help", "keys list --json", "keys list"])
def test_a_reader_that_leaves(words: str, tmp_path: Path) -> None:
    """`| head` may close the pipe at any time: no traceback, and no complaint at the exit."""
    done = shell(f"(sleep 0.1; guerdon {words}; echo $? >&2) | true", GUERDON_CACHE=str(tmp_path))
    assert done.stderr.split() == ["1"]


def test_standard_output_that_is_closed_or_full(tmp_path: Path) -> None:
    """What cannot be written is told, and ends with 1; a closed output before anything is done."""
    closed = shell(f"guerdon keystore new {tmp_path}/key.json >&-", GUERDON_KEYSTORE_PASSWORD="x")
    assert (closed.returncode, closed.stderr.count("\n")) == (1, 1)
    assert "standard output is closed" in closed.stderr
    assert not (tmp_path / "key.json").exists()
    full = shell("guerdon keys list --json > /dev/full", GUERDON_CACHE=str(tmp_path))
    assert (full.returncode, full.stderr) == (
        1,
        "error: standard output: No space left on device\n",
    )


def test_streams_of_another_kind(tmp_path: Path) -> None:
    """An encoding without the characters, and a closed standard input, stop nothing."""
    folder = tmp_path / "Zoë"
    done = shell(
        "guerdon keys list <&-", GUERDON_CACHE=str(folder), PYTHONIOENCODING="ascii", LC_ALL="C"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Zo\\xeb" in done.stdout
    asked = shell("guerdon keystore address key.json <&- 2>&1", GUERDON_KEYSTORE_PASSWORD="")
    assert asked.returncode == 1
    assert "Traceback" not in asked.stdout
    assert "error: standard input ended before there was an answer" in asked.stdout


def small(act: object) -> typer.Typer:
    """A command line with the one group `do`, whose command `it` runs `act`."""
    made, group = Commands(cls=Root), Commands(help="Things to do.")
    made.add_typer(group, name="do")

    @group.command()
    def it() -> None:
        """Do it."""
        act()  # type: ignore[operator]  # a test's own

    @group.command()
    def other() -> None:
        """Do the other."""

    return made


def interrupt() -> None:
    raise KeyboardInterrupt


def refuse() -> None:
    raise Conflict("program: it is [halted]", "program")


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with 130 and without a traceback, in a question too."""
    done = CliRunner().invoke(small(interrupt), ["do", "it"])
    assert (done.exit_code, done.output) == (130, "")

    def typed(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    def ask() -> None:
        monkeypatch.setattr("typer._click.termui.visible_prompt_func", typed)
        typer.prompt("Name")

    assert CliRunner().invoke(small(ask), ["do", "it"]).exit_code == 130


def test_a_failure_is_one_line_and_one_document() -> None:
    """The line on standard error; with --json the API's shape on standard output."""
    done = CliRunner().invoke(small(refuse), ["do", "it"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "error: program: it is [halted]\n"
    done = CliRunner().invoke(small(refuse), ["do", "it", "--json"])
    assert json.loads(done.stdout)["error"] == {
        "code": "conflict",
        "message": "program: it is [halted]",
        "field": "program",
        "retryable": False,
    }
    assert (done.exit_code, done.stderr) == (1, "error: program: it is [halted]\n")


def test_a_mistake_of_ours_is_not_hidden() -> None:
    """What nobody expects keeps its traceback."""
    done = CliRunner().invoke(small(lambda: {}["x"]), ["do", "it", "--json"])
    assert isinstance(done.exception, KeyError)


def test_one_document() -> None:
    """A command without data prints an empty document with --json, and nothing without."""
    assert CliRunner().invoke(small(lambda: None), ["do", "it", "--json"]).stdout == "{}\n"
    assert CliRunner().invoke(small(lambda: errors.print("x")), ["do", "it"]).stdout == ""
    given = CliRunner().invoke(small(lambda: output.document([1])), ["do", "it", "--json"])
    assert json.loads(given.stdout) == [1]


@pytest.mark.parametrize(
    ("words", "said", "help_of"),
    [
        ("progam list", "No such command 'progam'. Did you mean 'program'?", "guerdon"),
        ("batch lits", "No such command 'lits'. Did you mean 'list'?", "guerdon batch"),
        ("batch list x --limt 3", "No such option: --limt", "guerdon batch list"),
        ("batch list", "Missing argument 'program'.", "guerdon batch list"),
        (
            "batch list x --limit 0",
            "'--limit': Input should be greater than or equal to 1",
            "guerdon batch list",
        ),
        ("watch x --follow --json", "--follow: it has no end", "guerdon watch"),
    ],
)
def test_a_wrong_command_line(words: str, said: str, help_of: str) -> None:
    """What is wrong, in one line, what is meant perhaps, and where help is; exit code 2."""
    for more in ([], ["--json"]):
        done = CliRunner().invoke(app, [*words.split(), *more], prog_name="guerdon")
        reason, hint = done.stderr.splitlines()
        assert (done.exit_code, hint) == (2, f"See `{help_of} --help`.")
        assert said in reason
        if more or "--json" in words:
            assert json.loads(done.stdout)["error"]["code"] == "usage"
        else:
            assert done.stdout == ""


def short_helps(command: Any, *words: str) -> Iterator[tuple[str, str]]:
    """(command, its line in the help of the group above it) of all commands and groups."""
    for name, sub in getattr(command, "commands", {}).items():
        yield " ".join((*words, name)), sub.get_short_help_str(60)
        yield from short_helps(sub, *words, name)


def test_help_is_whole() -> None:
    """A group's help has one whole sentence for each command, and a command's help the whole name
    of each option, however narrow the terminal."""
    lines = dict(short_helps(typer.main.get_command(app)))
    assert len(lines) > 30
    assert [name for name, line in lines.items() if not line.endswith(".") or "..." in line] == []
    shown = CliRunner().invoke(app, ["program", "deploy", "--help"], env={"COLUMNS": "40"}).stdout
    assert "--i-know-this-key-can-steal-everything" in shown
    bare = CliRunner().invoke(app, ["program"])
    assert (bare.exit_code, bare.stdout) == (2, "")
    assert "Commands:" in bare.stderr


def test_version_and_completion() -> None:
    """`--version` names the program; a shell can ask for what may follow."""
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("guerdon 0.")
    offered = shell(
        "guerdon",
        _GUERDON_COMPLETE="complete_bash",
        COMP_WORDS="guerdon program de",
        COMP_CWORD="2",
    )
    assert (offered.returncode, offered.stdout.split()) == (0, ["deploy"])
    script = shell("guerdon", _GUERDON_COMPLETE="source_bash")
    assert "_GUERDON_COMPLETE" in script.stdout
