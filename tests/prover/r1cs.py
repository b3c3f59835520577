"""Reads a compiled circuit and judges a witness by its constraints alone.

Formats: iden3's binary R1CS (magic "r1cs", version 1: header, constraints, wire-to-label map) and
circom's `.sym` (label, wire, component,
name a line; wire -1 for a signal that the optimiser removed).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from prover.field import P, inverse

Linear = tuple[tuple[int, int], ...]
"""(wire, coefficient) pairs: the sum of coefficient * witness[wire]."""


class FormatError(ValueError):
    """The file is not an R1CS over the scalar field of BN254."""


@dataclass(frozen=True)
class R1cs:
    """Constraints A * B = C over `wires` wires, wire 0 the constant 1, then `public` public
    signals."""

    wires: int
    public: int
    constraints: tuple[tuple[Linear, Linear, Linear], ...]

    def holds(self, index: int, witness: Sequence[int]) -> bool:
        """Whether constraint `index` is satisfied."""
        a, b, c = (
            sum(coefficient * witness[wire] for wire, coefficient in linear)
            for linear in self.constraints[index]
        )
        return (a * b - c) % P == 0

    def failing(self, witness: Sequence[int]) -> list[int]:
        """Indices of the constraints that `witness` (all wires, in order) violates. Raises
        ValueError for another length or wire 0 not 1."""
        if len(witness) != self.wires or witness[0] != 1:
            raise ValueError(
                f"witness: expected {self.wires} values, the first 1, got {len(witness)}"
            )
        return [index for index in range(len(self.constraints)) if not self.holds(index, witness)]

    @cached_property
    def constraints_of(self) -> list[list[int]]:
        """Per wire, the constraints that it stands in."""
        using: list[list[int]] = [[] for _ in range(self.wires)]
        for index, linears in enumerate(self.constraints):
            for wire in {wire for linear in linears for wire, _ in linear}:
                using[wire].append(index)
        return using

    def failing_after(self, witness: Sequence[int], changes: dict[int, int]) -> list[int]:
        """As `failing`, for a satisfying `witness` with some wires changed: only the constraints
        that they stand in are evaluated."""
        changed = list(witness)
        for wire, value in changes.items():
            changed[wire] = value
        return [
            i
            for i in sorted({i for wire in changes for i in self.constraints_of[wire]})
            if not self.holds(i, changed)
        ]


def read_r1cs(path: Path) -> R1cs:
    """Parse a `.r1cs` file. Raises FormatError."""
    data = path.read_bytes()
    magic, version, count = struct.unpack_from("<4sII", data)
    if magic != b"r1cs" or version != 1:
        raise FormatError("expected magic 'r1cs' and version 1")
    sections, at = {}, 12
    for _ in range(count):
        kind, size = struct.unpack_from("<IQ", data, at)
        sections[kind] = at + 12
        at += 12 + size
    if at != len(data):
        raise FormatError("sections do not fill the file")
    header = sections[1]
    width = struct.unpack_from("<I", data, header)[0]
    if width != 32 or int.from_bytes(data[header + 4 : header + 36], "little") != P:
        raise FormatError("expected the scalar field of BN254")
    wires, outputs, inputs, _, _, constraints = struct.unpack_from("<IIIIQI", data, header + 36)
    at = sections[2]
    parsed = []
    for _ in range(constraints):
        linears = []
        for _ in range(3):
            terms = struct.unpack_from("<I", data, at)[0]
            linears.append(
                tuple(
                    (
                        struct.unpack_from("<I", data, term)[0],
                        int.from_bytes(data[term + 4 : term + 36], "little"),
                    )
                    for term in range(at + 4, at + 4 + 36 * terms, 36)
                )
            )
            at += 4 + 36 * terms
        parsed.append(tuple(linears))
    return R1cs(wires, outputs + inputs, tuple(parsed))


@dataclass(frozen=True)
class Symbols:
    """Names of a compilation's wires: `wire_of` maps a signal's name to its wire; removed signals
    are absent."""

    wire_of: dict[str, int]

    @cached_property
    def name_of(self) -> dict[int, str]:
        """One name per wire: the first of the `.sym` file, which is the outermost."""
        names: dict[int, str] = {0: "one"}
        for name, wire in self.wire_of.items():
            names.setdefault(wire, name)
        return names


def read_sym(path: Path) -> Symbols:
    """Parse a `.sym` file."""
    rows = (line.split(",", 3) for line in path.read_text().splitlines())
    return Symbols({name: int(wire) for _, wire, _, name in rows if int(wire) >= 0})


Form = dict[int, int]
"""wire -> slope: a linear form in the differences between two witnesses."""


class _Differences:
    """Equations that the differences between two satisfying witnesses obey, in reduced row echelon
    form."""

    def __init__(self) -> None:
        self.rows: dict[int, Form] = {}
        self._rows_with: dict[int, set[int]] = {}

    def reduce(self, form: Form) -> Form:
        """The form with every solved wire put in; empty if it is 0 for all differences."""
        reduced: Form = {}
        for wire, slope in form.items():
            for other, factor in self.rows.get(wire, {wire: 1}).items():
                reduced[other] = (reduced.get(other, 0) + slope * factor) % P
        return {wire: slope for wire, slope in reduced.items() if slope}

    def add(self, form: Form) -> None:
        """Take in the equation form = 0."""
        form = self.reduce(form)
        if not form:
            return
        pivot, slope = form.popitem()
        row = {wire: -value * inverse(slope) % P for wire, value in form.items()}
        self.rows[pivot] = {}
        for holder in {pivot} | self._rows_with.pop(pivot, set()):
            factor = self.rows[holder].pop(pivot, 1)
            for wire, value in row.items():
                self.rows[holder][wire] = (self.rows[holder].get(wire, 0) + factor * value) % P
                self._rows_with.setdefault(wire, set()).add(holder)


def determined(r1cs: R1cs, witness: Sequence[int], given: set[int]) -> set[int]:
    """The wires of a satisfying `witness` that follow from the wires in `given`, which are among
    them.

    Take two witnesses that agree on `given`. A constraint A * B = C of which A (or B) is the same
    in both says of their difference: A * dB - dC = 0. Such linear equations are collected until
    they show no further A or B to be the same. A wire whose difference is 0 can take no other
    value, whoever makes the witness; of the other wires nothing is said.
    """
    differences = _Differences()
    for wire in {0} | given:
        differences.add({wire: 1})
    waiting = list(r1cs.constraints)
    while True:
        stuck = []
        for a, b, c in waiting:
            if differences.reduce(dict(a)):
                a, b = b, a
            if differences.reduce(dict(a)):
                stuck.append((a, b, c))
                continue
            factor = sum(coefficient * witness[wire] for wire, coefficient in a)
            form = {wire: factor * coefficient for wire, coefficient in b}
            for wire, coefficient in c:
                form[wire] = form.get(wire, 0) - coefficient
            differences.add(form)
        if len(stuck) == len(waiting):
            return {wire for wire, row in differences.rows.items() if not any(row.values())}
        waiting = stuck
