"""The operator's commands, on a real database and chain: what they print, and with which exit code
they end."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner, Result

from backend.chain.local import give_ether
from backend.cli import context as cli_context
from backend.kit.log import configure
from backend.ledger import service as ledger
from backend.main import app
from backend.program import repository as programs
from tests.support.anvil import anvil
from tests.support.engine import Engine, address, report
from tests.support.onchain import OnChain, on_chain

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def program(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnChain]:
    """A program on a chain of its own."""
    with anvil() as chain, on_chain(engine, chain, tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture
def command(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Runs `guerdon ...` with the program's settings."""
    monkeypatch.setattr(cli_context, "settings", lambda: program.context.settings)
    yield lambda *words: CliRunner().invoke(app, [str(word) for word in words])
    configure()


def printed(result: Result, code: int = 0) -> Any:
    """What a command that ended with `code` has printed for programs."""
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def leaves(command: Any, *words: str) -> Iterator[str]:
    """The commands below a command, as typed after `guerdon`."""
    subs = getattr(command, "commands", {})
    for name, sub in subs.items():
        yield from leaves(sub, *words, name)
    if not subs:
        yield " ".join(words)


DONE = {
    "batch close": "NAME",
    "batch list": "NAME --open --bucket 0",
    "batch release": "NAME",
    "batch suspects": "NAME",
    "claim": "NAME",
    "keys list": "",
    "keystore balances": "",
    "migrate": "",
    "partner add": "NAME another",
    "partner revoke": "NAME another",
    "partner rotate": "NAME another",
    "partner list": "NAME",
    "post": "NAME",
    "prepare-local": "FULL --attestor-url http://127.0.0.1:1",
    "program attestors": "NAME --attestor-url http://127.0.0.1:1",
    "program fund": "NAME 5",
    "program list": "",
    "program show": "NAME",
    "prove": "NAME",
    "watch": "NAME",
    "audit": "--rpc-url NODE --distributor ADDRESS",
}
"""Arguments with which each command ends with 0; in this order they follow each other."""
NOT_DONE = {
    "batch show": "NAME 0 99",
    "demo": "--input GONE",
    "import": "NAME GONE --api-url http://127.0.0.1:1 --partner adnet --secret-env X --label a",
    "keys ceremony beacon": "GONE OUT --hash ab",
    "keys ceremony contribute": "GONE OUT --name Ann",
    "keys ceremony finalize": "dev GONE --ptau GONE",
    "keys ceremony init": "dev --ptau GONE",
    "keys ceremony verify": "dev GONE --ptau GONE",
    "keys dev": "nothing",
    "keys import": "dev GONE",
    "keys verify": "GONE",
    "keystore address": "GONE",
    "keystore new": "FULL/environment",
    "program deploy": "NAME",
    "program register": "NAME 0x12 --attestor-url http://127.0.0.1:1",
    "program resume": "nowhere",
    "up": "--instance nothing",
}
"""Arguments with which each command fails."""


def test_json_of_every_command(
    program: OnChain, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json, and whatever colours the environment asks for, standard output is one plain JSON
    document: of every command there is, done or refused."""
    assert set(leaves(typer.main.get_command(app))) == DONE.keys() | NOT_DONE.keys()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("GUERDON_KEYSTORE_PASSWORD", "x")
    (tmp_path / "environment").touch()
    values = {
        "NAME": program.row.name,
        "NODE": program.chain.url,
        "ADDRESS": program.row.distributor,
        "FULL": str(tmp_path),
        "GONE": str(tmp_path / "gone"),
    }
    for name, arguments in (DONE | NOT_DONE).items():
        for key, value in values.items():
            arguments = arguments.replace(key, value)
        result = command(*name.split(), *arguments.split(), "--json")
        assert (result.exit_code == 0) == (name in DONE), (name, result.output)
        assert result.stdout, (name, result.exception)
        assert "\x1b" not in result.stdout, name
        document = json.loads(result.stdout)
        assert name in DONE or document["error"]["message"] in result.stderr, name


def test_claims_of_somebody_unknown_are_told(program: OnChain, command: Command) -> None:
    """A mistyped address is refused by name; one that is owed nothing is said to be."""
    for wrong, said in (
        ("0x12", "address: expected an address: 0x and 40 hex digits, got '0x12'"),
        (address("nobody").swapcase().replace("X", "x"), "has a wrong EIP-55 checksum"),
    ):
        result = command("claim", program.row.name, address("nobody"), wrong)
        assert (result.exit_code, said in result.stderr) == (1, True), result.output
    result = command("claim", program.row.name, address("nobody").lower())
    assert printed(result) == []
    assert f"{address('nobody')}: nothing is owed" in result.stderr.replace("\n", "")


def test_claim_tells_each_account(program: OnChain, command: Command) -> None:
    """`guerdon claim` prints every account's outcome, and fails while somebody is still owed."""
    program.reward([("ann", 10), ("bob", 20)])
    program.token("setBlocked", address("bob"), True)
    [push] = printed(command("claim", program.row.name), code=1)
    assert push["gas_used"] > 0
    assert [(one["account"], one["result"], one["amount"]) for one in push["payments"]] == [
        (address("ann"), "paid", "10"),
        (address("bob"), "skipped", "0"),
    ]
    program.token("setBlocked", address("bob"), False)
    [push] = printed(command("claim", program.row.name, "--together", 1))
    assert [(one["account"], one["result"], one["reason"]) for one in push["payments"]] == [
        (address("bob"), "paid", None)
    ]
    result = command("claim", program.row.name)
    assert printed(result) == []
    assert "Nothing is owed" in result.stderr


def test_resume(program: OnChain, command: Command) -> None:
    """`guerdon program resume` ends a halt and says from where on it has booked; without a halt, or
    with what cannot be, it says so."""
    result = command("program", "resume", program.row.name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is not halted" in result.stderr
    with program.engine.database.transaction() as session:
        programs.lock(session, program.id).halted = "looked at"
    program.program.fund(5)
    first = program.program.deployment.block
    done = printed(command("program", "resume", program.row.name, "--from-block", first))
    head = program.chain.w3.eth.block_number
    assert done == {
        "program": program.row.name,
        "went_back_to_block": head - 1,
        "events": 1,
        "last_indexed_block": head,
    }
    assert program.row.halted is None
    assert (
        "from_block"
        in command("program", "resume", program.row.name, "--from-block", head + 2).stderr
    )


def test_what_there_is(program: OnChain, command: Command) -> None:
    """Programs, partners and batches are listed and shown, with amounts in tokens for people and in
    base units for programs; batches by state and bucket."""
    program.reward([("dan", 10)])
    with program.engine.database.transaction() as session:
        reserve = ledger.reserve(session, program.id)
    name = program.row.name
    [listed] = [one for one in printed(command("program", "list", "--json")) if one["name"] == name]
    shown = printed(command("program", "show", program.row.distributor.lower(), "--json"))
    assert shown | listed == shown
    assert shown["distributor"] == program.row.distributor
    assert int(shown["reserve"]) == reserve
    text = command("program", "show", name).stdout
    assert program.row.reward_token.text(reserve) in text
    assert "adnet" in shown["partners"]
    [batch, *_] = printed(command("batch", "list", name, "--state", "final", "--json"))
    assert {
        one["state"] for one in printed(command("batch", "list", name, "--open", "--json"))
    } <= {"closed", "attested", "proven", "posted"}
    other = batch["bucket"] + 1
    assert printed(command("batch", "list", name, "--bucket", other, "--json")) == []
    detail = printed(command("batch", "show", name, batch["bucket"], batch["sequence"], "--json"))
    assert (detail["total"], detail["tx_hash"]) == (batch["total"], batch["tx_hash"])
    assert address("dan") in [account["address"] for account in detail["accounts"]]
    text = command("batch", "show", name, batch["bucket"], batch["sequence"]).stdout
    assert detail["tx_hash"] in text
    assert program.row.reward_token.text(int(batch["total"])) in text
    missing = command("batch", "show", name, batch["bucket"], 999).stderr
    assert f"has no batch 999; its newest is {batch['sequence']} (" in missing
    for words in (["--open", "--state", "final"], ["--state", "done"]):
        result = command("batch", "list", name, *words)
        assert (result.exit_code, result.stdout) == (2, ""), words


def test_gas_money(program: OnChain, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each role's key with its address and balance, and how many transactions that pays for; a key
    without money, or one that does not open, is named with what to do."""
    poster, payer, owner = printed(command("keystore", "balances", "--json"))
    assert poster["role"] == "posts batches"
    assert poster["address"] == owner["address"] == program.context.poster.address
    balance = program.context.node.balance(poster["address"])
    assert int(poster["balance_wei"]) == balance
    cost = poster["gas_each"] * int(poster["fee_per_gas_wei"])
    assert poster["transactions_left"] == balance // cost
    assert payer["transactions_left"] > 0
    give_ether(program.chain.node, payer["address"], cost // 10)
    result = command("keystore", "balances", "--json")
    assert "send it 0." in printed(result, code=1)[1]["problem"]
    assert "send it 0." in command("keystore", "balances").stdout
    give_ether(program.chain.node, payer["address"], 10**20)
    gone = program.context.settings.keystore.parent / "gone.json"
    broken = program.context.settings.model_copy(update={"payer_keystore": gone})
    monkeypatch.setattr(cli_context, "settings", lambda: broken)
    found = printed(command("keystore", "balances", "--json"), code=1)
    assert [one["problem"] is None for one in found] == [True, False, True]
    assert str(gone) in found[1]["problem"]


def test_post_fails_while_batches_are_left(program: OnChain, command: Command) -> None:
    """What is not final when the time is over is shown, with what it waits for; a halt is said at
    once."""
    program.engine.take_in(program.row, [report("left over", "cyd", 10)])
    printed(command("batch", "close", program.row.name))
    result = command("post", program.row.name, "--wait-seconds", 0)
    assert (result.exit_code, result.stderr.count("sequence")) == (1, 1), result.output
    with program.engine.database.transaction() as session:
        programs.lock(session, program.id).halted = "looked at"
    result = command("post", program.row.name)
    assert (result.exit_code, "the program is halted: looked at" in result.stderr) == (1, True)
    with program.engine.database.transaction() as session:
        programs.lock(session, program.id).halted = None
