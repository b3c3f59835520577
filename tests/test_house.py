"""The house rules that a machine can check: import arrows, no float near money, short functions and
files, licences, clean text.

An exception is a line here, with its reason.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git would put into a clean clone: tracked, or new and not ignored."""
    run = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(
        path for path in (ROOT / line for line in run.stdout.splitlines()) if path.is_file()
    )


def sources(*folders: str) -> list[Path]:
    """Python files below the folders (or files) of the tree, as paths relative to it."""
    found = [path.relative_to(ROOT) for path in tracked() if path.suffix == ".py"]
    return [path for path in found if any(path.is_relative_to(folder) for folder in folders)]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names of the modules that a file imports; `from a import b` counts as a, and as a.b
    where that is a module."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module)
            names |= {
                f"{node.module}.{alias.name}"
                for alias in node.names
                if is_module(f"{node.module}.{alias.name}")
            }
    return frozenset(names)


def is_module(name: str) -> bool:
    where = ROOT / name.replace(".", "/")
    return where.with_suffix(".py").exists() or (where / "__init__.py").exists()


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def offenders(
    folders: tuple[str, ...], packages: tuple[str, ...], allowed: tuple[str, ...] = ()
) -> list[str]:
    """`file: module` of every import of `packages` below `folders`, but in `allowed` files and
    folders."""
    return [
        f"{path}: {name}"
        for path in sources(*folders)
        if not any(path.is_relative_to(free) for free in allowed)
        for name in sorted(imports(path))
        if within(name, *packages)
    ]


def test_the_tree_is_seen() -> None:
    """The checks below look at something: the packages are there, and an import that stands in the
    source is found."""
    assert {path.parts[0] for path in sources("backend", "prover", "scripts", "tests")} == {
        "backend",
        "prover",
        "scripts",
        "tests",
    }
    assert "prover.state" in imports(Path("backend/batch/content.py"))
    assert "backend.ledger.service" in imports(Path("backend/interaction/service.py"))


def test_prover_knows_nothing_of_the_backend() -> None:
    """The prover has no database, no network and no backend: it can be read, run and audited by
    itself."""
    assert (
        offenders(
            ("prover",),
            (
                "backend",
                "tests",
                "scripts",
                "web3",
                "sqlalchemy",
                "fastapi",
                "celery",
                "redis",
                "httpx",
            ),
        )
        == []
    )


def test_only_proof_proves() -> None:
    """Only proof/ imports the half of prover that proves. keys may be used where a verifying key is
    compared, pairing by the auditor."""
    files = (
        "statement",
        "groth16",
        "groth16_client",
        "groth16_process",
        "engine",
        "witness",
        "ceremony",
        "zkey",
    )
    proving = tuple(f"prover.{name}" for name in files)
    # The command line makes and imports keys.
    assert offenders(("backend",), proving, ("backend/proof", "backend/cli")) == []
    deploys = (
        "backend/chain/deploy.py",
        "backend/chain/local.py",
        "backend/program/service.py",
        "backend/cli",
        "backend/devstack",
    )
    assert (
        offenders(("backend",), ("prover.keys",), ("backend/proof", "backend/audit", *deploys))
        == []
    )
    assert (
        offenders(
            ("backend",),
            ("prover.key_store",),
            ("backend/proof", "backend/audit/keys.py", "backend/cli", "backend/devstack"),
        )
        == []
    )
    assert offenders(("backend",), ("prover.pairing",), ("backend/audit",)) == []


def test_only_chain_and_signer_talk_to_the_chain() -> None:
    """web3 is imported by chain/ and signer/ alone: everything else gets plain values from them."""
    assert offenders(("backend", "prover"), ("web3",), ("backend/chain", "backend/signer")) == []


def test_the_gpl_library_has_a_process_of_its_own() -> None:
    """groth16py is imported by the program that runs apart, and by nothing that is linked with
    it."""
    assert (
        offenders(
            ("backend", "prover", "scripts", "tests"),
            ("groth16py",),
            ("prover/groth16_process.py",),
        )
        == []
    )
    assert offenders(("backend", "prover", "scripts", "tests"), ("prover.groth16_process",)) == []


def test_nothing_imports_the_composition_roots() -> None:
    """api, tasks, cli and devstack import everything and are imported by nothing below them."""
    roots = ("backend.api", "backend.tasks", "backend.cli", "backend.devstack", "backend.main")
    may = ("backend/api", "backend/cli", "backend/devstack", "backend/main.py")
    assert offenders(("backend", "prover"), roots, may) == []
    assert offenders(("backend/api",), roots[1:]) == []
    assert offenders(("backend/tasks.py",), roots) == []


def test_kit_is_free_of_the_domain() -> None:
    """kit/ imports nothing of ours but itself and the errors; errors and config import nothing."""
    ours = ("backend", "prover")
    kit = [
        line
        for line in offenders(("backend/kit",), ours)
        if not within(line.split(": ")[1], "backend.kit", "backend.errors")
    ]
    assert kit == []
    assert offenders(("backend/errors.py", "backend/config.py"), ours) == []


KIT = (
    "address", "body", "http", "log", "metrics", "processes",
    "server", "time", "failpoint", "strict_json", "files",
)  # fmt: skip
ATTESTOR_MAY = (
    "backend.attestor",
    "backend.chain",
    "backend.signer",
    "backend.partner.report",
    "backend.partner.evidence",
    "backend.partner.schemes",
    "backend.errors",
    *(f"backend.kit.{name}" for name in KIT),
)
AUDITOR_KIT = ("backend.kit.address", "backend.kit.terminal", "backend.kit.token")
AUDITOR_MAY = ("backend.audit", "backend.chain", "backend.errors", *AUDITOR_KIT)
DATABASE = (
    "backend.kit.db",
    "backend.chain.models",
    "backend.chain.sender",
    "sqlalchemy",
    "psycopg",
)


@pytest.mark.parametrize(
    ("folder", "may"), [("backend/attestor", ATTESTOR_MAY), ("backend/audit", AUDITOR_MAY)]
)
def test_attestor_and_auditor_stand_alone(folder: str, may: tuple[str, ...]) -> None:
    """They share small pure modules with the backend, never its database, not even through what
    they import imports."""
    packages = {
        "backend",
        *(".".join(name.split(".")[:i]) for name in may for i in range(1, name.count(".") + 1)),
    }
    wrong = [
        line for line in offenders((folder,), ("backend",)) if not within(line.split(": ")[1], *may)
    ]
    assert [line for line in wrong if line.split(": ")[1] not in packages] == []
    seen, queue = set(), list(sources(folder))
    while queue:
        path = queue.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imports(path):
            assert not within(name, *DATABASE), f"{folder} reaches {name} through {path}"
            if within(name, "backend", "prover"):
                where = Path(name.replace(".", "/"))
                queue += [
                    p
                    for p in (where.with_suffix(".py"), where / "__init__.py")
                    if (ROOT / p).exists()
                ]
    assert len(seen) > len(sources(folder))


MONEY = (
    "backend/client",
    "backend/ledger",
    "backend/interaction",
    "backend/batch",
    "backend/payout",
    "backend/invariant",
    "backend/account",
    "backend/kit/amount.py",
    "backend/kit/schema.py",
    "backend/kit/token.py",
    "backend/settlement",
    "backend/chain",
    "backend/attestor/rules.py",
    "backend/audit/replay.py",
    "prover",
)
NO_MONEY = {
    "backend/chain/web3_node.py": "the back-off of a retry",
    "backend/chain/deploy.py": "how often a receipt is asked for",
}
SECONDS = re.compile(r"(^|_)seconds$", re.IGNORECASE)
"""The one thing that may be a fraction: a duration on this machine's clock, by name."""


def floats(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, what) of every float literal, float() call, `float` name and true division, but for
    names of durations."""
    excused: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and SECONDS.search(target.id):
                excused |= set(ast.walk(node))
        elif isinstance(node, ast.arguments):
            excused |= durations(node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and is_path(node):
            excused.add(node)
    for node in ast.walk(tree):
        if node in excused:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, f"the literal {node.value}"
        elif isinstance(node, ast.Name) and node.id in ("float", "Float"):
            yield node.lineno, "float"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "a true division"


def durations(arguments: ast.arguments) -> set[ast.AST]:
    """Annotations and defaults of the parameters that are durations."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    pairs = [
        *zip(positional, defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return {
        part
        for name, default in pairs
        if SECONDS.search(name.arg)
        for node in (name, default)
        if node is not None
        for part in ast.walk(node)
    }


def is_path(node: ast.BinOp) -> bool:
    """Whether a `/` joins paths: something in the chain is a text, or is called a path."""
    parts = [
        part
        for part in ast.walk(node)
        if isinstance(part, ast.Constant | ast.Name | ast.JoinedStr | ast.Attribute)
    ]
    return any(
        isinstance(part, ast.JoinedStr)
        or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in parts
    ) or any(isinstance(part, ast.Attribute) and part.attr in ("path", "parent") for part in parts)


def test_the_float_scan_sees_floats() -> None:
    """The scan finds each kind, and excuses durations and paths."""
    text = (
        "a = 1.5\nb = float(x)\nc = x / y\nc /= 2\nWAIT_SECONDS = 0.3\ndef f(settle_seconds: "
        "float = 1.0): ...\np = folder / 'x'\nd: float"
    )
    assert sorted(line for line, _ in floats(ast.parse(text))) == [1, 2, 3, 4, 8]


def test_no_float_near_money() -> None:
    """No float literal, no float(), no true division where amounts are handled."""
    assert [
        f"{path}:{line}: {what}"
        for path in sources(*MONEY)
        if str(path) not in NO_MONEY
        for line, what in floats(parsed(path))
    ] == []


LONG_FUNCTIONS = {
    "backend/migrations/versions/0001_initial.py: upgrade": "generated: one statement a table"
}
LONG_FILES = {"backend/migrations/versions/0001_initial.py": "generated: one statement a table"}


def test_functions_are_short() -> None:
    """A function fits on a screen."""
    long = {
        f"{path}: {node.name}"
        for path in sources("backend", "prover", "scripts", "tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    }
    assert long == set(LONG_FUNCTIONS)


def test_files_are_short() -> None:
    """A file has one job: at most some 500 lines, Solidity and circom included."""
    code = [path for path in tracked() if path.suffix in (".py", ".sol", ".yul", ".circom")]
    long = {
        str(path.relative_to(ROOT))
        for path in code
        if len(path.read_text().splitlines()) > FILE_LINES_MAX
    }
    assert long == set(LONG_FILES)


def test_every_module_says_what_it_is() -> None:
    """Every Python module and package of the product, and every test file, begins with a
    docstring."""
    missing = [
        str(path)
        for path in sources("backend", "prover", "scripts")
        if not ast.get_docstring(parsed(path))
    ]
    missing += [
        str(path)
        for path in sources("tests")
        if path.name != "__init__.py" and not ast.get_docstring(parsed(path))
    ]
    assert missing == []


def test_every_test_states_its_claim() -> None:
    """Each test has a docstring, and none is skipped or expected to fail."""
    missing = []
    for path in sources("tests"):
        for node in ast.walk(parsed(path)):
            if (
                isinstance(node, ast.FunctionDef)
                and node.name.startswith("test_")
                and not ast.get_docstring(node)
            ):
                missing.append(f"{path}: {node.name}")
            if isinstance(node, ast.Attribute) and node.attr in ("skip", "skipif", "xfail"):
                missing.append(f"{path}:{node.lineno}: {node.attr}")
    assert missing == []


def test_public_functions_have_annotations() -> None:
    """Functions of the product say what they take and return."""
    bare = [
        f"{path}:{node.lineno}: {node.name}"
        for path in sources("backend", "prover")
        if not path.is_relative_to("backend/migrations/versions")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(
            a.annotation is None and a.arg not in ("self", "cls")
            for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        )
    ]
    assert bare == []


def test_licence() -> None:
    """Contracts and circuits say Apache-2.0; no GPL text, and none of the GPL's generated code, is
    in the tree."""
    for path in tracked():
        text = path.read_bytes()
        if path.suffix in (".sol", ".yul", ".circom"):
            assert b"SPDX-License-Identifier: Apache-2.0" in text, path
        if path.name not in ("package-lock.json", Path(__file__).name):
            assert b"GNU " + b"General Public License" not in text, path
            assert not re.search(rb"SPDX-License-Identifier:\s*A?L?GPL", text), path
        assert path.name not in ("witness_calculator.js", "generate_witness.js"), path
        assert "circomlib" not in path.parts, path
    assert b"Apache License" in (ROOT / "LICENSE").read_bytes()


MACHINE = re.compile(r"/(?:work|home|Users)/[a-z]|/tmp/[a-z]|/root/|\.\./shared\b")
MACHINE_MAY = {
    "docker-compose.yml": ("/tmp/beat",),  # inside its own containers
    "tests/prover/test_cache.py": (
        "/home/somebody",
    ),  # a home of nobody's, to see where the cache would be
}


def test_no_machine_s_paths() -> None:
    """Nothing names a folder of some machine: a clone works wherever it lies."""
    found = []
    for path in tracked():
        name = str(path.relative_to(ROOT))
        if path.suffix in (".json", ".lock", ".png") or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if MACHINE.search(line) and not any(part in line for part in MACHINE_MAY.get(name, ())):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert found == []


def test_no_secret_is_tracked() -> None:
    """No private key, keystore or environment file lies in the tree, and nothing that must be built
    does either."""
    names = [str(path.relative_to(ROOT)) for path in tracked()]
    assert [
        name
        for name in names
        if re.search(r"(^|/)\.env$|\.pem$|\.key$|\.zkey$|\.wtns$|\.r1cs$|\.ptau$|proving_key", name)
    ] == []
    # Inputs of tests: the last of Anvil's ten keys, which everybody has.
    public = ROOT / "tests/signer/keystores"
    for path in tracked():
        if path.parent == public:
            continue
        if path.suffix in (".json", ".py", ".toml", ".yml", ".md", ""):
            text = path.read_text(errors="replace")
            assert "BEGIN " + "PRIVATE KEY" not in text, path
            assert not ('"crypto"' in text and '"ciphertext"' in text and path.suffix == ".json"), (
                path
            )
