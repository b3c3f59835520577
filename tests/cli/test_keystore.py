"""`guerdon keystore`"""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.config import settings
from backend.main import app
from backend.signer import keystore


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """Settings are read anew, after the test has set its variables."""
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.slow
def test_a_key_is_made_and_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the password of the environment: the same address twice, a file for its owner alone, and
    never the key on the screen."""
    monkeypatch.setenv("GUERDON_KEYSTORE_PASSWORD", "correct horse")
    file = tmp_path / "poster.json"
    made = CliRunner().invoke(app, ["keystore", "new", str(file)])
    assert made.exit_code == 0, made.output
    assert CliRunner().invoke(app, ["keystore", "address", str(file)]).output == made.output
    assert made.output.strip() == keystore.load(file, "correct horse").address
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_typed_password_is_asked_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable."""
    monkeypatch.delenv("GUERDON_KEYSTORE_PASSWORD", raising=False)
    file = tmp_path / "poster.json"
    made = CliRunner().invoke(app, ["keystore", "new", str(file)], input="battery\nbattery\n")
    assert made.exit_code == 0, made.output
    assert "battery" not in made.output
    keystore.load(file, "battery")


def test_a_key_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line, and the file stays; a wrong password is one too."""
    monkeypatch.setenv("GUERDON_KEYSTORE_PASSWORD", "correct horse")
    file = tmp_path / "poster.json"
    keystore.create(file, "another", scrypt_n=keystore.SCRYPT_N_LOCAL)
    before = file.read_bytes()
    for command, said in (
        ("new", "exists already, and a key is never overwritten"),
        ("address", "wrong password"),
    ):
        done = CliRunner().invoke(app, ["keystore", command, str(file)])
        assert (done.exit_code, said in done.output) == (1, True), done.output
    assert file.read_bytes() == before
