"""Compilations and keys that several test files share, made once a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from prover import ceremony, key_store
from prover.circuit import compile_instance, load_instance
from prover.groth16 import Groth16Process, Prover, dev_key
from prover.keys import KeyFolder
from scripts.rehearsal_ptau import rehearsal_ptau
from tests.prover.forge import Compiler
from tests.prover.mutations import INSTANCE
from tests.prover.rehearsal import held


@pytest.fixture(scope="session")
def small() -> Compiler:
    """Compilations of the small instance, real and altered."""
    return Compiler(INSTANCE)


@pytest.fixture(scope="session")
def dev() -> Compiler:
    """Compilations of the dev instance, real and altered."""
    return Compiler(load_instance("dev"))


@pytest.fixture(scope="session")
def small_key(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """A key of the small instance, in a cache folder that lives as long as the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUERDON_CACHE", str(tmp_path_factory.mktemp("cache")))
        return dev_key(INSTANCE)


@pytest.fixture(scope="session")
def small_process(small_key: KeyFolder) -> Iterator[Groth16Process]:
    """The Groth16 process with the key of the small instance loaded."""
    with Groth16Process() as process:
        process.request("load", pk=str(small_key.proving_key))
        yield process


@pytest.fixture(scope="session")
def dev_prover() -> Iterator[Prover]:
    """A prover of the dev instance with the user's cached development key."""
    instance = load_instance("dev")
    prover = Prover(compile_instance(instance), dev_key(instance))
    yield prover
    prover.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def ptau() -> Path:
    """Powers of tau for the small instance."""
    return rehearsal_ptau(ceremony.required_power(INSTANCE))


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory, ptau: Path) -> list[Path]:
    """A ceremony over the small instance."""
    return held(tmp_path_factory.mktemp("ceremony"), INSTANCE, ptau)


@pytest.fixture(scope="session")
def final(small_files: list[Path]) -> Path:
    return small_files[-1]


@pytest.fixture(scope="session")
def small_ceremony_key(
    final: Path, ptau: Path, tmp_path_factory: pytest.TempPathFactory
) -> KeyFolder:
    """Its key, imported with the powers of tau."""
    out = tmp_path_factory.mktemp("imported") / "key"
    return key_store.import_zkey(
        INSTANCE, final, ptau, ptau_blake2b=ceremony.check_ptau(INSTANCE, ptau), out=out
    )
