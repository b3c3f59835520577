"""Write H4 as scheduled EVM code into `contracts/Poseidon2.yul`, around the constants of
`prover.poseidon2`.

solc spends 13,900 to 15,500 gas on one H4, most of the excess on moving variables, or needs more
code than a contract may have. Here the stack is scheduled once, by the shape of a round, for 12,400
gas in 14 KB. The two ideas:

- Sums are reduced lazily. 2^256 is 5.29 p, so a sum of at most five field elements is exact, and
  MULMOD takes it unreduced.
- MULMOD and ADDMOD want the modulus below their operands. Copies of p are laid down under the
  working place in one run, and each lane is swapped onto them in turn; so no operation pays for
  moving the modulus.

`Stack` follows every slot by name while it emits, so that a schedule that loses or reads the wrong
value fails here and not on chain.
"""

import re
from pathlib import Path

from prover.poseidon2 import INTERNAL_DIAGONAL, ROUND_CONSTANTS

TARGET = Path(__file__).resolve().parent.parent / "contracts" / "Poseidon2.yul"
_PLACE = re.compile(r'(verbatim_6i_1o\(hex")[0-9a-f]*(")')
_ADD, _MULMOD, _ADDMOD, _POP, _PUSH1, _DUP1, _SWAP1 = 0x01, 0x09, 0x08, 0x50, 0x60, 0x80, 0x90


class Stack:
    """An EVM stack of named slots, top last, and the code that brought it about."""

    def __init__(self, slots: list[str]) -> None:
        self.slots = slots
        self.code = bytearray()

    def _depth(self, name: str) -> int:
        depth = self.slots[::-1].index(name)
        if depth > 15:
            raise ValueError(f"{name} is out of reach")
        return depth

    def push(self, value: int) -> None:
        size = max(1, (value.bit_length() + 7) // 8)
        self.code += bytes([_PUSH1 + size - 1]) + value.to_bytes(size, "big")
        self.slots.append("constant")

    def dup(self, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.code.append(_DUP1 + self._depth(name))
            self.slots.append(name)

    def raise_(self, name: str) -> None:
        """Swap the named slot to the top, if it is not there."""
        if depth := self._depth(name):
            self.code.append(_SWAP1 + depth - 1)
            self.slots[-1], self.slots[-1 - depth] = self.slots[-1 - depth], self.slots[-1]

    def drop_between(self, name: str) -> None:
        """Remove what stands between the top slot and the named one."""
        count = self._depth(name) - 1
        self.code += bytes([_SWAP1 + count - 1]) + bytes([_POP]) * count
        self.slots[-1 - count :] = self.slots[-1:]

    def add(self, result: str) -> None:
        self._operate(_ADD, 2, result)

    def addmod(self, result: str) -> None:
        self._operate_modular(_ADDMOD, result)

    def mulmod(self, result: str) -> None:
        self._operate_modular(_MULMOD, result)

    def _operate_modular(self, opcode: int, result: str) -> None:
        if self.slots[-3] != "p":
            raise ValueError(f"{result}: the modulus is not in place")
        self._operate(opcode, 3, result)

    def _operate(self, opcode: int, operands: int, result: str) -> None:
        del self.slots[-operands:]
        self.slots.append(result)
        self.code.append(opcode)


def _lay_moduli(s: Stack, lane: str, count: int) -> None:
    """From [.. lane] to [.. p * count, lane]."""
    s.dup("p", count)
    s.raise_(lane)


def _sbox(s: Stack, lane: str, constant: int) -> None:
    """(lane + constant)^5 of the top slot, which stands on a modulus; takes that modulus. 45
    gas."""
    s.push(constant)
    s.add("x")
    s.dup("p", 2)
    s.dup("x", 2)
    s.mulmod("x2")
    s.dup("x2")
    s.mulmod("x4")
    s.mulmod(lane)


def _sboxes(s: Stack, constants: tuple[int, ...], moduli_left: int) -> None:
    """The S-boxes of a full round, the top lane first; leaves `moduli_left` moduli under the top
    lane."""
    first = s.slots[-1]
    _lay_moduli(s, first, 4 + moduli_left)
    for lane in [first] + [lane for lane in "abcd" if lane != first]:
        s.raise_(lane)
        _sbox(s, lane, constants["abcd".index(lane)])


def _half_matrix(s: Stack, top: str) -> None:
    """t = a + b, u = c + d, v = 2b + u, w = 2d + t of lanes below p: the additions that open M4.
    `top` is the top lane."""
    pairs = [("c", "d", "u"), ("a", "b", "t")]
    if top in "ab":
        pairs.reverse()
    for lane, kept, result in pairs:
        s.raise_(lane)
        s.dup(kept)
        s.add(result)
    for lane, other, result in (("b", "u", "v"), ("d", "t", "w")):
        s.raise_(lane)
        s.dup(lane)
        s.add(lane)
        s.dup(other)
        s.add(result)


def _matrix(s: Stack) -> None:
    """M4 of lanes below p, by the additions of the Poseidon2 paper, each result below p; takes six
    moduli under the top lane."""
    _half_matrix(s, s.slots[-1])
    for source, other, result in (("u", "w", "d"), ("t", "v", "b")):
        s.raise_(source)
        s.push(4)
        s.mulmod("4" + source)
        s.dup(other)
        s.addmod(result)
    for source, other, result in (("w", "b", "a"), ("v", "d", "c")):
        s.raise_(source)
        s.dup(other)
        s.addmod(result)


def _partial_round(s: Stack, constant: int) -> None:
    """From [.. p, a] to [.. p, a]; lanes come in below 2p and go out below 2p. 169 gas."""
    _sbox(s, "a", constant)
    s.dup("p")
    for lane in "ab":
        s.dup(lane)
    s.add("a+b")
    for lane in "cd":
        s.dup(lane)
    s.add("c+d")
    s.addmod("sum")
    s.dup("p", 5)
    for lane in "abcd":
        s.raise_(lane)
        s.push(INTERNAL_DIAGONAL["abcd".index(lane)])
        s.mulmod("product")
        if lane != "d":
            s.dup("sum")
        s.add(lane)
    s.raise_("a")


def permutation() -> bytes:
    """Code that takes a, b, c, d, a, p (a on top) and leaves H4(a, b, c, d), for a, b, c, d below
    p."""
    s = Stack(["p", "first", "d", "c", "b", "a"])
    _lay_moduli(s, "a", 6)
    _matrix(s)
    for i in range(0, 16, 4):
        _sboxes(s, ROUND_CONSTANTS[i : i + 4], moduli_left=6 if i < 12 else 7)
        _matrix(s)
    s.raise_("a")
    for constant in ROUND_CONSTANTS[16:72]:
        _partial_round(s, constant)
    for i in range(72, 84, 4):
        # The partial rounds leave a modulus under lane a.
        _sboxes(s, ROUND_CONSTANTS[i : i + 4], moduli_left=5 if i == 72 else 6)
        _matrix(s)
    _sboxes(s, ROUND_CONSTANTS[84:88], moduli_left=2)
    # Lane 0 of M4 is (4t + v) + w.
    _half_matrix(s, s.slots[-1])
    s.raise_("t")
    s.push(4)
    s.mulmod("4t")
    s.dup("v")
    s.add("4t+v")
    s.dup("w")
    s.addmod("lane")
    s.drop_between("first")
    s.addmod("h")
    if s.slots != ["h"]:
        raise ValueError(f"expected the hash alone, found {s.slots}")
    return bytes(s.code)


def render(source: str) -> str:
    """`source`, the text of Poseidon2.yul, with the code of this script in its place."""
    rendered, places = _PLACE.subn(rf"\g<1>{permutation().hex()}\g<2>", source)
    if places != 1:
        raise ValueError("Poseidon2.yul: expected exactly one verbatim_6i_1o")
    return rendered


if __name__ == "__main__":
    TARGET.write_text(render(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
