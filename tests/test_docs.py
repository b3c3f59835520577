"""The documents: widths, links, commands, paths and words that a machine can check.

A link or a command that leads nowhere costs a reader more than a missing one.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from backend.api.app import create_app
from backend.config import Settings
from backend.main import app
from tests.test_house import is_module, parsed, sources, tracked

ROOT = Path(__file__).parents[1]
COLUMNS_MAX = 100
FOLDERS = "backend|prover|scripts|tests|contracts|docs|examples"
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?:{FOLDERS})(?:/[\w.-]+)+")
DIALECT = {
    "anew": "again",
    "for ever": "always, without limit",
    "whoever": "anyone who, the one who",
    "in vain": "without effect",
    "none such": "not found",
    "so many": "this many, at most n",
    "dear": "expensive",
    "has not the": "does not have the",
    "stands(?! for)": "is, is stored",
    "set aside": "quarantined",
    "suspects?": "quarantine group",
    "strays": "orphaned transactions",
}
"""Words of the house's former dialect, and what the field says instead."""


@cache
def documents() -> tuple[Path, ...]:
    return tuple(path for path in tracked() if path.suffix == ".md")


def lines_by_kind(text: str) -> Iterator[tuple[int, bool, str]]:
    """(number, whether it is code, line) of a Markdown text."""
    fenced = indented = False
    blank = True
    for number, line in enumerate(text.splitlines(), start=1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        # An indented block begins after a blank line or a heading.
        indented = line.startswith("    ") and (blank or indented)
        yield number, fenced or fence or indented, line
        blank = not line.strip() or line.startswith("#")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of the lines that are not code; without code spans and targets of links."""
    for number, is_code, line in lines_by_kind(text):
        if not is_code:
            yield number, LINK.sub(r"\1", re.sub(r"`[^`]*`", "", line))


def dialect(text: str) -> list[str]:
    """The words of `DIALECT` that a text holds."""
    return [word for word in DIALECT if re.search(rf"\b{word}\b", text, re.IGNORECASE)]


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    plain = LINK.sub(r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@cache
def anchors(path: Path) -> frozenset[str]:
    return frozenset(
        slug(line.lstrip("#"))
        for _, is_code, line in lines_by_kind(path.read_text())
        if not is_code and re.match(r"#{1,6} ", line)
    )


def dead_links(path: Path) -> Iterator[str]:
    """Relative links of a document whose file or heading does not exist."""
    # The text of a link may go on in the next line.
    text = "\n".join(
        "" if is_code else line for _, is_code, line in lines_by_kind(path.read_text())
    )
    for match in LINK.finditer(text):
        if re.match(r"[a-z]+:", target := match[2]):
            continue
        where = f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.end()) + 1}: {target}"
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists():
            yield f"{where}: no such file"
        elif anchor and anchor not in anchors(file.resolve()):
            yield f"{where}: no such heading"


def code(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of code lines and code spans."""
    for number, is_code, line in lines_by_kind(path.read_text()):
        yield from (
            [(number, line)]
            if is_code
            else [(number, span) for span in re.findall(r"`([^`]+)`", line)]
        )


@cache
def targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def subcommands(command: Any) -> dict[str, Any]:
    """The commands of a group, by name; none of a command. Typer carries a click of its own, so the
    types have no public name."""
    return getattr(command, "commands", {})


def command_faults(words: list[str]) -> str | None:
    """What is wrong with `guerdon ...`, its first word left out; None if the command exists and has
    the options."""
    command = typer.main.get_command(app)
    while (known := subcommands(command)) and words and not words[0].startswith("-"):
        if words[0] not in known:
            return f"no command {words[0]}"
        command, words = known[words[0]], words[1:]
    options = {"--help"} | {
        option for param in command.params for option in (*param.opts, *param.secondary_opts)
    }
    wrong = [word for word in words if word.startswith("--") and word not in options]
    return f"no option {wrong[0]}" if wrong else None


def dead_commands(path: Path) -> Iterator[str]:
    """Commands in code whose make target, subcommand, option or module does not exist."""
    for number, text in code(path):
        where = f"{path.relative_to(ROOT)}:{number}"
        command = re.split(r"\s+#|\s*[&|;…]", text.strip())[0]
        try:
            words = shlex.split(command)
        except ValueError:
            words = command.split()
        if words[:1] == ["make"] and len(words) > 1:
            wanted = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            yield from (f"{where}: make {word}" for word in wanted if word not in targets())
        elif words[:1] == ["guerdon"] and len(words) > 1 and (fault := command_faults(words[1:])):
            yield f"{where}: {command}: {fault}"
        elif "-m" in words and words[0].endswith("python"):
            module = words[words.index("-m") + 1]
            if module.split(".")[0] in FOLDERS.split("|") and not is_module(module):
                yield f"{where}: no module {module}"


def dead_paths(path: Path) -> Iterator[str]:
    """Files and folders of the tree that a document names and that do not exist."""
    for number, text in code(path):
        for name in PATH.findall(text):
            name = name.rstrip(".")
            if "NAME" not in name and "NNNN" not in name and not list(ROOT.glob(name + "*")):
                yield f"{path.relative_to(ROOT)}:{number}: {name}"


def test_lines_fit() -> None:
    """Prose has at most 100 columns; tables, code and the targets of links may have more."""
    assert [
        f"{path.relative_to(ROOT)}:{number}: {len(line)}"
        for path in documents()
        for number, is_code, line in lines_by_kind(path.read_text())
        if not is_code
        and not line.lstrip().startswith("|")
        and len(LINK.sub(r"[\1]", line)) > COLUMNS_MAX
    ] == []


def test_links_lead_somewhere() -> None:
    """Every relative link names a file that exists, and a heading that is in it."""
    assert [fault for path in documents() for fault in dead_links(path)] == []


def test_commands_exist() -> None:
    """Every make target, guerdon command, option and Python module in the documents exists."""
    assert [fault for path in documents() for fault in dead_commands(path)] == []


def test_paths_exist() -> None:
    """Every file of the tree that the documents name exists."""
    assert [fault for path in documents() for fault in dead_paths(path)] == []


def test_settings_and_endpoints_exist() -> None:
    """Every setting that the documents name is one, and every HTTP call is answered by the API or
    by an attestor."""
    source = "".join((ROOT / path).read_text() for path in sources("backend", "prover"))
    settings = {f"GUERDON_{name.upper()}" for name in Settings.model_fields}
    calls = create_app().openapi()["paths"].keys() | set(re.findall(r'"(/v1/\w+)"', source))
    missing = []
    for path in documents():
        text = path.read_text()
        named = set(re.findall(r"\bGUERDON_[A-Z_]*[A-Z]\b", text)) - settings
        missing += [f"{path.name}: {name}" for name in named if name not in source]
        for call in re.findall(r"\b(?:GET|POST) +(/v1/[\w{}/]+)", text):
            known = {re.sub(r"\{\w+\}", "{}", known) for known in calls}
            # NAME in an example is a program's.
            if re.sub(r"\{\w+\}|NAME", "{}", call) not in known:
                missing.append(f"{path.name}: {call}")
    assert missing == []


def test_the_readme_answers_within_a_minute() -> None:
    """README names where the rules are that a stranger asks for first, and fits on two screens."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    for target in (
        "docs/PROTOCOL.md#the-home-bucket-rule",
        "docs/PROTOCOL.md#what-an-attestor-refuses",
        "docs/OPERATIONS.md#where-a-withdrawal-is-recorded",
        "docs/OPERATIONS.md#when-a-batch-is-stuck",
    ):
        assert target in text


def test_documents_hold_no_dialect() -> None:
    """The documents use the field's words; code spans are left alone."""
    assert [
        f"{path.relative_to(ROOT)}:{number}: {word}"
        for path in documents()
        for number, line in prose(path.read_text())
        for word in dialect(line)
    ] == []


def helps(command: Any, name: str = "guerdon") -> Iterator[tuple[str, str]]:
    """(command, text) of every help text that a person can see."""
    yield name, command.help or ""
    for param in command.params:
        yield name, getattr(param, "help", None) or ""
    for sub_name, sub in subcommands(command).items():
        yield from helps(sub, f"{name} {sub_name}")


def descriptions(value: object) -> Iterator[str]:
    """Every description and summary of an OpenAPI document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("description", "summary") and isinstance(inner, str):
                yield inner
            else:
                yield from descriptions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from descriptions(inner)


def test_help_texts_hold_no_dialect() -> None:
    """The command line's help texts and the API's descriptions use the field's words."""
    found = [
        f"{name}: {word}"
        for name, text in helps(typer.main.get_command(app))
        for word in dialect(text)
    ]
    found += [
        f"API: {word}: {text}"
        for text in descriptions(create_app().openapi())
        for word in dialect(text)
    ]
    assert found == []


HEAVY = {
    *("alembic", "celery", "eth_abi", "eth_utils", "fastapi", "groth16py", "httpx", "prover"),
    *("pydantic_settings", "redis", "requests", "sqlalchemy", "structlog", "wasmtime", "web3"),
}
HELP_OF_EVERYTHING = """
import sys
import typer.main
from typer.testing import CliRunner
from backend.main import app

def helped(command, words):
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, words
    for name, sub in getattr(command, "commands", {}).items():
        helped(sub, [*words, name])

helped(typer.main.get_command(app), [])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


HELP_OF_ATTESTOR = """
import runpy, sys
sys.argv = ["attestor", "--help"]
try:
    runpy.run_module("backend.attestor", run_name="__main__")
except SystemExit as end:
    assert end.code == 0
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("program", [HELP_OF_EVERYTHING, HELP_OF_ATTESTOR], ids=["cli", "attestor"])
def test_help_starts_at_once(program: str) -> None:
    """The help of every command, and of the attestor, imports no large library: modules import at
    their head what options need, and in the command what it works with."""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    seen = set(run.stdout.splitlines()[-1].split())
    assert "backend" in seen
    assert seen & HEAVY == set()


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every text of a module that is not a docstring: errors, logs, help."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in documentation:
            yield node.lineno, node.value


def test_messages_hold_no_dialect() -> None:
    """Errors, log lines and help texts in the code use the field's words."""
    assert [
        f"{path}:{number}: {word}: {text}"
        for path in sources("backend", "prover", "scripts")
        if not path.is_relative_to("backend/migrations")
        for number, text in messages(parsed(path))
        for word in dialect(text)
    ] == []


def test_hooks_and_hosted_run_use_the_projects_tools() -> None:
    """Hooks download nothing and name tools that are here; the hosted run calls .ci/run."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in hooks["repos"]} == {"local"}
    for hook in hooks["repos"][0]["hooks"]:
        words = hook["entry"].split()
        tool = Path(words[0])
        assert (Path(sys.executable).parent / tool.name).exists(), hook["id"]
        assert tool.parent == Path(".venv/bin")
        assert hook["language"] == "system"
        if "-m" in words:
            assert is_module(words[2]) or find_spec(words[2])
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))
    hosted = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = [step.get("run") for job in hosted["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in steps
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_scans_see_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scan finds a planted fault, and leaves what is right alone."""
    monkeypatch.setattr("tests.test_docs.ROOT", tmp_path)
    (tmp_path / "Makefile").write_text("setup:\n\ttrue\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# One heading\n[a](#one-heading) [b](#another) [c](gone.md)\n\n"
        "`make setup` `make nothing` `guerdon audit --json` `guerdon audit --jason`\n"
        "`guerdon sing` `python -m backend.nothing` `backend/gone.py`\n\n    make fast   # code\n"
    )
    targets.cache_clear()
    try:
        assert [fault.partition(": ")[2] for fault in dead_links(page)] == [
            "#another: no such heading",
            "gone.md: no such file",
        ]
        assert [fault.partition(": ")[2] for fault in dead_commands(page)] == [
            "make nothing",
            "guerdon audit --jason: no option --jason",
            "guerdon sing: no command sing",
            "no module backend.nothing",
            "make fast",
        ]
        assert list(dead_paths(page)) == ["page.md:5: backend/gone.py"]
    finally:
        targets.cache_clear()
    source = '"""Said anew."""\nraise ValueError(f"{x}: none such")\n'
    assert list(messages(ast.parse(source))) == [(2, ": none such")]
    assert dialect("It is made anew, and stands twice; an item stands for a reward.") == [
        "anew",
        "stands(?! for)",
    ]


def test_decisions_are_numbered_once() -> None:
    """Each ADR has a number of its own, in its name and in its title, and none is left out."""
    found = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(path.name[:4]) for path in found] == list(range(1, len(found) + 1))
    for number, path in enumerate(found, start=1):
        assert path.read_text().startswith(f"# {number}. "), path.name
