"""The commands of docs/OPERATIONS.md, run as a reader runs them: block by block, each role in a
folder and a shell of its own, with the reader's values in the lines that end in `# yours`."""

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.devstack.stack import Service, Stack
from tests.support.nursery import spawn

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "OPERATIONS.md"
BLOCK = re.compile(r"^```sh (operator|attestor|partner)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
YOURS = re.compile(r"^export (\w+)=\S+  # yours$", re.MULTILINE)
SERVICE = re.compile(r"^(python -m backend\.\w+|celery) .*$", re.MULTILINE)
BLOCK_SECONDS = 300
CAST = f"""#!{sys.executable}
# What the page asks of Foundry's cast: one transaction, from a keystore.
import argparse
from pathlib import Path
from eth_abi import encode
from eth_utils import keccak
from backend.chain.deploy import Deployer
from backend.chain.web3_node import connect
from backend.signer import keystore

parser = argparse.ArgumentParser()
parser.add_argument("send")
for option in ("--rpc-url", "--keystore", "--password"):
    parser.add_argument(option, required=True)
for name in ("to", "signature"):
    parser.add_argument(name)
parser.add_argument("values", nargs="*")
given = parser.parse_args()
types = [one for one in given.signature.partition("(")[2].rstrip(")").split(",") if one]
values = [int(v) if t.startswith("uint") else v for t, v in zip(types, given.values, strict=True)]
data = keccak(text=given.signature)[:4] + encode(types, values)
signer = keystore.load(Path(given.keystore), given.password)
Deployer(connect(given.rpc_url), signer).send(given.signature, given.to, data)
"""


@dataclass(frozen=True)
class Block:
    """One code block of the page, and who runs it."""

    role: str
    text: str


def blocks() -> list[Block]:
    """The page's blocks that a role runs, in their order."""
    return [Block(*match.groups()) for match in BLOCK.finditer(PAGE.read_text())]


def attestor_sample() -> str:
    """The page's attestor.toml."""
    return PAGE.read_text().split("```toml\n")[1].split("```")[0]


@dataclass
class Shell:
    """One role's shell in `folder`. `name` begins the names of its services."""

    name: str
    folder: Path
    stack: Stack
    used: set[str] = field(default_factory=set)
    """The values of the reader's own that a block asked for."""

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self._state = self.folder / ".shell"
        tools = self.folder.parent / "bin"
        tools.mkdir(exist_ok=True)
        (tools / "cast").write_text(CAST)
        (tools / "cast").chmod(0o700)
        path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._state.write_text(f"export PATH={shlex.quote(path)}\n")

    def run(
        self, block: Block, yours: Mapping[str, str], changes: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a block, and start its services. `changes` replace words of it."""
        text = block.text
        for old, new in (changes or {}).items():
            assert old in text, f"the page does not say {old!r} any more"
            text = text.replace(old, new)
        asked = set(YOURS.findall(text))
        assert asked <= yours.keys(), f"the page asks for {asked - yours.keys()}"
        self.used |= asked
        text = YOURS.sub(lambda m: f"export {m[1]}={shlex.quote(yours[m[1]])}", text)
        services = [match.group() for match in SERVICE.finditer(text)]
        done = self._bash(SERVICE.sub("", text))
        if done.returncode == 0:
            for line in services:
                self._start(line)
        return done

    def value(self, name: str) -> str:
        """What the shell has exported under a name."""
        return self._environment()[name]

    def _bash(self, text: str) -> subprocess.CompletedProcess[str]:
        script = (
            f"set -e; . {self._state}\n{text}\n"
            f"{{ export -p; declare -f; }} > {self._state}.new; mv {self._state}.new {self._state}"
        )
        # A person is asked whether to pay, and says yes.
        ours, theirs = pty.openpty()
        try:
            os.write(ours, b"y\n")
            return subprocess.run(
                ["bash", "-c", script],
                cwd=self.folder,
                stdin=theirs,
                capture_output=True,
                text=True,
                check=False,
                timeout=BLOCK_SECONDS,
            )
        finally:
            os.close(ours)
            os.close(theirs)

    def _environment(self) -> dict[str, str]:
        words = ["bash", "-c", f". {self._state}; env -0"]
        output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        return dict(pair.split("=", 1) for pair in output.split("\0") if pair)

    def _start(self, line: str) -> None:
        words = shlex.split(line)
        command = words[1:] if words[0] == "python" else ["-m", *words]
        name = f"{self.name}-{command[1].rpartition('.')[2]}"
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = spawn(
                [sys.executable, *command],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.stack.services[name] = Service(name, process, log)


def in_order(found: list[Block], roles: Mapping[str, list[Shell]]) -> Iterator[tuple[Block, Shell]]:
    """Each block with each shell of its role."""
    for block in found:
        for shell in roles[block.role]:
            yield block, shell
