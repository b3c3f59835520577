"""Deployed code against compiled code: equal byte for byte outside immutables, whose values are read from where they stand."""

from dataclasses import dataclass, field

from backend.chain.artifacts import Artifact


@dataclass(frozen=True)
class CodeMatch:
    """`immutables` is name -> value (32 bytes) as found; `differences` says in words what is not as compiled, empty if all is."""

    immutables: dict[str, bytes] = field(default_factory=dict)
    differences: tuple[str, ...] = ()

    def integer(self, name: str) -> int:
        """An immutable as an unsigned integer. Raises KeyError for an unknown name."""
        return int.from_bytes(self.immutables[name], "big")

    def address(self, name: str) -> bytes:
        """An immutable as a 20-byte address. Raises KeyError for an unknown name."""
        return self.immutables[name][-20:]


def match_code(artifact: Artifact, code: bytes) -> CodeMatch:
    """Compare runtime `code` with what the artifact compiles to.

    An immutable that is used at several places must have one value: code that was not made by the compiled constructor may differ there.
    """
    expected = artifact.deployed_bytecode
    if len(code) != len(expected):
        return CodeMatch(differences=(f"{artifact.name}: {len(code)} bytes of code, expected {len(expected)}",))
    blanked = bytearray(code)
    immutables: dict[str, bytes] = {}
    differences = []
    for key, places in artifact.immutable_references.items():
        values = {bytes(code[start : start + length]) for start, length in places}
        name = next((name for name, named in artifact.immutables.items() if named == places), key)
        immutables[name] = next(iter(values))
        if len(values) > 1:
            differences.append(f"{artifact.name}: immutable {name} has {len(values)} values")
        for start, length in places:
            blanked[start : start + length] = bytes(length)
    first = next((i for i, (a, b) in enumerate(zip(blanked, expected, strict=True)) if a != b), None)
    if first is not None:
        differences.append(f"{artifact.name}: code differs from byte {first} on")
    return CodeMatch(immutables, tuple(differences))
