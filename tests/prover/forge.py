"""Forged witnesses: complete assignments, made by altered circuits, that the real constraints are
asked to judge.

The witness program of the real circuit stops at the first `===` that fails, so it can never make a
forged witness. A copy of the sources without any `===`, and with chosen `<==` turned into `<--` of
something else, computes every signal for inputs that the real statement refuses. Values travel
between compilations by signal name.
"""

import hashlib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from prover.cache import cache_root, cached_folder
from prover.circuit import COMPILER, COMPILER_VERSION, NODE_MODULES, SOURCES, Instance
from prover.witness import WitnessProgram
from tests.prover.r1cs import R1cs, Symbols, read_r1cs, read_sym

Sources = dict[str, str]
"""Text of each circom file by its path below prover/circuits."""


def real_sources() -> Sources:
    """The circuit as it is."""
    return {
        path.relative_to(SOURCES).as_posix(): path.read_text()
        for path in sorted(SOURCES.rglob("*.circom"))
    }


def constraint_statements(text: str) -> list[str]:
    """Every statement of a circom source that makes a constraint, white space squeezed, comments
    left out."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.S)
    code = re.sub(r"\bfor\s*\([^)]*\)", " ", code)  # A loop's header holds semicolons of its own.
    return [
        " ".join(s.split()) + ";" for s in re.split(r"[;{}]", code) if re.search("<==|==>|===", s)
    ]


def without_assertions(sources: Sources) -> Sources:
    """The sources without a single `===`: a witness program that computes and never judges."""
    return {name: re.sub(r"[^\n;{}]*===[^;]*;", "", text) for name, text in sources.items()}


def replaced(sources: Sources, file: str, statement: str, replacement: str) -> Sources:
    """The sources with one statement replaced wherever it stands. Raises ValueError if it stands
    nowhere."""
    if statement not in sources[file]:
        raise ValueError(f"{file} does not hold {statement!r}")
    return sources | {file: sources[file].replace(statement, replacement)}


@dataclass(frozen=True)
class Compilation:
    """What circom made of some sources: the folder with main.r1cs, main.sym and, if asked for,
    main_js/main.wasm; and what it said."""

    folder: Path
    said: str

    @cached_property
    def r1cs(self) -> R1cs:
        return read_r1cs(self.folder / "main.r1cs")

    @cached_property
    def symbols(self) -> Symbols:
        return read_sym(self.folder / "main.sym")

    @cached_property
    def program(self) -> WitnessProgram:
        return WitnessProgram(self.folder / "main_js" / "main.wasm")

    @cached_property
    def named_constraints(self) -> Counter[tuple]:
        """The constraints with names for wires, so that those of two compilations can be
        compared."""
        names = self.symbols.name_of
        return Counter(
            map(
                self._named, range(len(self.r1cs.constraints)), [names] * len(self.r1cs.constraints)
            )
        )

    def _named(self, index: int, names: Mapping[int, str]) -> tuple:
        return tuple(
            frozenset((names[wire], value) for wire, value in linear)
            for linear in self.r1cs.constraints[index]
        )

    def named(self, index: int) -> tuple:
        """Constraint `index` with names for wires."""
        return self._named(index, self.symbols.name_of)

    def values(self, inputs: Mapping[str, list[int]]) -> dict[str, int]:
        """Run the witness program; the value of every signal by name. Raises WitnessError."""
        witness = self.program.run(inputs)
        return {name: witness[wire] for name, wire in self.symbols.wire_of.items()}

    def witness(self, values: Mapping[str, int]) -> list[int]:
        """The whole witness of this compilation, with the values that another one computed."""
        names = self.symbols.name_of
        return [1, *(values[names[wire]] for wire in range(1, self.r1cs.wires))]


class Compiler:
    """Compiles sources for one instance, each distinct request once a machine: what circom makes is
    kept in the user's cache folder, by the digest of all that goes in. circom sees only the folder
    that it runs in: sources are copied there."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._made: dict[str, Compilation] = {}

    def compile(self, sources: Sources, *options: str) -> Compilation:
        """Compile with `options` besides --sym, main.circom the instance's unless given. Raises
        CalledProcessError with circom's words."""
        files = {"main.circom": self.instance.main} | sources
        asked = [COMPILER, COMPILER_VERSION, sorted(files.items()), options]
        key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        if key not in self._made:

            def build(folder: Path) -> None:
                for name, text in files.items():
                    path = folder / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text)
                command = [NODE_MODULES / ".bin" / COMPILER, "main.circom", "--sym", *options]
                run = subprocess.run(
                    command, cwd=folder, check=True, capture_output=True, text=True
                )
                (folder / "said").write_text(run.stdout + run.stderr)

            folder = cached_folder(cache_root() / "test-circom" / key, build)
            self._made[key] = Compilation(folder, (folder / "said").read_text())
        return self._made[key]

    @cached_property
    def plain(self) -> Compilation:
        """The real circuit, one constraint a statement: tells which statement a witness breaks."""
        return self.compile(real_sources(), "--r1cs", "--O0")

    @cached_property
    def production(self) -> Compilation:
        """The real circuit as it is proven: what must refuse."""
        return self.compile(real_sources(), "--r1cs", "--O2")

    @cached_property
    def loose(self) -> Compilation:
        """The circuit without a single `===`: computes every signal of any inputs."""
        return self.compile(without_assertions(real_sources()), "--r1cs", "--wasm", "--O0")
