"""prover/key_store.py and zkey.py: which keys a machine takes in, and which of them it uses
where."""

import hashlib
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from prover import ceremony, key_store
from prover.cache import cache_root
from prover.ceremony import CeremonyError
from prover.circuit import compile_instance
from prover.keys import KeyFolder, SetupError
from prover.zkey import read_zkey
from tests.prover.mutations import INSTANCE
from tests.prover.rehearsal import BEACON, DEV, PEOPLE, section, spoiled


def test_a_key_of_beacons_alone_is_imported_by_nobody(
    small_files: list[Path], ptau: Path, tmp_path: Path
) -> None:
    """Other tools do what ours refuses; whoever knows the beacon, and that is everyone, can forge
    under such a key."""
    out = tmp_path / "beacon.zkey"
    command = [ceremony.SNARKJS, "zkey", "beacon", small_files[0], out, BEACON, "10"]
    subprocess.run(command, check=True, capture_output=True)
    blake2b = ceremony.check_ptau(INSTANCE, ptau)
    for options in ({}, {"ptau": ptau, "ptau_blake2b": blake2b}):
        with pytest.raises(SetupError, match="nobody has contributed a secret"):
            key_store.import_zkey(INSTANCE, out, **options, out=tmp_path / "key")
    assert not (tmp_path / "key").exists()


def test_a_ceremony_under_way_makes_no_checked_key(
    small_files: list[Path], ptau: Path, tmp_path: Path
) -> None:
    """Before the beacon the last contributor could have chosen among keys."""
    with pytest.raises(CeremonyError, match="the last contribution is 'Cyd', expected the beacon"):
        key_store.import_zkey(
            INSTANCE,
            small_files[3],
            ptau,
            ptau_blake2b=ceremony.check_ptau(INSTANCE, ptau),
            out=tmp_path / "key",
        )
    assert not (tmp_path / "key").exists()


def test_a_manifest_that_calls_it_a_ceremony_is_not_enough(
    small_ceremony_key: KeyFolder, tmp_path: Path
) -> None:
    """A key of before these checks, or an edited manifest: what the transcript lacks keeps it off
    public chains."""
    folder = shutil.copytree(small_ceremony_key.path, tmp_path / "key")
    small_ceremony_key.require_allowed_on(1)
    manifest = json.loads((folder / "manifest.json").read_text())
    for links, missing in (
        (slice(3, 4), "nobody has contributed a secret"),
        (slice(0, 3), "expected the beacon"),
    ):
        transcript = {
            **manifest["transcript"],
            "contributions": manifest["transcript"]["contributions"][links],
        }
        (folder / "manifest.json").write_text(json.dumps({**manifest, "transcript": transcript}))
        with pytest.raises(SetupError, match=missing):
            KeyFolder(folder).require_allowed_on(1)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "transcript": None}))
    with pytest.raises(SetupError, match="no transcript"):
        KeyFolder(folder).require_allowed_on(1)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data, at: data.__setitem__(at, 0), "without|of kind 0, with"),
        (lambda data, at: data.__setitem__(at, 2), "of kind 2"),
    ],
    ids=["a beacon as a person", "another kind"],
)
def test_what_is_no_person_does_not_pass_for_one(
    final: Path, tmp_path: Path, edit: Callable[[bytearray, int], None], message: str
) -> None:
    """A contribution is a person's, with nothing public, or a beacon's, with its randomness."""

    def last_kind(data: bytearray) -> None:
        start, size = section(data, 10)
        at, kind = start + 68, 0
        while at < start + size:
            kind = at + 384
            at += 392 + struct.unpack_from("<I", data, at + 388)[0]
        edit(data, kind)

    with pytest.raises(SetupError, match=message):
        read_zkey(spoiled(final, tmp_path / "odd.zkey", last_kind))


def test_a_beacon_that_takes_years_to_check_is_refused(
    final: Path, ptau: Path, tmp_path: Path
) -> None:
    """2^63 hashes, asked for by whoever sent the file."""

    def years(data: bytearray) -> None:
        start, size = section(data, 10)
        at = bytes(data).rindex(bytes([2, 10]), start, start + size)
        data[at + 1] = 63

    with pytest.raises(CeremonyError, match=r"hashed 2\^63 times, expected 2\^10 to 2\^32"):
        ceremony.verify(INSTANCE, spoiled(final, tmp_path / "slow.zkey", years), ptau)


def test_hashes_are_those_that_snarkjs_shows(small_files: list[Path], ptau: Path) -> None:
    """What we write into the manifest is what a contributor sees in any other tool."""
    command = [ceremony.SNARKJS, "zkvi", small_files[0], ptau, small_files[-1]]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = "".join(c for c in shown if c in "0123456789abcdef")
    key = read_zkey(small_files[-1])
    assert [(link.name, link.beacon) for link in key.contributions] == [
        ("Ann", ""),
        ("Bob", ""),
        ("Cyd", ""),
        ("beacon", BEACON),
    ]
    assert "ZKey Ok!" in shown
    assert all(
        value in words for value in (key.circuit_hash, *(link.hash for link in key.contributions))
    )


def test_an_imported_key_passes_every_check_and_a_spoiled_folder_none(
    small_ceremony_key: KeyFolder, ptau: Path, tmp_path: Path
) -> None:
    """The folder holds key, ceremony's file and manifest; exchanging any of them is found."""
    manifest = small_ceremony_key.manifest
    assert manifest.origin == "ceremony"
    assert [link.name for link in manifest.transcript.contributions] == [*PEOPLE, "beacon"]
    assert manifest.transcript.ptau_blake2b == hashlib.blake2b(ptau.read_bytes()).hexdigest()
    small_ceremony_key.require_allowed_on(1)
    passed: list[str] = []
    key_store.verify_key(small_ceremony_key, INSTANCE, ptau, passed.append)
    assert len(passed) == 5
    for name, message in (
        ("key.zkey", "not the file that"),
        ("proving_key.bin", "not the one"),
        ("manifest.json", "no key here"),
    ):
        copy = KeyFolder(Path(shutil.copytree(small_ceremony_key.path, tmp_path / name)))
        (copy.path / name).write_bytes((copy.path / name).read_bytes() + b"x")
        with pytest.raises(SetupError, match=message):
            key_store.verify_key(copy, INSTANCE)


@pytest.fixture
def own_cache(ptau: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own that holds no key, but what takes long to make."""
    for folder in (
        compile_instance(INSTANCE).r1cs.parent,
        ceremony.initial_key(INSTANCE, ptau).parent,
    ):
        shutil.copytree(folder, tmp_path / "cache" / folder.relative_to(cache_root()))
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_unchecked_key_is_used_nowhere_until_it_is_checked(
    final: Path, ptau: Path, own_cache: Path
) -> None:
    """Import without powers of tau, and again with them: the same folder, now a ceremony's, and new
    programs get it."""
    unchecked = key_store.import_zkey(INSTANCE, final)
    assert unchecked.manifest.origin == "unchecked"
    with pytest.raises(SetupError, match="never checked"):
        unchecked.require_allowed_on(1)
    development = key_store.key_for(INSTANCE)
    assert development.manifest.origin == "dev"
    checked = key_store.import_zkey(
        INSTANCE, final, ptau, ptau_blake2b=ceremony.check_ptau(INSTANCE, ptau)
    )
    assert (checked.path, checked.manifest.origin) == (unchecked.path, "ceremony")
    assert key_store.import_zkey(INSTANCE, final).manifest.origin == "ceremony"
    assert key_store.key_for(INSTANCE).path == checked.path
    assert {key.path for key in key_store.known_keys()} == {checked.path, development.path}


def test_proofs_are_made_with_the_deployed_verifiers_key_or_not_at_all(
    final: Path, small_ceremony_key: KeyFolder, own_cache: Path
) -> None:
    """Among the keys of the machine that of the verifier is found; a verifier of another key, or a
    folder of another, ends in one error."""
    development, deployed = key_store.dev_key(INSTANCE), small_ceremony_key.verifying_key
    assert key_store.key_with(development.verifying_key, INSTANCE).path == development.path
    with pytest.raises(
        SetupError,
        match=f"the deployed verifier has key {deployed.digest[:16]}, which is not on this machine",
    ):
        key_store.key_with(deployed, INSTANCE)
    with pytest.raises(SetupError, match="nothing is proven meanwhile"):
        key_store.key_with(deployed, INSTANCE, development.path)
    assert key_store.key_with(deployed, INSTANCE, small_ceremony_key.path) == small_ceremony_key
    assert key_store.key_for(INSTANCE, small_ceremony_key.path) == small_ceremony_key
    with pytest.raises(SetupError, match="another circuit"):
        key_store.key_for(DEV, small_ceremony_key.path)
    with pytest.raises(SetupError, match="no key here"):
        key_store.key_for(INSTANCE, own_cache / "nothing")
