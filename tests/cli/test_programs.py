"""`guerdon program`: what is deployed, registered and funded by command, and what is refused before
anything is paid for."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result
from web3.utils import get_create_address

from backend.chain.deploy import Deployer, deploy_program
from backend.chain.distributor import Distributor
from backend.chain.erc20 import mint_calldata, transfer_calldata
from backend.chain.local import give_ether
from backend.chain.preflight import ether
from backend.cli import context as cli_context
from backend.cli import preparing
from backend.kit.log import configure
from backend.ledger import service as ledger
from backend.main import app
from backend.program import repository as programs
from backend.program.models import Program
from backend.signer import keystore
from backend.signer.keystore import KeystoreSigner
from prover.circuit import Instance
from prover.groth16 import dev_key
from prover.key_store import require_room_for_dev_key
from prover.keys import KeyFolder, SetupError
from tests.support.anvil import Anvil, anvil
from tests.support.engine import Engine, settings
from tests.support.program import DEV, attestor_keys, real_program

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
def poster(chain: Anvil, tmp_path: Path) -> keystore.KeystoreSigner:
    """The posting key, which has money too, and which no command of these may touch."""
    made = keystore.create(tmp_path / "poster.json", PASSWORD, scrypt_n=keystore.SCRYPT_N_LOCAL)
    give_ether(chain.node, made.address, 10**18)
    return made


@pytest.fixture
def command(
    chain: Anvil,
    engine: Engine,
    owner: keystore.KeystoreSigner,
    poster: keystore.KeystoreSigner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Command]:
    """Runs `guerdon program ...` with the owner's key; `changes` are settings."""

    def run(*words: object, **changes: object) -> Result:
        config = settings(
            engine.url,
            **{
                "rpc_url": chain.url,
                "keystore": tmp_path / "poster.json",
                "owner_keystore": tmp_path / "owner.json",
                "keystore_password": PASSWORD,
            }
            | changes,
        )
        monkeypatch.setattr(cli_context, "settings", lambda: config)
        return CliRunner().invoke(app, ["program", *map(str, words)])

    yield run
    assert chain.node.transaction_count(poster.address) == 0
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


def engine_nonces(chain: Anvil, key: keystore.KeystoreSigner) -> int:
    """How many transactions the key has sent."""
    return chain.node.transaction_count(key.address)


def test_deploy_and_fund(
    chain: Anvil,
    engine: Engine,
    owner: keystore.KeystoreSigner,
    poster: keystore.KeystoreSigner,
    command: Command,
) -> None:
    """Contracts with the guardian and owner that were named, a registered program, and tokens in
    it."""
    guardian = "0x" + "12" * 20
    deployed = command(
        *deploy_words("shop", "--guardian", guardian, "--families", 2, "--batch-items", 7),
        *("--daily-limit", "2.5"),
    )
    facts = printed(deployed)
    info = Distributor(chain.node, facts["distributor"]).info()
    assert (info.owner, info.guardian.lower(), info.families) == (owner.address, guardian, 2)
    limit = Distributor(chain.node, facts["distributor"]).daily_limit()
    assert limit == (25 * 10**17, 25 * 10**17, 25 * 10**17)
    assert "Daily limit: 2.5 TRW" in deployed.stderr
    with engine.database.transaction() as session:
        row = programs.get(session, "shop")
    assert (row.distributor, row.instance, row.batch_items_max) == (facts["distributor"], "dev", 7)
    assert row.attestors == [f"http://127.0.0.1:{9000 + i}" for i in range(3)]
    funded = command("fund", "shop", 5 * 10**18)
    assert (funded.exit_code, "5 TRW are available" in funded.stderr) == (0, True), funded.output
    assert Distributor(chain.node, facts["distributor"]).totals("latest").reserve == 5 * 10**18
    # Nothing is left to move without minting.
    empty = command("fund", "shop", 1, "--no-mint")
    assert empty.exit_code == 1
    assert (
        f"the owner's key {owner.address} holds 0 TRW, expected at least 0.000000000000000001 TRW"
        in empty.stderr
    )
    assert engine_nonces(chain, owner) == 6
    # Both commands named the key that paid.
    for result in (deployed, funded):
        assert f"owner.json signs: {owner.address} holds " in result.stderr
    assert f"posting key {poster.address}" in deployed.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (deploy_words("Shop!"), "name: expected 1 to 64 of a-z"),
        (deploy_words("taken"), "a program called 'taken' is registered already"),
        (deploy_words("other", "--threshold", 4), "attestor_url: expected at least 4"),
        (
            deploy_words("other", "--attestor", "0x12"),
            "attestor: expected an address: 0x and 40 hex digits, got '0x12'",
        ),
        (
            deploy_words("other", "--instance", "big"),
            "instance: expected one of dev, standard, wide, got 'big'",
        ),
        (
            deploy_words("other", "--attestor-url", "ftp://x"),
            "attestor_url: expected http(s)://host",
        ),
        (
            deploy_words("other", "--finality", "soon"),
            "finality: expected latest, safe, finalized or a number of confirmations, got 'soon'",
        ),
        (
            deploy_words("other", "--chain-id", 10),
            "chain_id: expected 10, the node of RPC_URL is on chain 31337",
        ),
        (deploy_words("other", "--token", "0x" + "ab" * 20), "has no code on chain 31337"),
        (
            deploy_words("other", "--owner", "0xA0Ee7A142d267C1f36714E4a8F75612F20a79720"),
            "owner: 0xA0Ee7A142d267C1f36714E4a8F75612F20a79720 has a wrong EIP-55 checksum",
        ),
        (deploy_words("other", "--guardian", "me"), "guardian: expected an address"),
        (deploy_words("other", "--key", "/nowhere"), "/nowhere: no key here"),
        (deploy_words("other", "--daily-limit", 0), "leave it out for no limit"),
    ],
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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"owner_keystore": None}, "owner_keystore: expected GUERDON_OWNER_KEYSTORE"),
        ({"owner_keystore": Path("/nowhere/owner.json")}, "/nowhere/owner.json: cannot be read"),
        ({"keystore_password": "battery"}, "owner.json: wrong password"),
        ({"max_fee_per_gas_wei": 1}, "above the cap of 1"),
    ],
    ids=["no owner's key", "no file", "password", "fee cap"],
)
@pytest.mark.parametrize("what", ["deploy", "fund"])
def test_the_key_that_pays_is_the_owners(
    chain: Anvil, engine: Engine, command: Command, what: str, changes: dict[str, object], said: str
) -> None:
    """Never another one, and never above the fee cap of the settings: refused before the first
    transaction, by deploy and by fund."""
    row = funded_row(engine, chain)
    before = chain.w3.eth.block_number
    line = deploy_words("other") if what == "deploy" else ["fund", row, 5]
    result = command(*line, **changes)
    assert (result.exit_code, said in result.stderr) == (1, True), result.output
    assert PASSWORD not in result.stderr
    assert chain.w3.eth.block_number == before


def funded_row(engine: Engine, chain: Anvil) -> str:
    """The name of a program on a token that anyone may mint."""
    program = real_program(chain)
    row = engine.program(funded=0)
    with engine.database.transaction() as session:
        row = session.get_one(Program, row.id)
        row.distributor, row.token = program.address, program.deployment.token
        row.last_indexed_block = chain.node.block_number()
        row.last_indexed_block_hash = chain.node.block("latest").hash
        return row.name


def test_a_key_that_cannot_pay_is_named_with_what_it_needs(
    chain: Anvil, engine: Engine, owner: keystore.KeystoreSigner, command: Command
) -> None:
    """Its address, what it has and what is missing: and enough is what the message asks for."""
    row = funded_row(engine, chain)
    for line, given in ((deploy_words("poor"), 10**12), (["fund", row, 5], 10**11)):
        chain.rpc("anvil_setBalance", owner.address, hex(given))
        before = chain.w3.eth.block_number
        result = command(*line)
        assert result.exit_code == 1, result.output
        assert f"the owner's key {owner.address} holds {ether(given)} and may need" in result.stderr
        assert chain.w3.eth.block_number == before
        [missing] = re.findall(r"send it (\S+) ether first", result.stderr)
        wei = int(Decimal(missing).scaleb(18))
        chain.rpc("anvil_setBalance", owner.address, hex(given + wei))
        assert command(*line).exit_code == 0


def test_a_development_key_is_announced_and_made_last(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its size and time, after all that could be refused."""
    made: list[str] = []
    real = preparing.dev_key

    def make(instance: Instance) -> KeyFolder:
        made.append(instance.name)
        return real(instance)

    monkeypatch.setattr(preparing, "dev_key", make)
    monkeypatch.setattr(preparing, "existing_key_for", lambda *_: None)
    refused = command(*deploy_words("keyless"), max_fee_per_gas_wei=1)
    assert (refused.exit_code, made) == (1, [])
    done = command(*deploy_words("keyless"))
    assert (done.exit_code, made) == (0, ["dev"]), done.output
    assert "Making the development key of instance dev: about 30 MB in" in done.stderr


def test_no_development_key_is_made_for_a_chain_that_refuses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Off a local chain the command says what to import, at once."""
    monkeypatch.setattr(preparing, "existing_key_for", lambda *_: None)
    monkeypatch.setattr(preparing, "dev_key", lambda *_: pytest.fail("a key was made"))
    context = SimpleNamespace(settings=SimpleNamespace(key=None), chain_id=10)
    with pytest.raises(SetupError, match="import one with `guerdon keys import dev`"):
        preparing.proving_key(context, DEV, None, False)


def test_a_disk_without_room_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before minutes of work end in an error of the file system."""
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "not" / "there"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=7 * 10**6))
    with pytest.raises(SetupError, match=f"takes 30 MB, and {tmp_path} has 7 MB left"):
        require_room_for_dev_key(DEV)


def test_a_node_without_old_state_asks_for_the_first_block(
    engine: Engine, command: Command
) -> None:
    """And takes it: what the Distributor's address held before is reckoned back from the log. A
    block after the deployment, and one that is not there yet, are refused."""
    with anvil(prune_history=2) as pruned:
        signer = KeystoreSigner(pruned.key(0))
        deployer = Deployer(pruned.node, signer)
        token, _ = deployer.create("TestToken", "Token", "TOK")
        nonce = pruned.node.transaction_count(signer.address)
        address = get_create_address(signer.address, nonce + 4)
        for to, amount in ((signer.address, 50), (address, 30)):
            deployer.send("mint", token, mint_calldata(to, amount))
        deployed = deploy_program(deployer, dev_key(DEV), DEV, ATTESTORS, 2, token=token)
        assert deployed.distributor == address
        deployer.send("fund", token, transfer_calldata(address, 7))
        pruned.rpc("anvil_mine", "0x8")
        urls = [word for i in (1, 2) for word in ("--attestor-url", f"http://127.0.0.1:{i}")]
        words = ["register", "pruned", address.lower(), *urls, "--finality", "latest"]
        where: dict[str, object] = {"rpc_url": pruned.url}
        result = command(*words, **where)
        assert (result.exit_code, "--first-block" in result.stderr) == (1, True), result.output
        for late in (deployed.block + 1, 10**6):
            result = command(*words, "--first-block", late, **where)
            assert (result.exit_code, "first_block: expected a block at" in result.stderr) == (
                1,
                True,
            ), result.output
        done = printed(command(*words, "--first-block", deployed.block, **where))
        assert (done["distributor"], done["block"]) == (address, deployed.block)
        with engine.database.transaction() as session:
            row = programs.get(session, "pruned")
            assert ledger.available_budget(session, row.id) == 30


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
    for address, options, said in (
        ("0x12", [], "distributor: expected an address"),
        (deployed.distributor.swapcase().replace("X", "x"), [], "distributor: 0x"),
        (deployed.distributor, ["--chain-id", 5], "chain_id: expected 5"),
        (deployed.distributor, ["--finality", "soon"], "finality: expected latest"),
    ):
        result = command("register", "none", address, *words[3:], *options)
        assert (result.exit_code, said in result.stderr) == (1, True), result.output
    # A program is found under its address in any spelling, but not under a mistyped one.
    distributor = deployed.distributor
    for spelling, code in (
        (distributor.lower(), 0),
        (distributor.upper(), 0),
        (distributor.swapcase().replace("X", "x"), 1),
    ):
        moved = ["attestors", spelling, "--attestor-url", "http://127.0.0.1:3"]
        assert command(*moved).exit_code == code
