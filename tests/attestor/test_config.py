"""Configuration and pins: what is wrong is named, what is secret is not shown."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.attestor.config import ConfigError, load_config
from backend.attestor.partner_keys import PartnerKeyFile, PartnerKeysError, parse_partner_keys
from backend.partner.schemes.standard_webhooks import generate_secret
from backend.signer import keystore

ADDRESS = "0x" + "ab" * 20
GOOD = {
    "chain_id": 31337,
    "rpc_url": "http://node/key",
    "keystore": "key.json",
    "password_file": "password",
    "database": "store.sqlite",
    "pins": "partners.json",
    "programs": [{"distributor": ADDRESS, "instance": "dev"}],
}


@pytest.fixture
def write(tmp_path):
    """Writes a configuration with changes; a value of ... removes the key."""

    def write_config(**changes):
        values = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
        (tmp_path / "config.json").write_text(json.dumps(values))
        return tmp_path / "config.json"

    return write_config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"chain_id": ...}, "chain_id"),
        ({"chain_id": "x"}, "chain_id"),
        ({"colour": "red"}, "colour"),
        ({"programs": []}, "programs"),
        ({"programs": [{"distributor": "0x12", "instance": "dev"}]}, "programs.0.distributor"),
        ({"programs": [{"distributor": ADDRESS, "instance": "huge"}]}, "programs.0.instance"),
        (
            {"programs": [{"distributor": ADDRESS, "instance": "dev", "finality": "soon"}]},
            "programs.0.finality",
        ),
        (
            {"programs": [{"distributor": ADDRESS, "instance": "dev", "families": 0}]},
            "programs.0.families",
        ),
        ({"programs": [{"distributor": ADDRESS, "instance": "dev"}] * 2}, "listed twice"),
        ({"password_file": ...}, "password_file, password_env"),
        ({"password_env": "X"}, "password_file, password_env"),
        ({"token_file": "a", "token_env": "B"}, "token_file, token_env"),
        ({"port": 70000}, "port"),
    ],
)
def test_bad_configuration(write, changes, named):
    """Every fault is named by file and key."""
    path = write(**changes)
    with pytest.raises(ConfigError, match=named) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_not_a_configuration(tmp_path, text):
    """Another kind of file is refused."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "config.json")


def test_misplaced_password_is_not_shown(write):
    """A password written into the configuration is refused without being repeated."""
    with pytest.raises(ConfigError, match="password") as caught:
        load_config(write(password="hunter2"))
    assert "hunter2" not in str(caught.value)


def test_toml_and_relative_paths(tmp_path):
    """TOML says the same as JSON; paths start at the file's folder; overrides win."""
    (tmp_path / "config.toml").write_text(
        'chain_id = 31337\nrpc_url = "http://node"\nkeystore = "keys/key.json"\npassword_env '
        '= "ATTESTOR_PASSWORD"\n'
        'database = "/var/store.sqlite"\npins = "partners.json"\n[[programs]]\ndistributor = '
        f'"{ADDRESS}"\ninstance = "standard"\n'
    )
    config = load_config(tmp_path / "config.toml", port=9999, host=None)
    assert config.keystore == tmp_path / "keys" / "key.json"
    assert config.database == Path("/var/store.sqlite")
    assert (config.port, config.host) == (9999, "127.0.0.1")
    assert config.programs[0].finality == "finalized"
    assert config.programs[0].sizes.slots == 512


def test_secrets_from_files_and_variables(write, tmp_path, monkeypatch):
    """Password and token come from a file or a variable; a missing or empty one is said so."""
    config = load_config(write(token_env="GUERDON_TEST_TOKEN"))
    with pytest.raises(ConfigError, match="password_file"):
        _ = config.password
    (tmp_path / "password").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        _ = config.password
    (tmp_path / "password").write_text("pass word\n")
    assert config.password == "pass word"
    with pytest.raises(ConfigError, match="GUERDON_TEST_TOKEN is empty"):
        _ = config.token
    monkeypatch.setenv("GUERDON_TEST_TOKEN", "t")
    assert config.token == "t"
    assert load_config(write()).token is None


def test_repr_hides_the_node_url(write):
    """A node's URL often holds an API key."""
    assert "http://node/key" not in repr(load_config(write()))


def test_start_with_a_wrong_password(write, tmp_path):
    """The program ends with a message and exit code 2, without a traceback and without the
    password."""
    keystore.create(tmp_path / "key.json", "right", scrypt_n=2)
    (tmp_path / "password").write_text("wrong-password")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "backend.attestor", "--config", str(write())]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=root, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "wrong password, or the file is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert "wrong-password" not in done.stderr + done.stdout


SECRET = generate_secret()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([], "pins"),
        ({"0x12": {}}, "0x12"),
        ({ADDRESS: []}, "expected an object"),
        ({ADDRESS: {"adnet": []}}, r"\.adnet"),
        ({ADDRESS: {"adnet": {"scheme": "none", "secrets": [SECRET]}}}, r"\.adnet\.scheme"),
        ({ADDRESS: {"adnet": {"scheme": "standard-webhooks", "secrets": []}}}, r"\.adnet\.secrets"),
        (
            {ADDRESS: {"adnet": {"scheme": "standard-webhooks", "secrets": "x"}}},
            r"\.adnet\.secrets",
        ),
        (
            {ADDRESS: {"adnet": {"scheme": "standard-webhooks", "secrets": ["whsec_hush"]}}},
            r"\.adnet\.secrets",
        ),
        (
            {ADDRESS: {"adnet": {"scheme": "standard-webhooks", "secrets": [SECRET], "note": 1}}},
            r"\.adnet\.note",
        ),
        ({ADDRESS: {}, ADDRESS.upper().replace("X", "x"): {}}, "listed twice"),
    ],
)
def test_bad_pins(content, named):
    """A fault in the pins is named by its place; no secret is repeated."""
    with pytest.raises(PartnerKeysError, match=named) as caught:
        parse_partner_keys(json.dumps(content).encode())
    assert "hush" not in str(caught.value)


def test_pins_are_read_again(tmp_path):
    """A change is seen at the next look, a missing file is an error, and repr shows no secret."""
    pins = PartnerKeyFile(tmp_path / "partners.json")
    with pytest.raises(PartnerKeysError, match="cannot be read"):
        pins.partners(ADDRESS)
    for secrets in ([SECRET], [generate_secret(), SECRET]):
        entry = {"scheme": "standard-webhooks", "secrets": secrets}
        (tmp_path / "partners.json").write_text(json.dumps({ADDRESS: {"adnet": entry}}))
        found = pins.partners("0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB")
        assert found["adnet"].secrets == tuple(secrets)
        assert SECRET not in repr(found)
    assert pins.partners("0x" + "11" * 20) == {}


def test_the_sample_in_the_docs_is_one(tmp_path):
    """docs/OPERATIONS.md shows a configuration that loads as it stands, its paths relative to
    it."""
    text = (Path(__file__).parents[2] / "docs" / "OPERATIONS.md").read_text()
    (tmp_path / "attestor.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    config = load_config(tmp_path / "attestor.toml")
    assert (config.port, config.programs[0].instance, config.keystore) == (
        8700,
        "standard",
        tmp_path / "key.json",
    )
