"""Both ways of making a proof, through one interface: the library's process, and a program with
rapidsnark's command line.

The second is played by a small program that hands its arguments to snarkjs: another prover by other
people, on the same key.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from prover import ceremony
from prover.circuit import CompiledCircuit, compile_instance
from prover.engine import LibraryEngine, ProofEngine, RapidsnarkEngine
from prover.groth16 import Groth16Error, Groth16Process, Prover, verify
from prover.keys import KeyFolder, SetupError, write_manifest
from prover.statement import Challenged, challenged, plan_batch
from prover.wire import Proof
from prover.witness import WitnessError
from scripts.rehearsal_ptau import rehearsal_ptau
from tests.prover.mutations import INSTANCE, ITEMS, OLD, R


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture(scope="module")
def zkey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key of the small instance in snarkjs' format."""
    folder = tmp_path_factory.mktemp("zkey")
    ceremony.init(INSTANCE, rehearsal_ptau(ceremony.required_power(INSTANCE)), folder / "0000.zkey")
    ceremony.contribute(folder / "0000.zkey", folder / "0001.zkey", "test")
    return folder / "0001.zkey"


@pytest.fixture(scope="module")
def key(zkey: Path, tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """The same key in the library's format."""
    folder = tmp_path_factory.mktemp("key")
    with Groth16Process() as process:
        process.request(
            "import",
            zkey=str(zkey),
            pk=str(folder / "proving_key.bin"),
            vk=str(folder / "verifying_key.json"),
        )
    write_manifest(folder, INSTANCE, "dev")
    return KeyFolder(folder)


@pytest.fixture(scope="module")
def circuit() -> CompiledCircuit:
    return compile_instance(INSTANCE)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with rapidsnark's command line that calls snarkjs."""
    script = f'test $# -eq 4 || exit 2\nexec "{ceremony.SNARKJS}" groth16 prove "$1" "$2" "$3" "$4"'
    return executable(tmp_path_factory.mktemp("native") / "rapidsnark", script)


@pytest.fixture(scope="module", params=["library", "rapidsnark"])
def prover(
    request: pytest.FixtureRequest,
    circuit: CompiledCircuit,
    key: KeyFolder,
    zkey: Path,
    stand_in: Path,
) -> Iterator[Prover]:
    """A prover of the small instance with each of the engines."""

    def engine(chosen: KeyFolder) -> ProofEngine:
        if request.param == "rapidsnark":
            return RapidsnarkEngine(chosen, stand_in, zkey)
        return LibraryEngine(chosen, Groth16Process())

    made = Prover(circuit, key, engine)
    yield made
    made.close()


@pytest.fixture(scope="module")
def statement() -> Challenged:
    return challenged(plan_batch(INSTANCE, OLD, ITEMS), R)


def test_proof_is_accepted(prover: Prover, key: KeyFolder, statement: Challenged) -> None:
    """What either engine proves, the library accepts, for these public signals and no others."""
    prover.load()
    proof = prover.prove(statement)
    assert prover.verify(proof, statement.public_signals)
    assert verify(key.verifying_key, proof, statement.public_signals)
    assert not prover.verify(proof, (*statement.public_signals[:4], 1))


def test_many_proofs(prover: Prover, statement: Challenged) -> None:
    """An engine makes one proof after the other, each a fresh one."""
    proofs = {prover.prove(statement).to_bytes() for _ in range(3)}
    assert len(proofs) == 3
    assert all(prover.verify(Proof.from_bytes(proof), statement.public_signals) for proof in proofs)


def test_false_statement(prover: Prover, statement: Challenged) -> None:
    """No engine is even asked for a statement that does not hold."""
    false = Challenged(statement.statement, (*statement.public_signals[:4], 1))
    with pytest.raises(WitnessError):
        prover.prove(false)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'bad zkey' >&2; exit 3", "ended with 3: bad zkey"),
        ("exit 1", "ended with 1: it said nothing"),
        ("kill -9 $$", "ended with -9"),
        ("exit 0", "No such file"),
        ('echo "{" > "$3"', "Expecting property name"),
        ('echo "{}" > "$3"', "expected snarkjs' proof.json"),
        (
            'echo \'{"pi_a": ["1", "-2", "1"], "pi_b": [["1", "2"], ["3", "4"], ["1", "0"]], '
            '"pi_c": ["1", "2", "1"]}\' > "$3"',
            "not below",
        ),
    ],
    ids=["error", "silence", "killed", "no proof", "half a proof", "no such proof", "negative"],
)
def test_native_prover_fails(
    circuit: CompiledCircuit,
    key: KeyFolder,
    zkey: Path,
    statement: Challenged,
    tmp_path: Path,
    script: str,
    reason: str,
) -> None:
    """Whatever a native prover does but make a proof is an error that says what it was."""
    native = executable(tmp_path / "native", script)
    prover = Prover(circuit, key, lambda chosen: RapidsnarkEngine(chosen, native, zkey))
    with pytest.raises(Groth16Error, match=reason):
        prover.prove(statement)


def test_native_prover_hangs(
    circuit: CompiledCircuit, key: KeyFolder, zkey: Path, tmp_path: Path, statement: Challenged
) -> None:
    """It is ended, and the batch can be tried again: a batch is never held for ever."""
    hanging = executable(tmp_path / "rapidsnark", "exec sleep 60")
    prover = Prover(circuit, key, lambda key: RapidsnarkEngine(key, hanging, zkey, seconds_max=1))
    with pytest.raises(Groth16Error, match=r"rapidsnark has not ended after 1 s"):
        prover.prove(statement)
    prover.close()


def test_key_of_another_setup(
    circuit: CompiledCircuit, small_key: KeyFolder, zkey: Path, stand_in: Path
) -> None:
    """A zkey of the right circuit and another setup is refused before a proof is made that the
    deployed verifier would not take."""
    prover = Prover(circuit, small_key, lambda chosen: RapidsnarkEngine(chosen, stand_in, zkey))
    with pytest.raises(SetupError, match=r"GUERDON_ZKEY: .* is another key"):
        prover.load()


def test_missing_executable(
    circuit: CompiledCircuit, key: KeyFolder, zkey: Path, tmp_path: Path
) -> None:
    """A path without a program is named by its setting."""
    prover = Prover(circuit, key, lambda chosen: RapidsnarkEngine(chosen, tmp_path / "none", zkey))
    with pytest.raises(SetupError, match="GUERDON_RAPIDSNARK"):
        prover.load()


def test_library_is_loaded_once(
    circuit: CompiledCircuit, key: KeyFolder, statement: Challenged
) -> None:
    """The key is read for the first proof alone; after the process has died it is read again, by
    the next one."""
    process = Groth16Process()
    engine = LibraryEngine(key, process)
    prover = Prover(circuit, key, lambda _: engine)
    prover.prove(statement)
    first = process.running
    prover.prove(statement)
    assert process.is_running(first)
    os.kill(first.pid, 9)
    first.wait()
    assert prover.verify(prover.prove(statement), statement.public_signals)
    assert process.running is not first
    prover.close()
