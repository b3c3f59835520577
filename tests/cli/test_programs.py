"""`guerdon program`: what is deployed, registered and funded by command, and what is refused before
anything is paid for."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backend.chain.deploy import Deployer, deploy_program
from backend.chain.distributor import Distributor
from backend.chain.local import give_ether
from backend.cli import context as cli_context
from backend.kit.log import configure
from backend.main import app
from backend.program import repository as programs
from backend.signer import keystore
from prover.groth16 import dev_key
from tests.support.anvil import Anvil, anvil
from tests.support.engine import Engine, settings
from tests.support.program import DEV, attestor_keys

ATTESTORS = [key.address for key in attestor_keys()]
PASSWORD = "correct horse"
Command = Callable[..., Result]


@pytest.fixture(scope="module")
def chain() -> Iterator[Anvil]:
    """A chain of these tests' own."""
    with anvil() as made:
        yield made


@pytest.fixture
def owner(chain: Anvil, tmp_path: Path) -> keystore.KeystoreSigner:
    """A key with money for gas."""
    made = keystore.create(tmp_path / "owner.json", PASSWORD, scrypt_n=keystore.SCRYPT_N_LOCAL)
    give_ether(chain.node, made.address, 10**18)
    return made


@pytest.fixture
def command(
    chain: Anvil,
    engine: Engine,
    owner: keystore.KeystoreSigner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Command]:
    """Runs `guerdon program ...` with the owner's key."""
    config = settings(
        engine.url, rpc_url=chain.url, keystore=tmp_path / "owner.json", keystore_password=PASSWORD
    )
    monkeypatch.setattr(cli_context, "settings", lambda: config)
    yield lambda *words: CliRunner().invoke(app, ["program", *map(str, words)])
    configure()


def deploy_words(name: str, *more: object) -> list[object]:
    attestors = [word for attestor in ATTESTORS for word in ("--attestor", attestor)]
    urls = [word for i in range(3) for word in ("--attestor-url", f"http://127.0.0.1:{9000 + i}/")]
    return [
        "deploy",
        name,
        *attestors,
        *urls,
        "--threshold",
        2,
        "--instance",
        "dev",
        "--finality",
        "latest",
        *more,
    ]


def printed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_deploy_and_fund(
    chain: Anvil, engine: Engine, owner: keystore.KeystoreSigner, command: Command
) -> None:
    """Contracts with the guardian and owner that were named, a registered program, and tokens in
    it."""
    guardian = "0x" + "12" * 20
    facts = printed(
        command(*deploy_words("shop", "--guardian", guardian, "--families", 2, "--batch-items", 7))
    )
    info = Distributor(chain.node, facts["distributor"]).info()
    assert (info.owner, info.guardian.lower(), info.families) == (owner.address, guardian, 2)
    with engine.database.transaction() as session:
        row = programs.get(session, "shop")
    assert (row.distributor, row.instance, row.batch_items_max) == (facts["distributor"], "dev", 7)
    assert row.attestors == [f"http://127.0.0.1:{9000 + i}" for i in range(3)]
    funded = command("fund", "shop", 5 * 10**18)
    assert (funded.exit_code, "5 TRW are available" in funded.stderr) == (0, True), funded.output
    assert Distributor(chain.node, facts["distributor"]).totals("latest").reserve == 5 * 10**18
    # Nothing is left to move without minting.
    empty = command("fund", "shop", 1, "--no-mint")
    assert (empty.exit_code, "ERC20InsufficientBalance" in empty.stderr.replace("\n", "")) == (
        1,
        True,
    ), empty.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (deploy_words("Shop!"), "name: expected 1 to 64 of a-z"),
        (deploy_words("taken"), "a program called 'taken' is registered already"),
        (deploy_words("other", "--threshold", 4), "attestor_url: expected at least 4"),
        (
            deploy_words("other", "--attestor", "0x12"),
            "attestor: expected an address above 0, got '0x12'",
        ),
        (
            deploy_words("other", "--instance", "big"),
            "instance: expected one of dev, standard, got 'big'",
        ),
        (
            deploy_words("other", "--attestor-url", "ftp://x"),
            "attestor_url: expected http(s)://host",
        ),
    ],
    ids=["no name", "name taken", "threshold", "attestor", "instance", "url"],
)
def test_nothing_is_deployed_that_cannot_be_registered(
    chain: Anvil, engine: Engine, command: Command, words: list[object], said: str
) -> None:
    """The command fails before its first transaction, and says why."""
    with engine.database.transaction() as session:
        taken = any(row.name == "taken" for row in programs.all_programs(session))
    if not taken:
        printed(command(*deploy_words("taken")))
    before = chain.w3.eth.block_number
    result = command(*words)
    assert (result.exit_code, said in result.stderr.replace("\n", " ")) == (1, True), result.output
    assert chain.w3.eth.block_number == before


def test_a_distributor_that_stands_already_is_registered(
    chain: Anvil, engine: Engine, owner: keystore.KeystoreSigner, command: Command
) -> None:
    """Deployed by a script, or by a command whose database went away: found, checked and taken in
    from its first block on, once."""
    deployed = deploy_program(Deployer(chain.node, owner), dev_key(DEV), DEV, ATTESTORS, 2)
    for _ in range(3):
        chain.rpc("evm_mine")
    words = [
        "register",
        "found",
        deployed.distributor,
        "--attestor-url",
        "http://127.0.0.1:1",
        "--finality",
        "latest",
    ]
    few = command(*words)
    assert (few.exit_code, "attestor_url: expected at least 2" in few.stderr) == (1, True), (
        few.output
    )
    words += ["--attestor-url", "http://127.0.0.1:2"]
    assert printed(command(*words)) == {
        "name": "found",
        "distributor": deployed.distributor,
        "block": deployed.block,
    }
    with engine.database.transaction() as session:
        row = programs.get(session, "found")
    assert (row.token, row.last_indexed_block, row.instance) == (
        deployed.token,
        deployed.block - 1,
        "dev",
    )
    again = command("register", "twice", *words[2:])
    assert (
        again.exit_code,
        "registered already, as 'found'" in again.stderr.replace("\n", " "),
    ) == (1, True), again.output
    nothing = command("register", "none", deployed.token, *words[3:])
    assert nothing.exit_code == 1
