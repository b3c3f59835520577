"""The operator's way by docs/OPERATIONS.md alone: its own commands, in its order, on a token with
six decimals and a chain that finalizes blocks after its head."""

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from backend.chain.deploy import Deployer
from backend.chain.erc20 import balance_of
from backend.devstack.stack import Stack, free_port
from backend.signer.keystore import KeystoreSigner
from tests.devstack.handbook import Block, Shell, attestor_sample, blocks, in_order
from tests.support.anvil import Anvil, anvil
from tests.support.nursery import spawn
from tests.support.postgres import postgres

ONE, TWO, RECIPIENT = ("0x" + digit * 40 for digit in "567")
UNIT = 10**6
PORTS = 3
WAIT_SECONDS = 180


@pytest.fixture
def chain() -> Iterator[Anvil]:
    """A block each second, the third newest of which is final."""
    with anvil(slots_in_an_epoch=1, block_time=1) as made:
        yield made


@pytest.fixture
def stack() -> Iterator[Stack]:
    """The processes of all roles."""
    # Short: PostgreSQL and Redis are found by their paths.
    with tempfile.TemporaryDirectory(prefix="guerdon-way-") as folder:
        made = Stack(Path(folder), spawn=spawn)
        try:
            yield made
        finally:
            made.close()


def wait_for(what: str, ready: Callable[[], bool], stack: Stack) -> None:
    """As long as the services run."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        stack.check()
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def attestor_file(shell: Shell, operator: Shell, chain: Anvil, port: int) -> None:
    """The page's sample, with this attestor's own values."""
    text = attestor_sample()
    for key, value in (
        ("chain_id", "31337"),
        ("rpc_url", f'"{chain.url}"'),
        ("host", '"127.0.0.1"'),
        ("port", str(port)),
        ("distributor", f'"{operator.value("DISTRIBUTOR")}"'),
        ("instance", '"dev"'),
        ("first_block", operator.value("FIRST_BLOCK")),
    ):
        text, count = re.subn(rf"(?m)^{key} = \S+", f"{key} = {value}", text)
        assert count == 1, key
    (shell.folder / "attestor.toml").write_text(text)


class Way:
    """The roles on the page, and what each has to know."""

    def __init__(self, stack: Stack, chain: Anvil, database_url: str) -> None:
        self.stack, self.chain = stack, chain
        self.operator = Shell("operator", stack.folder / "operator", stack)
        self.partner = Shell("partner", stack.folder / "partner", stack)
        self.attestors = [
            Shell(f"attestor-{i}", stack.folder / f"attestor-{i}", stack) for i in range(PORTS)
        ]
        self.ports = [free_port() for _ in range(PORTS)]
        self.api_port = free_port()
        self.api = f"http://127.0.0.1:{self.api_port}"
        deployer = Deployer(chain.node, KeystoreSigner(chain.key(0)))
        self.token, _ = deployer.create("TestTokenDecimals", "Six", "SIX", 6)
        self.yours = {
            "DATABASE_URL": database_url,
            "REDIS_URL": stack.start_redis(),
            "RPC_URL": chain.url,
            "API_URL": self.api,
            # As people copy it.
            "TOKEN": self.token.lower(),
            "CHAIN_ID": "31337",
            "INSTANCE": "dev",
            "RECIPIENT": RECIPIENT,
        } | {f"ATTESTOR_{i + 1}_URL": f"http://127.0.0.1:{p}" for i, p in enumerate(self.ports)}

    def run(self, block: Block, shell: Shell, changes: dict[str, str] | None = None) -> str:
        """Run a block that succeeds; what it printed."""
        done = shell.run(block, self.yours, changes)
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def program(self) -> dict[str, object]:
        """The program as the API shows it."""
        shown: dict[str, object] = httpx.get(f"{self.api}/v1/programs/shop").json()
        return shown

    def wait_for_budget(self, amount: int) -> None:
        wait_for(
            f"a budget of {amount}",
            lambda: self.program().get("available_budget") == str(amount),
            self.stack,
        )


def test_the_operators_way(stack: Stack, chain: Anvil) -> None:
    """From the first key to the last withdrawal: rewards in a token with six decimals are reported,
    attested, proven, posted, final, claimed, and audited from the chain; what is left goes back to
    the owner. Every block of the page is run, and every value that it asks for is used."""
    with postgres() as database_url:
        way = Way(stack, chain, database_url)
        roles = {"operator": [way.operator], "attestor": way.attestors, "partner": [way.partner]}
        ran = 0
        for block, shell in in_order(blocks(), roles):
            step(way, block, shell)
            ran += 1
        assert ran == len(blocks()) + 2 * (PORTS - 1)
        shells = (way.operator, way.partner, *way.attestors)
        assert way.yours.keys() == set().union(*(shell.used for shell in shells))
        way.wait_for_budget(0)
        held = [balance_of(chain.node, way.token, one) for one in (ONE, TWO, RECIPIENT)]
        assert held == [12_500_000, 100 * UNIT, 137_500_000]
        account = httpx.get(f"{way.api}/v1/programs/shop/accounts/{ONE}").json()
        assert (account["earned"], account["claimed"]) == ("12500000", "12500000")


def step(way: Way, block: Block, shell: Shell) -> None:
    """Run one block, with what a reader does before and after it beside the commands."""
    if "keystore new key.json" in block.text:
        address = way.run(block, shell).split()[-1]
        way.yours[f"ATTESTOR_{way.attestors.index(shell) + 1}"] = address
    elif "guerdon migrate" in block.text:
        addresses = re.findall(r"0x\w{40}", way.run(block, shell))
        assert len(addresses) == 3
        for address in addresses:
            way.chain.rpc("anvil_setBalance", address, hex(10**18))
    elif "partner add" in block.text:
        way.run(block, shell)
        way.yours["ADNET_SECRET"] = secret_in(shell.folder / "adnet.json")
        way.yours["DISTRIBUTOR"] = way.operator.value("DISTRIBUTOR")
        way.yours["OPERATORS_TOKEN"] = way.operator.value("GUERDON_ATTESTOR_TOKEN")
    elif "backend.attestor" in block.text:
        port = way.ports[way.attestors.index(shell)]
        attestor_file(shell, way.operator, way.chain, port)
        way.run(block, shell)
        ready = f"http://127.0.0.1:{port}/readyz"
        wait_for(ready, lambda: httpx.get(ready).status_code == 200, way.stack)
    elif "backend.api" in block.text:
        way.run(block, shell, {"--port 8000": f"--port {way.api_port}"})
        wait_for("the API", lambda: httpx.get(f"{way.api}/readyz").status_code == 200, way.stack)
    elif "program fund" in block.text:
        way.run(block, shell)
        way.wait_for_budget(250 * UNIT)
    elif "guerdon audit" in block.text:
        assert "Everything holds" in way.run(block, shell)
        way.wait_for_budget(137_500_000)
    elif "executeWithdrawal" in block.text:
        way.chain.rpc("evm_increaseTime", 7 * 86_400)
        way.chain.rpc("evm_mine")
        way.run(block, shell)
    else:
        way.run(block, shell)


def secret_in(path: Path) -> str:
    """A partner's secret, as `partner add` printed it."""
    [secret] = re.findall(r"whsec_[\w+/=-]+", path.read_text())
    return str(secret)
