"""Which keys may be there: what a manifest must say off local chains, and of which circuit it must
be."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from backend.audit.auditor import audit
from backend.audit.keys import ExpectedKey, known_keys
from prover.circuit import load_instance
from prover.groth16 import dev_key
from prover.keys import Contribution, Manifest, Transcript
from tests.support.anvil import Anvil
from tests.support.program import DEV, real_program

PERSON, BEACON = Contribution("Ann", "aa"), Contribution("beacon", "bb", "cd" * 32, 10)
PUBLIC, LOCAL = 8453, 31337


def manifest(origin: str = "ceremony", *links: Contribution, circuit: str = DEV.digest) -> Manifest:
    transcript = Transcript("11", "22", "33", links) if links else None
    return Manifest("dev", circuit, "44", "55", origin, transcript)


def found(given: Manifest | None, chain_id: int, levels: int = DEV.levels) -> list[str]:
    return [code for code, _ in ExpectedKey("a key", given).problems(chain_id, levels)]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (manifest("dev"), "verifier_key_dev"),
        (manifest("unchecked", PERSON, BEACON), "verifier_key_unchecked"),
        (manifest("something else", PERSON, BEACON), "verifier_key_unchecked"),
        (manifest("ceremony", PERSON), "verifier_key_unchecked"),
        (manifest("ceremony", BEACON), "verifier_key_unchecked"),
        (manifest("ceremony"), "verifier_key_unchecked"),
    ],
    ids=[
        "one party's",
        "unchecked",
        "of unknown origin",
        "without a beacon",
        "of a beacon alone",
        "without a transcript",
    ],
)
def test_only_a_finished_checked_ceremony_s_key_may_guard_money(given: Manifest, code: str) -> None:
    """Off local chains any other key is a finding; on a developer's machine it is what there is."""
    assert found(given, PUBLIC) == [code]
    assert found(given, LOCAL) == []
    assert found(manifest("ceremony", PERSON, BEACON), PUBLIC) == []


@pytest.mark.parametrize("chain_id", [PUBLIC, LOCAL])
def test_the_key_is_of_this_circuit_and_of_the_program_s_size(chain_id: int) -> None:
    """A key of another circuit, or of another number of levels than the Distributor's, is a finding
    on every chain."""
    finished = manifest("ceremony", PERSON, BEACON)
    assert found(replace(finished, circuit_digest="ab" * 32), chain_id) == [
        "verifier_key_other_circuit"
    ]
    assert found(finished, chain_id, DEV.levels + 1) == ["verifier_key_other_circuit"]
    assert found(replace(finished, circuit_digest=load_instance("standard").digest), chain_id) == [
        "verifier_key_other_circuit"
    ]


def test_whoever_audits_may_vouch_for_a_key() -> None:
    """A key that was given by hand has no manifest: it is compared, and that is all."""
    assert found(None, PUBLIC, 7) == []


def test_an_audit_says_so(chain: Anvil) -> None:
    """The finding reaches the report."""
    program = real_program(chain)
    digest = dev_key(DEV).verifying_key.digest
    other = {digest: ExpectedKey("a key", manifest("dev", circuit="ab" * 32))}
    report = audit(chain.node, program.address, program.deployment.block, expected_keys=other)
    assert [finding.code for finding in report.findings] == ["verifier_key_other_circuit"]


def test_unfinished_folders_hold_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is being made, in a hidden folder, is none; nor is one whose files are not those
    of its manifest."""
    key = dev_key(DEV)
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    for name in (".dev-half", "dev-changed"):
        folder = tmp_path / "keys" / name
        folder.mkdir(parents=True)
        for file in ("manifest.json", "verifying_key.json"):
            shutil.copy(key.path / file, folder / file)
    said = (tmp_path / "keys" / "dev-changed" / "manifest.json").read_text()
    (tmp_path / "keys" / "dev-changed" / "manifest.json").write_text(
        said.replace(key.verifying_key.digest, "ab" * 32)
    )
    assert known_keys() == {}
