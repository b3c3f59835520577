"""A signer is opened by what a setting says."""

from pathlib import Path

import pytest

from backend.signer import keystore
from backend.signer.base import SignerError
from backend.signer.factory import open_signer, relative_to


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    keystore.create(path, "secret", scrypt_n=keystore.SCRYPT_N_LOCAL)
    return path


def test_a_path_and_a_keystore_uri_open_the_same_key(key: Path) -> None:
    """Settings written before there were kinds of signers keep working."""
    address = keystore.load(key, "secret").address
    assert open_signer(key, "secret").address == address
    assert open_signer(str(key), "secret").address == address
    assert open_signer(f"keystore:{key}", "secret").address == address


def test_another_kind_is_refused(key: Path) -> None:
    """A kind that does not exist is an error that names it, not a path that is missing."""
    with pytest.raises(SignerError, match="got the kind 'vault'"):
        open_signer("vault:guerdon", "secret")


def test_a_wrong_password_is_said(key: Path) -> None:
    """As for the keystore itself."""
    with pytest.raises(SignerError, match="wrong password"):
        open_signer(f"keystore:{key}", "other")


def test_a_path_within_a_uri_is_relative_to_the_folder(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the kind; a path from the root and one from the home folder stay."""
    folder = key.parent
    monkeypatch.setenv("HOME", str(folder))
    address = keystore.load(key, "secret").address
    for uri in (
        "key.json",
        "keystore:key.json",
        str(key),
        f"keystore:{key}",
        "keystore:~/key.json",
    ):
        assert open_signer(relative_to(uri, folder), "secret").address == address
    assert relative_to("vault:guerdon", folder) == "vault:guerdon"
    (folder / "vault:key").write_bytes(key.read_bytes())
    assert open_signer(relative_to("vault:key", folder), "secret").address == address
    assert open_signer("~/key.json", "secret").address == address
