"""The gears of the suite: each test runs in exactly one, by what it starts.

pure     nothing but this process and short-lived helpers of it
db       PostgreSQL, and a server of the API inside this process
chain    Anvil, or the proving tools: circom, snarkjs, the Groth16 process
stack    a whole local stack, whose processes are killed and restarted

A test's gear follows from what it can reach: the fixtures it asks for and the functions of tests/
that it and they call. What cannot be seen that way has a mark of its own. A test that starts a
program of a higher gear fails, so a gear's name can be relied on.
"""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

GEARS = ("pure", "db", "chain", "stack")
STARTS = {
    ("tests.support.postgres", "postgres"): "db",
    ("scripts.anvil", "anvil"): "chain",
    ("prover.groth16", "Prover"): "chain",
    ("prover.groth16", "Groth16Process"): "chain",
    ("prover.groth16", "dev_key"): "chain",
    ("prover.circuit", "compile_instance"): "chain",
    ("tests.prover.forge", "Compiler"): "chain",
    ("scripts.rehearsal_ptau", "rehearsal_ptau"): "chain",
    ("backend.devstack.local", "start_local"): "stack",
}
"""Functions that start a program of a gear."""
MODULES = {"prover.ceremony": "chain", "prover.key_store": "chain"}
"""Modules of which any use counts."""
FOLDERS = {
    "tests/integration": "stack",
    "tests/devstack": "stack",
    "tests/contracts": "chain",
    "tests/contracts_fuzz": "chain",
}
"""Folders of one gear."""
PROGRAMS = {
    "initdb": "db",
    "pg_ctl": "db",
    "postgres": "db",
    "redis-server": "stack",
    "anvil": "chain",
    "node": "chain",
    "circom2": "chain",
    "snarkjs": "chain",
    "rapidsnark": "chain",
}
"""Executables and the lowest gear that may start them."""
ID_LENGTH = 60
SOAK = "soak"
"""Tests with this mark take minutes, or go on for as long as one likes: `make soak` runs them, and
no other command does."""
FIRST = (
    "tests/integration/test_unprovable.py",
    "tests/integration/test_failures.py",
    "tests/integration/test_kill_worker.py",
    "tests/devstack/test_operations.py",
    "tests/devstack/test_commands.py",
)
"""The files that take longest, begun before the others so that none is waited for at the end."""


# -- Which gear a test has


@cache
def reached(function: Any) -> str:
    """The highest gear that a function of tests/ can reach by the names in its code."""
    highest, seen, queue = "pure", set(), [function]
    while queue:
        found = unwrapped(queue.pop())
        if id(found) in seen:
            continue
        seen.add(id(found))
        highest = max(highest, gear_of(found), key=GEARS.index)
        name = getattr(found, "__module__", None) or ""
        if isinstance(found, FunctionType) and name.startswith("tests."):
            queue += mentioned(found)
        elif inspect.isclass(found) and name.startswith("tests."):
            queue += [value for value in vars(found).values() if callable(unwrapped(value))]
    return highest


def unwrapped(value: Any) -> Any:
    """The function behind a fixture, a partial, a property or a decorator."""
    while True:
        if isinstance(value, partial):
            value = value.func
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, staticmethod | classmethod):
            value = value.__func__
        elif hasattr(value, "_get_wrapped_function"):
            value = value._get_wrapped_function()
        elif not inspect.isclass(value) and hasattr(value, "__wrapped__"):
            value = value.__wrapped__
        else:
            return value


def gear_of(value: Any) -> str:
    """The gear that a named thing itself stands for."""
    if isinstance(value, ModuleType):
        return MODULES.get(value.__name__, "pure")
    place = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return STARTS.get(place, "pure")


def mentioned(function: FunctionType) -> Iterator[Any]:
    """The values of all global names in a function, and attributes of the modules among them."""
    names = set(all_names(function.__code__))
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield value
        if isinstance(value, ModuleType):
            yield from (vars(value)[part] for part in names & vars(value).keys())


def all_names(code: CodeType) -> Iterator[str]:
    """Global and attribute names in a function's code and in the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_names(constant)


def gear_by_reach(item: pytest.Function) -> str:
    """The gear of a test without a mark."""
    path = item.path.relative_to(Path(__file__).parents[2]).as_posix()
    for folder, gear in FOLDERS.items():
        if path.startswith(folder + "/"):
            return gear
    functions = [item.function]
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        functions += [definition.func for definition in definitions]
    return max(map(reached, functions), key=GEARS.index)


def marked(item: pytest.Item) -> set[str]:
    return {mark.name for mark in item.iter_markers() if mark.name in GEARS}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test its gear, before `-m` selects by it. Raises UsageError for a test with two."""
    if config.getoption("soak_seed") is None:
        left_out = [item for item in items if item.get_closest_marker(SOAK)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if isinstance(item, pytest.Function) and not marked(item):
            item.add_marker(gear_by_reach(item))
        if len(marked(item)) != 1:
            raise pytest.UsageError(f"{item.nodeid}: expected one gear, got {marked(item)}")
        # Tests of one file run in one process, so that they share its fixtures.
        item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=turn)


def gear(item: pytest.Item) -> str:
    return next(iter(marked(item)))


def turn(item: pytest.Item) -> tuple[int, int]:
    """Files that take long come first, then the higher gears."""
    path = item.nodeid.partition("::")[0]
    return FIRST.index(path) if path in FIRST else len(FIRST), -GEARS.index(gear(item))


# -- What a test may start

_running: list[str] = []


def watch_programs(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: refuses a program of a higher gear than the running test's."""
    if event != "subprocess.Popen" or not _running:
        return
    executable, command = arguments[0], arguments[1]
    words = [executable, *(command if isinstance(command, list | tuple) else [command])][:2]
    for name in (Path(str(word)).name for word in words):
        needed = PROGRAMS.get(name, "pure")
        if GEARS.index(needed) > GEARS.index(_running[-1]):
            raise AssertionError(f"a {_running[-1]} test starts {name}: it has gear {needed}")


@contextmanager
def running(name: str) -> Iterator[None]:
    """A test of this gear runs."""
    _running.append(name)
    try:
        yield
    finally:
        _running.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Set-up and call of the test know its gear."""
    with running(gear(item)):
        return (yield)


def pytest_make_parametrize_id(config: pytest.Config, val: object) -> str | None:
    """A long text or a nested one does not become a name: names are copied between processes."""
    if isinstance(val, str | bytes) and len(val) > ID_LENGTH:
        return f"{val[:ID_LENGTH]!r} of {len(val)}"
    return None


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--soak-seed SEED` includes the tests of the soak, which draw what is random from it."""
    parser.addoption("--soak-seed", type=int, help="run the long tests too, with this seed")


@pytest.fixture(scope="session")
def soak_seed(pytestconfig: pytest.Config) -> int:
    """The seed of this round of a soak."""
    return int(pytestconfig.getoption("soak_seed"))


def pytest_configure(config: pytest.Config) -> None:
    """The audit hook cannot be taken away again; it is added once a process."""
    if not getattr(sys, "_guerdon_gears", False):
        sys.addaudithook(watch_programs)
        sys._guerdon_gears = True  # type: ignore[attr-defined] # a mark on the interpreter itself
