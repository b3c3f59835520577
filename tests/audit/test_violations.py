"""Chains that break the protocol, made with contracts that do not check: the auditor names each
violation with its batch.

Each chain has an honest first batch; the auditor must find nothing there beyond the foreign
contract that let the rest happen.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.audit.auditor import audit
from backend.audit.keys import expected_key, known_keys
from backend.audit.report import AuditReport
from backend.chain.calldata import Attestation
from backend.chain.deploy import Deployer
from backend.signer.keystore import KeystoreSigner
from prover.circuit import compile_instance
from prover.groth16 import Groth16Process, dev_key
from prover.keys import KeyFolder, write_manifest
from prover.wire import Deltas
from tests.support.anvil import Anvil, anvil
from tests.support.program import DEV, Posting, Program, account, permissive_program, real_program

ANN, BOB, EVE = (account(name).address for name in ("ann", "bob", "eve"))


pytestmark = pytest.mark.usefixtures("remembered_proofs")


@pytest.fixture(scope="module")
def begun() -> Iterator[Program]:
    """A permissive program with its honest first batch, on a chain of its own."""
    with anvil() as chain:
        program = permissive_program(chain)
        program.fund(10_000)
        program.post(0, [(ANN, 100), (BOB, 60)])
        yield program


@pytest.fixture
def program(begun: Program) -> Iterator[Program]:
    """The same program and chain for each test, which undoes what it did."""
    snapshot = begun.chain.rpc("evm_snapshot")
    yield replace(begun, state=copy.deepcopy(begun.state))
    begun.chain.rpc("evm_revert", snapshot)


def found(report: AuditReport, bucket: int = 0, sequence: int = 2) -> set[str]:
    """Codes of the findings of one batch."""
    return {
        finding.code
        for finding in report.findings
        if (finding.bucket, finding.sequence) == (bucket, sequence)
    }


def audited(program: Program) -> AuditReport:
    """The report, of a chain whose contract is foreign and whose first batch is honest."""
    report = audit(program.chain.node, program.address, program.deployment.block)
    assert not report.ok
    assert "distributor_code_foreign" in {finding.code for finding in report.findings}
    assert found(report, 0, 1) == set()
    return report


def test_bad_attestation(program: Program) -> None:
    """A batch that an attestor's key did not sign."""

    def forged(posting: Posting) -> Posting:
        eve = posting.attestations[1].attestor
        other = program.sign(posting.digest, [account("eve")])[0]
        return replace(
            posting, attestations=[posting.attestations[0], Attestation(eve, other.signature)]
        )

    program.post(0, [(ANN, 5)], forged)
    assert found(audited(program)) == {"attestation_bad", "attestations_too_few"}


def test_attestation_of_another_batch(program: Program) -> None:
    """Signatures that are real, but over the batch before."""
    before = program.sign(program.plan(0, [(ANN, 5)], ledger_head=b"\x01" * 32).digest)
    program.post(0, [(ANN, 5)], lambda posting: replace(posting, attestations=before))
    assert found(audited(program)) == {"attestation_bad", "attestations_too_few"}


def test_root_that_the_logs_do_not_give(program: Program) -> None:
    """The posted root books more to an account than `deltas` says."""

    def richer(posting: Posting) -> Posting:
        statement = posting.statement
        new = [
            (address, cumulative + 1000 * (slot == 1))
            for slot, (address, cumulative) in enumerate(statement.new)
        ]
        batch = replace(posting.batch, new_root=replace(statement, new=tuple(new)).new_root)
        return replace(
            posting, batch=batch, attestations=program.sign(program.digest(batch, posting.deltas))
        )

    program.post(0, [(ANN, 5)], richer)
    report = audited(program)
    assert {"root_mismatch", "proof_bad"} <= found(report)
    assert "cumulative_falls" not in found(report)


@pytest.mark.parametrize("how", ["subtracted", "wrapped", "back to what it was", "an old root"])
def test_cumulative_that_falls(program: Program, how: str) -> None:
    """The posted root takes back what an account had: by a delta that counts downwards, one that
    wraps round, or a state of the past."""
    program.post(0, [(ANN, 40), (BOB, 1)])
    old = program.state.bucket(0).pairs
    falls = {
        "subtracted": ([(old[0][0], 110), old[1]], Deltas(((0, 30),), ())),
        "wrapped": ([(old[0][0], 110), old[1]], Deltas(((0, 2**96 - 30),), ())),
        "back to what it was": ([(old[0][0], 100), (old[1][0], 70)], Deltas(((1, 9),), ())),
        "an old root": ([(old[0][0], 100), (old[1][0], 60)], Deltas(((1, 9),), ())),
    }
    new, deltas = falls[how]

    def lowered(posting: Posting) -> Posting:
        batch = replace(posting.batch, new_root=replace(posting.statement, new=tuple(new)).new_root)
        return replace(
            posting,
            batch=batch,
            deltas=deltas.encode(),
            attestations=program.sign(program.digest(batch, deltas.encode())),
        )

    program.post(0, [(BOB, 9)], lowered)
    assert {"cumulative_falls", "root_mismatch", "proof_bad"} <= found(audited(program), 0, 3)


def test_claim_beyond_the_cumulative(program: Program) -> None:
    """An account is paid more than the log gives it."""
    program.claim(ANN, 130)
    report = audit(program.chain.node, program.address)
    [finding] = [
        finding for finding in report.findings if finding.code == "claim_beyond_cumulative"
    ]
    assert (finding.bucket, finding.sequence) == (0, 1)
    assert "slot 0: 130 claimed in all, 100 earned" in finding.message


def test_claim_beyond_the_cumulative_of_its_time(program: Program) -> None:
    """A claim that only later rewards would cover was beyond the cumulative when it was paid."""
    program.claim(ANN, 130)
    program.post(0, [(ANN, 1000)])
    assert "claim_beyond_cumulative" in {
        finding.code for finding in audit(program.chain.node, program.address).findings
    }


def test_claim_for_another_account(program: Program) -> None:
    """What a slot earned is paid in the name of another account."""
    program.state.home[int(EVE, 16)] = (0, 1)
    program.claim(EVE)
    assert "claim_wrong_account" in {
        finding.code for finding in audit(program.chain.node, program.address).findings
    }


def test_committed_beyond_the_reserve(program: Program) -> None:
    """A batch that promises more than the program holds."""
    program.post(0, [(ANN, 50_000)])
    report = audited(program)
    assert found(report) == {"reserve_exceeded"}
    assert "committed_beyond_reserve" in {finding.code for finding in report.findings}


def test_account_away_from_home(program: Program) -> None:
    """An account opened in bucket 1 while bucket 0 has free slots, and one that is open already."""
    program.post(1, [(EVE, 5), (ANN, 5)])
    assert found(audited(program), 1, 1) == {"account_not_home", "account_opened_twice"}


def test_expired_batch(program: Program) -> None:
    """A batch in a block after its validUntil."""
    program.post(0, [(ANN, 5)], valid_until=1_700_000_000)
    assert found(audited(program)) == {"expired"}


def test_skipped_sequence(program: Program) -> None:
    """A bucket that jumps from sequence 1 to 3."""
    posting = program.plan(0, [(ANN, 5)], sequence=3)
    program.send(program.calldata(posting))
    assert found(audited(program), 0, 3) == {"sequence_gap"}


def test_foreign_verifier(chain: Anvil) -> None:
    """A Distributor that is ours, with a verifier that takes everything for proven: its batches are
    unproven."""
    program = real_program(chain)
    verifier, _ = Deployer(chain.node, KeystoreSigner(chain.key(0))).create("PermissiveVerifier")
    chain.rpc(
        "anvil_setCode",
        program.deployment.verifier,
        "0x" + bytes(chain.w3.eth.get_code(verifier)).hex(),
    )
    program.fund(10)
    program.post(0, [(ANN, 10)], lambda posting: replace(posting, proof=[0] * 8))
    report = audit(chain.node, program.address)
    assert {finding.code for finding in report.findings} == {
        "verifier_code_foreign",
        "proof_unchecked",
    }
    assert found(report, 0, 1) == {"proof_unchecked"}


@pytest.fixture(scope="session")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """Another setup of the same circuit: whoever made it may hold its trapdoor."""
    folder = tmp_path_factory.mktemp("key")
    with Groth16Process() as process:
        paths = {"pk": str(folder / "proving_key.bin"), "vk": str(folder / "verifying_key.json")}
        process.request("setup", r1cs=str(compile_instance(DEV).r1cs), **paths)
    write_manifest(folder, DEV, "dev")
    return KeyFolder(folder)


def test_verifier_with_another_key(chain: Anvil, other_key: KeyFolder) -> None:
    """Contracts and proofs are all in order, under a key that is not the one expected: that alone
    is the finding."""
    program = real_program(chain, other_key)
    program.fund(100)
    program.post(0, [(ANN, 100)])
    report = audit(chain.node, program.address)
    assert [finding.code for finding in report.findings] == ["verifier_key_differs"]
    assert other_key.verifying_key.digest in report.findings[0].message
    assert audit(chain.node, program.address, expected_keys=expected_key(str(other_key.path))).ok


def test_no_key_to_compare_with(chain: Anvil) -> None:
    """Without any expected key the audit does not say ok: a key of unknown origin proves
    nothing."""
    program = real_program(chain)
    report = audit(chain.node, program.address, expected_keys={})
    assert [finding.code for finding in report.findings] == ["verifier_key_unknown"]


def test_expected_key_is_read(other_key: KeyFolder, tmp_path: Path) -> None:
    """A key is named by digest, file or folder; anything else is refused, and the cache's keys are
    known."""
    digest = other_key.verifying_key.digest
    for given in (
        digest,
        "0x" + digest.upper(),
        str(other_key.path),
        str(other_key.path / "verifying_key.json"),
    ):
        assert list(expected_key(given)) == [digest]
    for given in ("", "12", str(tmp_path), str(tmp_path / "none.json")):
        with pytest.raises(Exception, match="key: expected"):
            expected_key(given)
    assert dev_key(DEV).verifying_key.digest in known_keys()
