"""`guerdon demo` and `guerdon up` from the outside: real processes, real output, nothing left
behind."""

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import termios
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pip._vendor.distlib.scripts import ScriptMaker, enquote_executable
from web3 import Web3

ROOT = Path(__file__).parents[2]
GUERDON = str(Path(sys.executable).parent / "guerdon")
START_SECONDS = 300

A, B, C = (f"0x{digit * 40}" for digit in "123")


class Running:
    """A command that goes on until it is told to stop. As a script starts its background jobs: the
    signals that stop it are ignored at its start."""

    def __init__(
        self,
        *arguments: str,
        log: Path,
        root: Path = ROOT,
        environment: dict[str, str] | None = None,
    ) -> None:
        ignoring = ["sh", "-c", 'trap "" INT HUP; exec "$@"', "sh"]
        guerdon = GUERDON if root == ROOT else str(root / ".venv" / "bin" / "guerdon")
        self._log = log
        with log.open("wb") as output:
            self._process = self._start(
                [*ignoring, guerdon, *arguments],
                cwd=root,
                stdout=output,
                env=os.environ | {"COLUMNS": "200"} | (environment or {}),
            )

    def _start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stderr=subprocess.STDOUT, **options)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output holds `pattern`."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.output):
                return found
            assert self._process.poll() is None, self.output
            time.sleep(0.1)
        raise AssertionError(f"no {pattern!r} in time: {self.output}")

    def family(self) -> list[psutil.Process]:
        """The command's processes, and those of its embedded database, which is nobody's child."""
        own = psutil.Process(self._process.pid)
        folders = {
            match.group()
            for child in own.children(recursive=True)
            for word in _words(child)
            if (match := re.search(r"\.guerdon/[\w-]+", word))
        }
        strangers = [
            p
            for p in psutil.process_iter()
            if any(folder in word for folder in folders for word in _words(p))
        ]
        return list({p.pid: p for p in (own, *own.children(recursive=True), *strangers)}.values())

    def runs(self, command: str) -> bool:
        """Whether one of the processes has a word that ends in `command`."""
        return any(word.endswith(command) for one in self.family() for word in _words(one))

    def stop(self, number: int) -> int:
        """Send a signal; returns the exit code."""
        self._process.send_signal(number)
        return self._process.wait(60)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)


class InTerminal(Running):
    """A command in a terminal of its own, which can be closed."""

    def _start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        self._terminal, end = os.openpty()
        os.set_blocking(self._terminal, False)
        options |= {"stdout": end, "env": options["env"] | {"TERM": "dumb", "NO_COLOR": "1"}}
        try:
            return subprocess.Popen(
                command[-2:],
                stdin=end,
                stderr=end,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                **options,
            )
        finally:
            os.close(end)

    @property
    def output(self) -> str:
        with suppress(OSError), self._log.open("ab") as log:
            while part := os.read(self._terminal, 1 << 16):
                log.write(part)
        return super().output.replace("\r", "")

    def close_terminal(self) -> None:
        """As a user closes the window: the kernel sends SIGHUP, and writing fails from then on."""
        os.close(self._terminal)
        self._process.wait(60)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextmanager
def running(
    *arguments: str, log: Path, kind: type[Running] = Running, **options: Any
) -> Iterator[Any]:
    command = kind(*arguments, log=log, **options)
    try:
        yield command
    finally:
        command.kill()


def assert_gone(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=15)
    assert [(p.pid, _words(p)) for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def guerdon(
    *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GUERDON, *arguments],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_bad_row_is_named_with_its_line(tmp_path: Path) -> None:
    """A list that cannot be used stops the demo before anything is started, naming the line."""
    path = tmp_path / "list.csv"
    path.write_text(f"who,how much\n{A},5\n{B},five\n{C},5\n")
    named = ["--address-column", "who", "--amount-column", "how much"]
    done = guerdon("demo", "--input", str(path), *named)
    assert done.returncode == 1
    assert "line 3" in done.stderr
    assert "five" in done.stderr


def test_any_list_any_columns(tmp_path: Path) -> None:
    """A list with other columns, a token of 6 decimals and a repeated address runs to the end, and
    all is shown in that token; --keep leaves a stack that serves, whose services end on SIGHUP, and
    which ends with them."""
    path, report = tmp_path / "list.csv", tmp_path / "report.json"
    path.write_text(
        f"rank;wallet;tokens;note\n1;{A};1.5;x\n2;{B};0.25;y\n3;{A};2;z\n4;{C};0.000001;w\n"
    )
    options = [
        "--input",
        str(path),
        "--decimals",
        "6",
        "--sum-repeated",
        "--report",
        str(report),
        "--keep",
    ]
    with running("demo", *options, log=tmp_path / "log") as demo:
        demo.wait_for("Running until Ctrl-C")
        assert f"{A} is on lines 2, 4: summed." in demo.output
        facts = json.loads(report.read_text())
        assert "3 accounts, 3.750001 TRW in all." in demo.output
        assert "10,003.750001 TRW" in demo.output
        own = sum(range(1, 5)) * 1000 * 10**6
        assert facts["totals"] == {
            "committed": str(own + 3_750_001),
            "claimed": facts["totals"]["committed"],
            "reserve": "0",
        }
        assert facts["accounts"] == 7
        assert facts["rejected"] > 0
        assert facts["audit"]["ok"] is True
        assert {row["account"].lower() for row in facts["claims"]} >= {A, B, C}
        assert sum(int(row["amount"]) for row in facts["claims"]) == int(facts["totals"]["claimed"])
        w3 = Web3(Web3.HTTPProvider(facts["rpc_url"]))
        for row in facts["batches"] + facts["claims"]:
            receipt = w3.eth.get_transaction_receipt(row["tx_hash"])
            # The batches of a transaction share its gas.
            sharing = [one for one in facts["batches"] if one["tx_hash"] == row["tx_hash"]]
            gas_used = sum(one["gas_used"] for one in sharing) or row["gas_used"]
            assert (receipt["status"], receipt["gasUsed"]) == (1, gas_used)
            assert all(one["batches_in_tx"] == len(sharing) for one in sharing)
        account = httpx.get(f"{facts['api_url']}/v1/programs/demo/accounts/{A}").json()
        assert (account["earned"], account["claimed"], account["claimable"]) == (
            "3500000",
            "3500000",
            "0",
        )
        audited = guerdon(
            "audit", "--rpc-url", facts["rpc_url"], "--distributor", facts["distributor"], "--json"
        )
        assert audited.returncode == 0, audited.stdout
        assert json.loads(audited.stdout)["totals"]["committed"] == facts["totals"]["committed"]
        family = demo.family()
        assert len(family) > 8
        # Each service ends on SIGHUP, and is not started again, as Celery would by itself.
        services = [
            next(one for one in family if any(word.endswith(name) for word in _words(one)))
            for name in ("celery", "backend.api", "backend.attestor")
        ]
        for service in services:
            service.send_signal(signal.SIGHUP)
        _, alive = psutil.wait_procs(services, timeout=60)
        assert alive == []
        # The demo ends with its stack.
        psutil.Process(demo.pid).wait(60)
        assert "ended with code" in demo.output
    assert_gone(family)


@pytest.mark.soak
def test_what_up_prints_is_what_to_type_next(tmp_path: Path) -> None:
    """With the file of settings that it names, a partner is added and the program funded as it
    says; a list is reported, attested and posted without a further word. Closing the terminal
    leaves no process behind. What comes after is in test_operations.py."""
    path = tmp_path / "list.csv"
    path.write_text(f"address,amount\n{A},700\n{B},300\n")
    with running("up", log=tmp_path / "log", kind=InTerminal) as up:
        up.wait_for("Running until Ctrl-C")
        api = up.wait_for(r"(?m)^API\s+(\S+)").group(1)
        environment = _environment(Path(up.wait_for(r"(?m)^  \. (\S+)").group(1)))
        add = shlex.split(
            up.wait_for(r"(?m)^  guerdon (partner add .+)$").group(1).replace("NAME", "adnet")
        )

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            done = guerdon(*arguments, environment=environment)
            assert done.returncode == 0, done.stdout + done.stderr
            return done

        environment["ADNET_SECRET"] = json.loads(run(*add).stdout)["secret"]
        run("program", "fund", "main", "900")
        source = [
            "--api-url",
            api,
            "--partner",
            "adnet",
            "--secret-env",
            "ADNET_SECRET",
            "--label",
            "may",
            "--unit",
            "base",
            "--yes",
        ]
        assert json.loads(run("import", "main", str(path), *source).stdout) == {
            "accepted": 1,
            "held": 1,
        }
        assert json.loads(run("import", "main", str(path), *source).stdout) == {"duplicate": 2}
        run("program", "fund", "main", "100")
        _wait_for(api, "700", "300")
        family = up.family()
        up.close_terminal()
    assert_gone(family)


STRANGE_ENVIRONMENT = {
    "DATABASE_URL": "postgresql://stranger@192.0.2.1/production",
    "GUERDON_REDIS_URL": "redis://192.0.2.1",
    "RPC_URL": "http://192.0.2.1:8545",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "PGPORT": "6000",
    "LC_ALL": "xx_YY.UTF-8",
}


@pytest.fixture(scope="module")
def strange_checkout() -> Iterator[Path]:
    """A copy of the checkout in a deep folder whose path has a space, a quote and more than ASCII,
    with an environment as `make setup` makes one, but for the packages' files."""
    with tempfile.TemporaryDirectory(prefix="guerdon-test-", ignore_cleanup_errors=True) as made:
        # Not below pytest's folders: PostgreSQL may run as another user.
        Path(made).chmod(0o755)
        root = Path(made) / f"it's a café {'deep' * 20}" / "guer don"
        for name in ("backend", "prover", "scripts", "contracts", "examples", "build/contracts"):
            shutil.copytree(ROOT / name, root / name)
        for name in ("Makefile", "pyproject.toml", "build/contracts.digest"):
            shutil.copy2(ROOT / name, root / name)  # with its time, for make
        for name in ("package.json", "package-lock.json", "requirements.lock"):
            shutil.copy2(ROOT / name, root / name)  # with its time, for make
        (root / "node_modules").symlink_to(ROOT / "node_modules")
        venv.create(root / ".venv", symlinks=True)
        folder = root / ".venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        paths = ascii([str(root), sysconfig.get_path("purelib")])
        (folder / "all.pth").write_text(f"import sys; sys.path += {paths}\n")
        maker = ScriptMaker(None, str(root / ".venv" / "bin"))
        maker.executable = enquote_executable(str(root / ".venv" / "bin" / "python"))
        maker.variants = {""}
        maker.make("guerdon = backend.main:app")
        (root / ".venv" / ".installed").touch()
        yield root


def test_the_build_in_a_strange_folder(strange_checkout: Path) -> None:
    """The verbs of `make setup` that look at the tree: contracts and circuits."""
    done = subprocess.run(
        ["make", "contracts", "circuits"],
        cwd=strange_checkout,
        env=os.environ | {"PATH": os.defpath + os.pathsep + os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stack_in_a_strange_folder_and_environment(
    tmp_path: Path, strange_checkout: Path
) -> None:
    """The whole stack starts; the servers that are exported are named and not used, no
    proxy is asked, and a signal leaves no process and no folder."""
    data = strange_checkout / ".guerdon"
    with running(
        "up", log=tmp_path / "log", root=strange_checkout, environment=STRANGE_ENVIRONMENT
    ) as up:
        up.wait_for("Running until Ctrl-C")
        [line] = [line for line in up.output.splitlines() if "not used" in line]
        assert all(name in line for name in ("DATABASE_URL", "GUERDON_REDIS_URL", "RPC_URL"))
        [environment] = data.glob("main-*/environment")
        sourced = subprocess.run(
            ["sh", "-c", '. "$1"; printf %s "$GUERDON_KEYSTORE"', "sh", str(environment)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert Path(sourced.stdout).is_file()
        family = up.family()
        assert up.stop(signal.SIGTERM) == 0
    assert_gone(family)
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_start_that_is_cut_short_leaves_nothing(tmp_path: Path, number: int) -> None:
    """A signal while the stack starts, as soon as Anvil runs, leaves no process; but for SIGKILL,
    which nobody hears, no folder."""
    data = ROOT / ".guerdon"
    before = set(data.iterdir()) if data.exists() else set()
    with running("up", log=tmp_path / "log") as up:
        _wait_until_runs(up, "anvil")
        family = up.family()
        assert up.stop(number) != 0
    assert_gone(family)
    left = set(data.iterdir()) - before
    if number == signal.SIGKILL:
        for folder in left:
            shutil.rmtree(folder)
    else:
        assert left == set()


def _wait_until_runs(command: Running, name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not command.runs(name):
        assert time.monotonic() < deadline, command.output
        assert psutil.Process(command.pid).status() != psutil.STATUS_ZOMBIE, command.output
        time.sleep(0.05)


def test_a_taken_port_is_told_before_anything_starts() -> None:
    """With what to do."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        for arguments in (("up",), ("demo",)):
            done = guerdon(*arguments, "--api-port", port)
            assert done.returncode == 1
            assert f"port {port} of 127.0.0.1 cannot be used" in done.stderr
            assert "choose another" in done.stderr
            assert "Traceback" not in done.stderr


def _environment(path: Path) -> dict[str, str]:
    pairs = re.findall(r"^export (\w+)='(.*)'$", path.read_text(), re.MULTILINE)
    assert len(pairs) >= 9
    return dict(pairs)


def _wait_for(api: str, *earned: str) -> None:
    deadline = time.monotonic() + 120
    accounts = [
        httpx.get(f"{api}/v1/programs/main/accounts/{address}").json() for address in (A, B)
    ]
    while [account["claimable"] for account in accounts] != list(earned):
        assert time.monotonic() < deadline, accounts
        time.sleep(0.2)
        accounts = [
            httpx.get(f"{api}/v1/programs/main/accounts/{address}").json() for address in (A, B)
        ]


@pytest.mark.parametrize(
    "arguments", [("demo", "--instance", "huge"), ("up", "--instance", "huge")]
)
def test_an_unknown_instance_is_named(arguments: tuple[str, ...]) -> None:
    """A word that is no instance is refused with those that are."""
    done = guerdon(*arguments)
    assert done.returncode == 2
    assert "standard" in done.stderr
