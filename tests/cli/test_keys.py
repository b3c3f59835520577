"""`guerdon keys`: a ceremony held by commands, exit codes, and the verifier on chain."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from backend.chain.deploy import Deployer, deploy_program
from backend.main import app
from backend.signer.keystore import KeystoreSigner
from prover import ceremony, groth16, key_store
from prover.cache import cache_root
from prover.circuit import compile_instance, instances, load_instance
from prover.groth16 import dev_key
from prover.keys import SetupError
from prover.zkey import read_zkey
from scripts.rehearsal_ptau import rehearsal_ptau
from tests.prover.mutations import INSTANCE
from tests.support.anvil import anvil

DEV = load_instance("dev")
runner = CliRunner()


def guerdon(*arguments: object, fails: bool = False) -> Result:
    """Run the command; what fails says so in one line, without a traceback."""
    result = runner.invoke(app, ["keys", *map(str, arguments)], env={"COLUMNS": "250"})
    assert result.exit_code == (1 if fails else 0), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert fails == ("error:" in result.stderr)
    return result


@pytest.fixture
def ptau(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Powers of tau for the small instance, which the commands know; a cache folder without
    keys."""
    powers = rehearsal_ptau(ceremony.required_power(INSTANCE))
    for folder in (
        compile_instance(INSTANCE).r1cs.parent,
        ceremony.initial_key(INSTANCE, powers).parent,
    ):
        shutil.copytree(folder, tmp_path / "cache" / folder.relative_to(cache_root()))
    known = {**instances(), INSTANCE.name: INSTANCE}
    monkeypatch.setattr("prover.circuit.instances", lambda: known)
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return powers


@pytest.mark.soak
def test_a_ceremony_by_commands(ptau: Path, tmp_path: Path) -> None:
    """init, two people, a beacon, finalize: each step prints the hashes, the key is then listed,
    verified and preferred."""
    guerdon("ceremony", "init", "small", "--ptau", ptau, "--out", "0.zkey")
    for number, name in enumerate(["Ann", "Bob"]):
        printed = guerdon(
            "ceremony", "contribute", f"{number}.zkey", f"{number + 1}.zkey", "--name", name
        ).stdout
        assert read_zkey(tmp_path / f"{number + 1}.zkey").contributions[-1].hash in printed
    guerdon("ceremony", "finalize", "small", "2.zkey", "--ptau", ptau, fails=True)
    guerdon("ceremony", "beacon", "2.zkey", "final.zkey", "--hash", "ab" * 32)
    verified = guerdon("ceremony", "verify", "small", "final.zkey", "--ptau", ptau)
    said = " ".join(verified.stderr.split())  # wherever the terminal breaks lines
    assert "NOT one of the published files" in said
    assert "3 beacon" in verified.stdout
    refused = guerdon("ceremony", "finalize", "small", "final.zkey", "--ptau", ptau, fails=True)
    assert "--ptau-blake2b" in refused.stderr
    blake2b = ceremony.check_ptau(INSTANCE, ptau)
    facts = json.loads(
        guerdon(
            "ceremony", "finalize", "small", "final.zkey", "--ptau", ptau, "--ptau-blake2b", blake2b
        ).stdout
    )
    assert facts["origin"] == "ceremony"
    assert [link["name"] for link in facts["transcript"]["contributions"]] == [
        "Ann",
        "Bob",
        "beacon",
    ]
    assert Path(facts["folder"]).parent == tmp_path / "cache" / "keys"
    listed = guerdon("list").stdout
    assert facts["key_digest"][:16] in listed
    assert "ceremony" in listed
    checked = guerdon("verify", "small", "--ptau", ptau)
    assert json.loads(checked.stdout)["key_digest"] == facts["key_digest"]
    assert checked.stderr.count("ok: ") == 5
    made = json.loads(guerdon("dev", "small").stdout)
    assert made["origin"] == "dev"
    again = guerdon("import", "small", "final.zkey", "--out", "copy")
    assert json.loads(again.stdout)["origin"] == "unchecked"
    assert "refused off local chains" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "dev", "none.zkey"], "none.zkey"),
        (["import", "tiny", "none.zkey"], "instance: expected one of"),
        (["verify"], "expected a key's folder or an instance"),
        (["verify", "nothing"], "no key here"),
        (["ceremony", "init", "dev", "--ptau", "none.ptau"], "none.ptau"),
        (["ceremony", "contribute", "none.zkey", "out.zkey", "--name", "Ann"], "none.zkey"),
        (["ceremony", "contribute", "none.zkey", "out.zkey", "--name", "\t"], "name: expected"),
        (["ceremony", "beacon", "none.zkey", "out.zkey", "--hash", "12"], "hash: expected"),
        (["ceremony", "finalize", "dev", "none.zkey", "--ptau", "none.ptau"], "none.zkey"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names what is wrong; nothing is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GUERDON_KEY", raising=False)
    assert message in guerdon(*arguments, fails=True).stderr
    assert not list(tmp_path.iterdir())


def test_a_verifier_is_compared_with_the_key() -> None:
    """The verifier of this key passes; one of another key, another contract and an empty address
    each fail with the reason."""
    key = dev_key(DEV)
    words = key.verifying_key.to_words()
    other = [*words[:14], *words[16:18], *words[14:16], *words[18:]]
    with anvil() as chain:
        deployer = Deployer(chain.node, KeystoreSigner(chain.key(0)))
        (right, _), (wrong, _) = (
            deployer.create("Groth16Verifier", each) for each in (words, other)
        )
        hasher, _ = deployer.create("Poseidon2")
        node = ["--rpc-url", chain.url]
        assert (
            "ok: the deployed verifier's code is ours"
            in guerdon("verify", key.path, *node, "--verifier", right).stderr
        )
        assert "ours" in guerdon("verify", key.path, *node, "--verifier", right.upper()).stderr
        for options, said in (
            (["--verifier", right, "--distributor", right], "not both"),
            ([], "--rpc-url: nothing to read there"),
        ):
            refused = runner.invoke(app, ["keys", "verify", str(key.path), *node, *options])
            assert (refused.exit_code, said in refused.stderr) == (2, True), refused.output
        for address, message in (
            (wrong, "not this one"),
            (hasher, "bytes of code, expected"),
            ("0x" + "11" * 20, "0 bytes of code"),
            (right.swapcase().replace("X", "x"), "verifier: 0x"),
            ("me", "verifier: expected an address"),
        ):
            assert (
                message
                in guerdon("verify", key.path, *node, "--verifier", address, fails=True).stderr
            )


def test_a_check_makes_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify` of an instance without a key says so: the making takes minutes and disk."""
    monkeypatch.setattr(key_store, "existing_key_for", lambda *_: None)
    monkeypatch.setattr(groth16, "dev_key", lambda *_: pytest.fail("a key was made"))
    assert "this machine has no key of instance dev" in guerdon("verify", "dev", fails=True).stderr


def test_the_cost_of_a_development_key_is_said_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By `keys dev`, with the folder; nothing is said where the key is there already."""
    real = dev_key(DEV)
    monkeypatch.setattr(groth16, "dev_key", lambda *_: real)
    assert "MB" not in guerdon("dev", "dev").stderr
    monkeypatch.setattr(groth16, "dev_key_path", lambda *_: tmp_path / "none")
    assert "development key: about 30 MB in" in guerdon("dev", "dev").stderr


def test_only_the_flag_with_the_frightening_name_lets_a_development_key_out() -> None:
    """On a chain that is not local it is refused, and deployed only where the caller says what it
    can do."""
    with anvil(chain_id=1) as chain:
        signer = KeystoreSigner(chain.key(0))
        token, _ = Deployer(chain.node, signer).create("TestToken", "Token", "TOK")
        attestors = [chain.key(i).address for i in (1, 2)]
        with pytest.raises(SetupError, match="must not guard money there"):
            deploy_program(
                Deployer(chain.node, signer), dev_key(DEV), DEV, attestors, 2, token=token
            )
        assert deploy_program(
            Deployer(chain.node, signer),
            dev_key(DEV),
            DEV,
            attestors,
            2,
            token=token,
            allow_single_party_key=True,
        ).distributor
    shown = runner.invoke(app, ["program", "deploy", "--help"], env={"COLUMNS": "250"}).output
    assert "--i-know-this-key-can-steal-everything" in shown
