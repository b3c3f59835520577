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
from backend.signer.base import SignerError
from backend.signer.factory import open_signer

ADDRESS = "0x" + "ab" * 20
CHECKSUMMED = "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"
GOOD = {
    "chain_id": 31337,
    "rpc_url": "http://node/key",
    "keystore": "key.json",
    "password_file": "password",
    "database": "store.sqlite",
    "pins": "partners.json",
    "programs": [{"distributor": ADDRESS, "instance": "dev"}],
}


def moved(number, predecessor=None):
    """A listed program, by the number in its address, and the one that it goes on for."""
    entry = {"distributor": f"{number:#042x}", "instance": "dev"}
    return entry | ({"predecessor": f"{predecessor:#042x}"} if predecessor else {})


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
            {"programs": [{"distributor": ADDRESS, "instance": "dev", "families": 1}]},
            "programs.0: .*families is read from the chain: remove the key",
        ),
        ({"programs": [{"distributor": ADDRESS, "instance": "dev"}] * 2}, "listed twice"),
        ({"programs": [moved(1, 2)]}, "is not listed"),
        ({"programs": [moved(1, 1)]}, "a predecessor of itself"),
        ({"programs": [moved(1, 2), moved(2, 1)]}, "a predecessor of itself"),
        ({"programs": [moved(1), moved(2, 1), moved(3, 1)]}, "the predecessor of two programs"),
        ({"programs": [moved(1), {**moved(2), "predecessor": "0x1"}]}, "programs.1.predecessor"),
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


def test_a_keystore_uri_starts_at_the_configurations_folder(write, tmp_path, monkeypatch):
    """As a bare path does; an unknown kind is named where the key is opened."""
    keystore.create(tmp_path / "key.json", "secret", scrypt_n=2)
    monkeypatch.chdir("/")
    for uri in ("key.json", "keystore:key.json", f"keystore:{tmp_path}/key.json"):
        config = load_config(write(keystore=uri))
        assert open_signer(config.keystore, "secret").address.startswith("0x")
    with pytest.raises(SignerError, match="kind 'vault'"):
        open_signer(load_config(write(keystore="vault:key")).keystore, "secret")


@pytest.mark.parametrize("spelling", [ADDRESS, CHECKSUMMED, ADDRESS.upper()])
def test_a_distributor_in_any_spelling(write, spelling):
    """One program, under its EIP-55 form; listed in two spellings it is listed twice."""
    program = {"distributor": spelling, "instance": "dev"}
    assert load_config(write(programs=[program])).programs[0].distributor == CHECKSUMMED
    with pytest.raises(ConfigError, match="listed twice"):
        load_config(write(programs=[program, {"distributor": CHECKSUMMED, "instance": "dev"}]))


@pytest.mark.parametrize("finality", [12, "12", "safe"])
def test_a_number_of_confirmations_needs_no_quotes(write, finality):
    """TOML and JSON have numbers; true is none."""
    program = {"distributor": ADDRESS, "instance": "dev"}
    config = load_config(write(programs=[program | {"finality": finality}]))
    assert config.programs[0].finality == str(finality)
    with pytest.raises(ConfigError, match="finality"):
        load_config(write(programs=[program | {"finality": True}]))


def test_a_key_that_is_listed_twice(write):
    """The usual reader would keep the last one in silence."""
    path = write()
    path.write_text(path.read_text()[:-1] + ', "keystore": "other.json"}')
    with pytest.raises(ConfigError, match="'keystore' is listed twice"):
        load_config(path)


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


SECRET, OTHER = generate_secret(), generate_secret()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([], "pins"),
        ({"0x12": {}}, "0x12"),
        ({ADDRESS: {}, "0xAB" + "ab" * 19: {}}, "wrong EIP-55 checksum"),
    ],
)
def test_bad_pins(content, named):
    """A fault that is no one program's is named; no program can be served."""
    with pytest.raises(PartnerKeysError, match=named):
        parse_partner_keys(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("content", "named"),
    [
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
        (
            {
                ADDRESS: {"adnet": {"scheme": "standard-webhooks", "secrets": [SECRET]}},
                ADDRESS.upper(): {"adnet": {"scheme": "standard-webhooks", "secrets": ["whsec_x"]}},
            },
            r"\.adnet\.secrets",
        ),
        (
            {
                ADDRESS: {"adnet": {"scheme": "standard-webhooks", "secrets": [SECRET]}},
                ADDRESS.upper(): {"adnet": {"scheme": "standard-webhooks", "secrets": [OTHER]}},
            },
            "is listed twice, with different keys",
        ),
    ],
)
def test_bad_pins_of_one_program(tmp_path, content, named):
    """A fault in a program's pins is named by its place, and stops no other program; no secret is
    repeated."""
    other = "0x" + "11" * 20
    good = {"adnet": {"scheme": "standard-webhooks", "secrets": [SECRET]}}
    path = tmp_path / "partners.json"
    path.write_text(json.dumps(content | {other: good}))
    pins = PartnerKeyFile(path)
    for _ in range(2):
        with pytest.raises(PartnerKeysError, match=named) as caught:
            pins.partners(CHECKSUMMED)
        assert "hush" not in str(caught.value)
        assert SECRET not in str(caught.value)
        assert OTHER not in str(caught.value)
    assert pins.partners(other)["adnet"].secrets == (SECRET,)


def test_a_distributor_in_several_spellings_is_one(tmp_path):
    """All its partners are known, also under a spelling that stands twice; none is lost."""
    entry = json.dumps({"scheme": "standard-webhooks", "secrets": [SECRET]})
    spellings = [ADDRESS, ADDRESS, CHECKSUMMED, ADDRESS.upper(), "0x" + ADDRESS[2:].upper()]
    path = tmp_path / "partners.json"
    path.write_text(
        "{" + ", ".join(f'"{s}": {{"p{i}": {entry}}}' for i, s in enumerate(spellings)) + "}"
    )
    assert set(PartnerKeyFile(path).partners(CHECKSUMMED)) == {"p0", "p1", "p2", "p3", "p4"}
    twice = f'"{ADDRESS}": {{"adnet": {entry}}}, "{CHECKSUMMED}": {{"adnet": {entry}}}'
    path.write_text("{" + twice + "}")
    assert set(PartnerKeyFile(path).partners(CHECKSUMMED)) == {"adnet"}
    path.write_text(
        f'{{"{ADDRESS}": {{"adnet": {entry}, "adnet": {entry[:-1]}, "scheme": "x"}}}}}}'
    )
    with pytest.raises(PartnerKeysError, match="is listed twice"):
        PartnerKeyFile(path).partners(CHECKSUMMED)


def test_pins_are_read_again(tmp_path):
    """A change is seen at the next look, a missing file is an error, and repr shows no secret."""
    pins = PartnerKeyFile(tmp_path / "partners.json")
    with pytest.raises(PartnerKeysError, match="cannot be read"):
        pins.partners(ADDRESS)
    for secrets in ([SECRET], [generate_secret(), SECRET]):
        entry = {"scheme": "standard-webhooks", "secrets": secrets}
        (tmp_path / "partners.json").write_text(json.dumps({ADDRESS: {"adnet": entry}}))
        found = pins.partners(CHECKSUMMED)
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
