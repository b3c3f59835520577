"""Commands around partners and attestors: secrets are rotated and revoked, and what is reported
over HTTP follows."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from backend.attestor.partner_keys import PartnerKeyFile
from backend.cli import context as cli_context
from backend.kit.log import configure
from backend.kit.terminal import OutputError
from backend.main import app
from backend.partner.models import PartnerSecret
from backend.partner.schemes.standard_webhooks import generate_secret
from backend.program.models import Program
from tests.support.engine import Api, item, settings

Command = Callable[..., Result]
EARNED = int(time.time())
"""One second for all: the same event at another time is another report."""


@pytest.fixture
def command(api: Api, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `guerdon ...` on the API's database."""
    monkeypatch.setattr(cli_context, "settings", lambda: settings(api.engine.url))

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words])
        configure()
        return result

    return run


def printed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def status(api: Api, program: Program, event: str, secret: str) -> int:
    """What the API answers to a report that is signed with `secret`."""
    return api.post(program, [item(event, occurred_at=EARNED)], secret=secret).status_code


def test_rotate(api: Api, command: Command) -> None:
    """The new secret signs at once, the old one until the overlap ends; an event is one event under
    either."""
    program = api.engine.program()
    old = api.engine.secrets[program.id, "adnet"]
    new = printed(command("partner", "rotate", program.name, "adnet", "--overlap", 600))["secret"]
    assert new != old
    assert [status(api, program, "e1", secret) for secret in (old, new)] == [200, 200]
    with api.engine.database.transaction() as session:
        # The ten minutes go by.
        session.execute(
            update(PartnerSecret)
            .where(PartnerSecret.secret == old)
            .values(revoked_at=PartnerSecret.revoked_at - timedelta(seconds=600))
        )
    assert [status(api, program, "e2", secret) for secret in (old, new)] == [401, 200]
    assert api.engine.budget(program) == 2**120 - 2000
    # The secret is on standard output alone, once.
    again = command("partner", "rotate", program.name, "adnet", "--overlap", 0)
    assert printed(again)["secret"] not in again.stderr
    assert [status(api, program, "e3", secret) for secret in (new, printed(again)["secret"])] == [
        401,
        200,
    ]


def test_rotate_to_a_given_secret_and_pin_it(
    api: Api, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret of the partner's own making is taken from the environment; an attestor's pins then
    hold both, the new one first."""
    program = api.engine.program()
    pins = tmp_path / "partners.json"
    first, second = generate_secret(), generate_secret()
    monkeypatch.setenv("FIRST", first)
    monkeypatch.setenv("SECOND", second)
    printed(
        command("partner", "add", program.name, "maker", "--secret-env", "FIRST", "--pins", pins)
    )
    printed(
        command(
            "partner", "rotate", program.name, "maker", "--secret-env", "SECOND", "--pins", pins
        )
    )
    assert PartnerKeyFile(pins).partners(program.distributor)["maker"].secrets == (second, first)
    refused = command("partner", "rotate", program.name, "maker", "--secret-env", "NOT_SET")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "secret: expected whsec_" in refused.stderr


def test_pins_stay_what_they_were(api: Api, command: Command, tmp_path: Path) -> None:
    """Mode, link and other programs' keys are kept; a Distributor in other spellings becomes one
    entry; several files in one folder are written together."""
    program = api.engine.program()
    entry = {"scheme": "standard-webhooks", "secrets": [generate_secret()]}
    real, link, other = (tmp_path / name for name in ("real.json", "link.json", "other.json"))
    known = {
        program.distributor.lower(): {"one": entry},
        program.distributor.upper(): {"two": entry},
        "0x" + "11" * 20: {"three": entry},
    }
    real.write_text(json.dumps(known))
    real.chmod(0o640)
    link.symlink_to(real)
    other.touch()
    words = ["partner", "add", program.name, "four", "--pins", link, "--pins", other]
    secret = printed(command(*words))["secret"]
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert set(json.loads(real.read_text())) == {program.distributor, "0x" + "11" * 20}
    found = PartnerKeyFile(real).partners(program.distributor)
    assert {name: keys.secrets[0] for name, keys in found.items()} == {
        "one": entry["secrets"][0],
        "two": entry["secrets"][0],
        "four": secret,
    }
    assert PartnerKeyFile(other).partners(program.distributor)["four"].secrets == (secret,)


@pytest.mark.parametrize("text", ["{", "[]", '{"0x12": {}}', '{"%s": {"adnet": {"secrets": 1}}}'])
def test_pins_that_are_none_stop_the_command(
    api: Api, command: Command, tmp_path: Path, text: str
) -> None:
    """Before the partner is added: the file is named, and no file is changed."""
    program = api.engine.program()
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    bad.write_text(text.replace("%s", program.distributor))
    before = bad.read_text()
    result = command("partner", "add", program.name, "late", "--pins", good, "--pins", bad)
    assert (result.exit_code, f"pins: {bad}: " in result.stderr) == (1, True), result.output
    assert (bad.read_text(), good.exists()) == (before, False)
    assert command("partner", "rotate", program.name, "late").exit_code == 1


def test_revoke(api: Api, command: Command) -> None:
    """A revoked partner's reports are refused under every secret that it had, until it gets
    another; other partners report on."""
    program = api.engine.program()
    other = api.engine.partner(program, "gamehouse")
    old = api.engine.secrets[program.id, "adnet"]
    new = printed(command("partner", "rotate", program.name, "adnet"))["secret"]
    assert printed(command("partner", "revoke", program.name, "adnet"))["revoked"] == 2
    assert [status(api, program, "e1", secret) for secret in (old, new)] == [401, 401]
    assert api.post(program, [item("e1")], "gamehouse", secret=other).status_code == 200
    assert printed(command("partner", "revoke", program.name, "adnet"))["revoked"] == 0
    newest = printed(command("partner", "rotate", program.name, "adnet"))["secret"]
    assert [status(api, program, "e1", secret) for secret in (old, new, newest)] == [401, 401, 200]


def test_list(api: Api, command: Command) -> None:
    """Each partner with how many secrets of it are in force, and when the first of them ends; no
    secret itself."""
    program = api.engine.program()
    printed(command("partner", "add", program.name, "maker"))
    new = printed(command("partner", "rotate", program.name, "maker", "--overlap", 60))["secret"]
    printed(command("partner", "revoke", program.name, "adnet"))
    result = command("partner", "list", program.name, "--json")
    adnet, maker = printed(result)
    assert (adnet["partner"], adnet["secrets_in_force"], adnet["first_ends_at"]) == (
        "adnet",
        0,
        None,
    )
    assert (maker["partner"], maker["secrets_in_force"]) == ("maker", 2)
    assert maker["first_ends_at"] is not None
    for shown in (result.output, command("partner", "list", program.name).output):
        assert "maker" in shown
        assert "whsec" not in shown
    assert new.startswith("whsec_")


@pytest.mark.parametrize("reader", ["full", "gone"])
def test_a_secret_that_nobody_sees(
    api: Api, command: Command, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """A secret is shown once: where standard output is full, or its reader has left, no partner is
    added and none gets another secret."""
    program = api.engine.program()
    old = api.engine.secrets[program.id, "adnet"]

    def fail(_: object) -> None:
        raise OutputError("No space left on device") if reader == "full" else BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr("backend.kit.terminal.output.document", fail)
        patch.setattr("backend.cli.app._drop_output", lambda: None)
        for words in (("add", program.name, "maker"), ("rotate", program.name, "adnet")):
            result = command("partner", *words)
            assert result.exit_code == 1
            assert ("No space left" in result.stderr) == (reader == "full")
    listed = printed(command("partner", "list", program.name, "--json"))
    assert [(one["partner"], one["secrets_in_force"]) for one in listed] == [("adnet", 1)]
    assert status(api, program, "e1", old) == 200


def test_mistyped_names(api: Api, command: Command) -> None:
    """A name that is nearly one gets the one that is meant, and each says which command lists
    all."""
    program = api.engine.program()
    for words, said in (
        ("partner list progam-1", "did you mean 'program-"),
        ("program show nowhere-at-all", "(`guerdon program list`)"),
        (f"partner revoke {program.name} adnett", "did you mean 'adnet'?"),
        (f"partner revoke {program.name} x", f"(`guerdon partner list {program.name}`)"),
    ):
        result = command(*words.split())
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr


@pytest.mark.parametrize(
    "words",
    ["partner rotate NAME nobody", "partner revoke NAME nobody", "partner revoke nowhere adnet"],
)
def test_unknown(api: Api, command: Command, words: str) -> None:
    """A partner or program that is not there is named."""
    result = command(*words.replace("NAME", api.engine.program().name).split())
    assert result.exit_code == 1
    assert (
        "no partner called 'nobody'" in result.stderr
        or "no program called 'nowhere'" in result.stderr
    )


def test_attestors_move(api: Api, command: Command) -> None:
    """`program attestors` replaces all URLs, as they are asked from then on."""
    program = api.engine.program()
    urls = ["http://127.0.0.1:7001/", "https://attestor.example/two"]
    words = [word for url in urls for word in ("--attestor-url", url)]
    assert printed(command("program", "attestors", program.name, *words))["attestors"] == [
        urls[0].rstrip("/"),
        urls[1],
    ]
    with api.engine.database.transaction() as session:
        assert session.get_one(Program, program.id).attestors == [
            "http://127.0.0.1:7001",
            "https://attestor.example/two",
        ]


@pytest.mark.parametrize(
    "url",
    ["attestor.example", "ftp://attestor.example", "https://", "http://a/?x=1", "http://a/#b", ""],
)
def test_attestor_urls_that_are_none(api: Api, command: Command, url: str) -> None:
    """What is no base URL is refused, and so is one that stands twice; the program's stay as they
    are."""
    program = api.engine.program()
    for words in ([url], ["http://a", "http://a/"]):
        options = [word for one in words for word in ("--attestor-url", one)]
        result = command("program", "attestors", program.name, *options)
        assert (result.exit_code, "attestor_url: expected" in result.stderr) == (1, True)
    with api.engine.database.transaction() as session:
        assert session.get_one(Program, program.id).attestors == []
