"""Instances of the statement, compiled by circom into an R1CS and a witness program.

circom (GPL) runs as a separate program: the npm package `circom2`, the compiler in WebAssembly.
circom sees only the folder in which it is started, so a build copies the sources to a folder.
"""

import hashlib
import shutil
import struct
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from prover.cache import cache_root, cached_folder
from prover.tree import capacity

SOURCES = Path(__file__).parent / "circuits"
NODE_MODULES = Path(__file__).parent.parent / "node_modules"
COMPILER = "circom2"
COMPILER_VERSION = "0.2.23"
OPTIONS = ("--O2", "--r1cs", "--wasm")
PUBLIC_SIGNALS = ("oldRoot", "newRoot", "itemsRoot", "r", "fingerprint")


class CircuitError(Exception):
    """The circuit could not be compiled. The message says what to do."""


@dataclass(frozen=True)
class Instance:
    """One size of the statement.

    L levels of the bucket tree, K levels of the items tree, at most M items.
    """

    name: str
    levels: int
    item_levels: int
    items: int

    @property
    def slots(self) -> int:
        """Accounts of a bucket: the N of the protocol."""
        return capacity(self.levels)

    @property
    def main(self) -> str:
        """The circom text that instantiates the statement."""
        return (
            'pragma circom 2.2.0;\ninclude "batch.circom";\n'
            f"component main {{public [{', '.join(PUBLIC_SIGNALS)}]}} = Batch({self.levels}, "
            f"{self.item_levels}, {self.items});\n"
        )

    @property
    def digest(self) -> str:
        """Return the sha256 (hex) of everything that determines the compiled circuit.

        These are sources (comments included), sizes, compiler and options.
        """
        digest = hashlib.sha256(f"{COMPILER} {COMPILER_VERSION} {OPTIONS}\n{self.main}".encode())
        for path in sorted(SOURCES.rglob("*.circom")):
            text = path.read_bytes()
            digest.update(f"\n{path.relative_to(SOURCES).as_posix()} {len(text)}\n".encode() + text)
        return digest.hexdigest()


@dataclass(frozen=True)
class CompiledCircuit:
    """Files of a compiled instance."""

    instance: Instance
    r1cs: Path
    wasm: Path

    @property
    def constraints(self) -> int:
        """Number of constraints, from the header of the R1CS file.

        It is the last field of section 1 in iden3's r1cs format.
        """
        with self.r1cs.open("rb") as file:
            magic, _, sections = struct.unpack("<4sII", file.read(12))
            if magic != b"r1cs":
                raise CircuitError(
                    f"{self.r1cs}: not an R1CS file: remove its folder to have it made again"
                )
            for _ in range(sections):
                kind, size = struct.unpack("<IQ", file.read(12))
                if kind == 1:
                    return int.from_bytes(file.read(size)[-4:], "little")
                file.seek(size, 1)
        raise CircuitError(f"{self.r1cs}: no header: remove its folder to have it made again")


def instances() -> dict[str, Instance]:
    """All instances of circuits/instances.toml by name."""
    rows = tomllib.loads((SOURCES / "instances.toml").read_text())
    return {
        name: Instance(name, row["levels"], row["item_levels"], row["items"])
        for name, row in rows.items()
    }


def load_instance(name: str) -> Instance:
    """The instance called `name`. Raises CircuitError for an unknown one."""
    known = instances()
    if name not in known:
        raise CircuitError(f"instance: expected one of {', '.join(known)}, got {name!r}")
    return known[name]


def _compile(instance: Instance, folder: Path) -> None:
    compiler = NODE_MODULES / ".bin" / COMPILER
    if not compiler.exists():
        raise CircuitError(f"{COMPILER} is not installed: run `make setup`")
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    (folder / "main.circom").write_text(instance.main)
    run = subprocess.run(
        [compiler, "main.circom", *OPTIONS], cwd=folder, capture_output=True, text=True
    )
    r1cs, wasm = folder / "main.r1cs", folder / "main_js" / "main.wasm"
    if run.returncode or not r1cs.exists() or not wasm.exists():
        raise CircuitError(f"circom failed on instance {instance.name}:\n{run.stdout}{run.stderr}")
    wasm.rename(folder / "main.wasm")
    for path in folder.iterdir():
        if path.name not in ("main.r1cs", "main.wasm"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def compile_instance(instance: Instance) -> CompiledCircuit:
    """Compile once per digest into the cache folder (dev seconds, standard about two minutes).

    Raises CircuitError.
    """
    folder = cache_root() / "circuits" / f"{instance.name}-{instance.digest[:16]}"
    cached_folder(folder, lambda unfinished: _compile(instance, unfinished))
    return CompiledCircuit(instance, folder / "main.r1cs", folder / "main.wasm")
