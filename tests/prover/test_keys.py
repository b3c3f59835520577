"""prover/keys.py"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from prover.circuit import load_instance
from prover.keys import (
    LOCAL_CHAIN_IDS,
    Contribution,
    KeyFolder,
    SetupError,
    Transcript,
    VerifyingKey,
    file_sha256,
    write_manifest,
)
from tests.prover.mutations import INSTANCE


@pytest.fixture
def copy(small_key: KeyFolder, tmp_path: Path) -> KeyFolder:
    """A copy of the small key that a test may spoil."""
    return KeyFolder(Path(shutil.copytree(small_key.path, tmp_path / "key")))


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_gamma_equal_to_delta_is_refused_everywhere(copy: KeyFolder) -> None:
    """With gamma = delta anyone forges proofs: no way of making or loading such a key works."""
    key = copy.verifying_key
    with pytest.raises(SetupError, match="gamma equals delta"):
        replace(key, gamma=key.delta)
    words = key.to_words()
    words[10:14] = words[6:10]
    with pytest.raises(SetupError, match="gamma equals delta"):
        VerifyingKey.from_words(words)
    rewrite(copy.path / "verifying_key.json", vk_gamma_2=key.to_snarkjs()["vk_delta_2"])
    with pytest.raises(SetupError, match="gamma equals delta"):
        _ = KeyFolder(copy.path).verifying_key
    with pytest.raises(SetupError, match="gamma equals delta"):
        write_manifest(copy.path, INSTANCE, "dev")


@pytest.mark.parametrize("field", ["vk_alpha_1", "vk_beta_2", "vk_gamma_2", "vk_delta_2", "IC"])
@pytest.mark.parametrize("value", [None, "x", [], [["1"], ["2"]]], ids=str)
def test_a_key_file_that_is_not_one_is_refused(
    small_key: KeyFolder, field: str, value: object
) -> None:
    """A missing or garbled field ends in one clear error."""
    data = small_key.verifying_key.to_snarkjs() | {field: value}
    if field == "IC" and value == []:
        data[field] = [["1"]]
    if value is None:
        del data[field]
    with pytest.raises(SetupError, match=r"expected snarkjs' verification_key\.json"):
        VerifyingKey.from_snarkjs(data)


@pytest.mark.parametrize("chain_id", [1, 10, 137, 8453, 11155111, 0, 2**32])
def test_a_development_key_is_refused_on_chains_that_are_not_local(
    small_key: KeyFolder, chain_id: int
) -> None:
    """Main networks and public test networks alike; the message says what to use instead."""
    with pytest.raises(SetupError, match=f"chain {chain_id} is not a local chain.*ceremony"):
        small_key.require_allowed_on(chain_id)


@pytest.mark.parametrize("origin", ["", "Ceremony", "unknown"])
def test_a_key_of_unknown_origin_counts_as_a_development_key(copy: KeyFolder, origin: str) -> None:
    """Only what says "ceremony" may leave the machine."""
    rewrite(copy.path / "manifest.json", origin=origin)
    with pytest.raises(SetupError, match="not a local chain"):
        copy.require_allowed_on(1)


def test_local_chains_and_ceremonies_are_allowed(copy: KeyFolder) -> None:
    """A development key on a developer's chain, a finished ceremony's key anywhere."""
    for chain_id in LOCAL_CHAIN_IDS:
        copy.require_allowed_on(chain_id)
    links = (Contribution("Ann", "00"), Contribution("beacon", "01", "ab" * 32, 10))
    transcript = asdict(Transcript("00", "00", "00", links))
    rewrite(copy.path / "manifest.json", origin="ceremony", transcript=transcript)
    KeyFolder(copy.path).require_allowed_on(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"circuit_digest": "00"}, "the key is for another circuit"),
        ({"key_digest": "00"}, "verifying_key.json is not the one"),
        ({"proving_key_sha256": "00"}, "proving_key.bin is not the one"),
    ],
    ids=["circuit", "verifying key", "proving key"],
)
def test_a_key_that_does_not_fit_its_circuit_or_manifest_is_refused(
    copy: KeyFolder, change, message: str
) -> None:
    """A stale or exchanged file is found before an hour of proofs that nobody accepts."""
    rewrite(copy.path / "manifest.json", **change)
    with pytest.raises(SetupError, match=message):
        copy.require_made_for(INSTANCE)


def test_a_key_of_another_instance_is_refused(copy: KeyFolder) -> None:
    """The small key does not pass for dev's."""
    with pytest.raises(SetupError, match="the key is for another circuit"):
        copy.require_made_for(load_instance("dev"))
    copy.require_made_for(INSTANCE)


def test_manifest_names_circuit_key_and_origin(small_key: KeyFolder) -> None:
    """What the manifest says is what lies beside it."""
    assert asdict(small_key.manifest) == {
        "instance": INSTANCE.name,
        "circuit_digest": INSTANCE.digest,
        "key_digest": small_key.verifying_key.digest,
        "proving_key_sha256": file_sha256(small_key.proving_key),
        "origin": "dev",
        "transcript": None,
    }


def test_words_and_snarkjs_round_trip(small_key: KeyFolder) -> None:
    """One IC point a public signal and one more; G2 coordinates c1 before c0 in words."""
    key = small_key.verifying_key
    assert (
        VerifyingKey.from_words(key.to_words())
        == VerifyingKey.from_snarkjs(key.to_snarkjs())
        == key
    )
    assert len(key.ic) == 6
    assert len(key.to_words()) == 2 + 3 * 4 + 2 * 6
    assert key.to_words()[2:6] == [key.beta[0][1], key.beta[0][0], key.beta[1][1], key.beta[1][0]]
    assert (
        len(
            {key.digest, replace(key, alpha=key.ic[0]).digest, replace(key, ic=key.ic[::-1]).digest}
        )
        == 3
    )
