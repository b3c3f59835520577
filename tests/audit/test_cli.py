"""The command line: exit codes, the table and the JSON."""

import json
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from backend.audit import auditor
from backend.audit.cli import audit
from prover.groth16 import dev_key
from tests.support.anvil import Anvil
from tests.support.program import DEV, Program, account, permissive_program

pytestmark = pytest.mark.usefixtures("remembered_proofs")
app = typer.Typer()
app.command()(audit)
runner = CliRunner()


def test_unreachable_node_is_exit_2() -> None:
    """What could not be audited is told apart from what does not hold."""
    result = runner.invoke(
        app, ["--rpc-url", "http://127.0.0.1:1", "--distributor", account("x").address]
    )
    assert result.exit_code == 2
    assert "no Ethereum node answers" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--distributor", "0x12"],
        ["--distributor", account("x").address.swapcase().replace("X", "x")],
        ["--distributor", account("x").address, "--json"],
    ],
)
def test_no_distributor_is_exit_2(honest: Program, options: list[str]) -> None:
    """A wrong address is an error with its reason; with --json standard output is JSON all the
    same."""
    result = runner.invoke(app, ["--rpc-url", honest.chain.url, *options])
    assert result.exit_code == 2
    assert "could not audit" in result.stderr
    assert "--json" not in options or json.loads(result.stdout)["ok"] is False


def test_findings_are_exit_1(chain: Anvil) -> None:
    """A program that does not hold gives exit code 1 and names the batch."""
    program = permissive_program(chain)
    program.post(4, [(account("ann").address, 7)])
    options = ["--rpc-url", chain.url, "--distributor", program.address]
    table = runner.invoke(app, options)
    assert (table.exit_code, "does not hold" in table.stdout) == (1, True)
    # In the token's own decimals, with its symbol.
    assert "0.000000000000000007 TRW" in table.stdout
    result = runner.invoke(app, [*options, "--json"])
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    found = {
        (finding["code"], finding["bucket"], finding["sequence"]) for finding in data["findings"]
    }
    assert {("reserve_exceeded", 4, 1), ("account_not_home", 4, 1)} <= found


def test_all_holds_is_exit_0(honest: Program) -> None:
    """Exit code 0 and the totals as decimal strings, with the key named."""
    key = dev_key(DEV)
    options = [
        "--rpc-url",
        honest.chain.url,
        "--distributor",
        honest.address,
        "--key",
        str(key.path),
        "--json",
    ]
    result = runner.invoke(app, [*options, "--first-block", str(honest.deployment.block)])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["ok"] is True
    assert data["key_digest"] == key.verifying_key.digest
    assert len(data["batches"]) == 4
    assert (data["token_symbol"], data["token_decimals"]) == ("TRW", 18)


def test_another_expected_key_is_exit_1(honest: Program) -> None:
    """With --key naming another key than the verifier's, the audit fails."""
    options = ["--rpc-url", honest.chain.url, "--distributor", honest.address, "--key", "ab" * 32]
    result = runner.invoke(app, options)
    assert result.exit_code == 1
    assert "verifier_key_differs" in result.stdout


def test_the_age_of_the_last_block_is_said_and_bounded(
    honest: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds, holds as of a block: its number and its age are told, an old one is warned of,
    and one older than --max-age is exit code 2, before anything is read."""
    chain = honest.chain
    options = ["--rpc-url", chain.url, "--distributor", honest.address]
    key = ["--key", str(dev_key(DEV).path)]
    head = chain.node.block("latest")
    monkeypatch.setattr(auditor, "time", SimpleNamespace(time=lambda: head.timestamp + 7200))
    old = runner.invoke(app, [*options, *key])
    assert old.exit_code == 0, old.output
    assert f"as of block {head.number}, 2 h old" in " ".join(old.stdout.split())
    assert "has caught up" in " ".join(old.stderr.split())
    stale = runner.invoke(app, [*options, "--max-age", "7199", "--json"])
    assert (stale.exit_code, json.loads(stale.stdout)["error"]["code"]) == (2, "stale_head")
    fresh = runner.invoke(app, [*options, *key, "--max-age", "7200", "--json"])
    assert (fresh.exit_code, json.loads(fresh.stdout)["age_seconds"]) == (0, 7200)
