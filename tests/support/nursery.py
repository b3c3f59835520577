"""The Python services of a test's stack, forked from a process that has imported their libraries.

    Stack(folder, spawn=spawn)

A service spends two seconds of a core on importing web3, SQLAlchemy, Celery and FastAPI, and the
kill tests start more than a hundred. Here these libraries are imported once. The project's own
modules are not: each service imports them with its own environment. How a user starts a service,
with a new interpreter each time, is under test in tests/devstack.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import IO, Any

LIBRARIES = (
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "eth_account",
    "fastapi",
    "httpx",
    "kombu.transport.redis",
    "psycopg",
    "pydantic_settings",
    "redis.asyncio",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.orm",
    "structlog",
    "uvicorn.lifespan.on",
    "uvicorn.main",
    "uvicorn.protocols.http.auto",
    "wasmtime",
    "web3.middleware",
)
"""Not prometheus_client: it reads the environment when it is imported."""


class Forked:
    """What a stack uses of a Popen."""

    def __init__(self, process: ForkServerProcess, args: Sequence[str]) -> None:
        self._process = process
        self.args = args
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None as long as it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        return self.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


@cache
def _nursery() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context


def spawn(command: Sequence[str], **options: Any) -> Any:
    """`python -m MODULE` by fork, anything else by Popen. Takes what `Stack.start` gives."""
    if list(command[:2]) != [sys.executable, "-m"]:
        return subprocess.Popen(command, **options)
    output: IO[bytes] = options["stdout"]
    process = _nursery().Process(
        target=_become, args=(command[2:], options["env"], options["cwd"], output.name)
    )
    process.start()
    assert process.pid is not None
    # From then on a signal to its group finds it.
    while process.exitcode is None and os.getpgid(process.pid) != process.pid:
        time.sleep(0.001)
    return Forked(process, command)


def _become(module: Sequence[str], env: Mapping[str, str], cwd: Path, log: str) -> None:
    """In the forked process: what `python -m` does."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for number, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(source, number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = list(module)
    os.setsid()
    runpy.run_module(module[0], run_name="__main__", alter_sys=True)
