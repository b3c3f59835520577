"""Run the witness program that circom generates, and write the witness as `.wtns`.

The WebAssembly program takes one call per 32-bit word. A small WebAssembly module beside it makes
these calls, so that a witness of half a million signals takes a fraction of a second. Source of the
interface and of the format: the circom documentation ("Computing the witness") and the iden3 binary
file format (`wtns`, version 2).
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from wasmtime import (
    Engine,
    Func,
    FuncType,
    Instance,
    Linker,
    Memory,
    Module,
    Store,
    ValType,
    WasmtimeError,
)

from prover.field import P

_MASK64 = 2**64 - 1

# dump: the whole witness, little-endian words, into `memory`. load: one input signal's elements out
# of `memory`.
_COPIER = """
(module
  (import "circuit" "getWitness" (func $getWitness (param i32)))
  (import "circuit" "readSharedRWMemory" (func $read (param i32) (result i32)))
  (import "circuit" "writeSharedRWMemory" (func $write (param i32 i32)))
  (import "circuit" "setInputSignal" (func $set (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "dump") (param $count i32) (param $words i32)
    (local $i i32) (local $w i32) (local $at i32)
    (loop $each
      (call $getWitness (local.get $i))
      (local.set $w (i32.const 0))
      (loop $word
        (i32.store (local.get $at) (call $read (local.get $w)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $w (i32.add (local.get $w) (i32.const 1)))
        (br_if $word (i32.lt_u (local.get $w) (local.get $words))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $each (i32.lt_u (local.get $i) (local.get $count)))))
  (func (export "load") (param $msb i32) (param $lsb i32) (param $count i32) (param $words i32)
    (local $i i32) (local $w i32) (local $at i32)
    (loop $each
      (local.set $w (i32.const 0))
      (loop $word
        (call $write (local.get $w) (i32.load (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $w (i32.add (local.get $w) (i32.const 1)))
        (br_if $word (i32.lt_u (local.get $w) (local.get $words))))
      (call $set (local.get $msb) (local.get $lsb) (local.get $i))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $each (i32.lt_u (local.get $i) (local.get $count))))))
"""


class WitnessError(Exception):
    """The inputs do not satisfy the circuit, or are not the circuit's inputs."""


def fnv1a64(name: str) -> int:
    """64-bit FNV-1a, the hash by which circom names input signals."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 & _MASK64
    return value


class _Exports:
    """What an instance exports, by name and kind: the module's maker may have left one out."""

    def __init__(self, store: Store, instance: Instance) -> None:
        self._store, self._exports = store, instance.exports(store)

    def __call__(self, name: str, *arguments: int) -> int:
        """Call a function of 32-bit integers; 0 if it returns nothing."""
        function = self._exports[name]
        if not isinstance(function, Func):
            raise WitnessError(f"the witness program's {name} is not a function")
        result = function(self._store, *arguments)
        return result if isinstance(result, int) else 0

    def memory(self, name: str) -> Memory:
        memory = self._exports[name]
        if not isinstance(memory, Memory):
            raise WitnessError(f"the witness program's {name} is not a memory")
        return memory


class WitnessProgram:
    """The witness program of a compiled circuit, which can run many times.

    It is not safe for concurrent use.
    """

    def __init__(self, wasm: Path) -> None:
        self._engine = Engine()
        self._circuit = Module.from_file(self._engine, str(wasm))
        self._copier = Module(self._engine, _COPIER)

    def run(self, inputs: Mapping[str, Sequence[int]]) -> list[int]:
        """Return the whole witness: signal 0 is the constant 1, then come the public signals.

        Raises WitnessError.
        """
        data = self._run(inputs)
        return [int.from_bytes(data[i : i + 32], "little") for i in range(0, len(data), 32)]

    def write(self, inputs: Mapping[str, Sequence[int]], path: Path) -> None:
        """Compute the witness and write it as a `.wtns` file. Raises WitnessError."""
        path.write_bytes(wtns_bytes(self._run(inputs)))

    def _run(self, inputs: Mapping[str, Sequence[int]]) -> bytes:
        messages: list[str] = []
        store = Store(self._engine)
        linker = Linker(self._engine)
        code = FuncType([ValType.i32()], [])
        linker.define_func(
            "runtime",
            "exceptionHandler",
            code,
            lambda number: messages.append(f"circom exception {number}"),
        )
        for silent in ("printErrorMessage", "writeBufferMessage", "showSharedRWMemory"):
            linker.define_func("runtime", silent, FuncType([], []), lambda: None)
        circuit = linker.instantiate(store, self._circuit)
        linker.define_instance(store, "circuit", circuit)
        copier = linker.instantiate(store, self._copier)
        call, copy = _Exports(store, circuit), _Exports(store, copier)
        words = call("getFieldNumLen32")
        width = 4 * words
        memory = copy.memory("memory")

        def reserve(size: int) -> None:
            missing = size - memory.data_len(store)
            if missing > 0:
                memory.grow(store, (missing + 0xFFFF) // 0x10000)

        call("init", 0)
        try:
            for name, values in inputs.items():
                key = fnv1a64(name)
                high, low = key >> 32, key & 0xFFFFFFFF
                if call("getInputSignalSize", _signed(high), _signed(low)) != len(values):
                    raise WitnessError(
                        f"input {name}: not an input of the circuit with {len(values)} elements"
                    )
                reserve(width * len(values))
                memory.write(
                    store, b"".join((value % P).to_bytes(width, "little") for value in values), 0
                )
                copy("load", _signed(high), _signed(low), len(values), words)
        except WasmtimeError as error:
            raise WitnessError(
                f"the witness program stopped: {', '.join(messages) or error}"
            ) from error
        if messages:
            raise WitnessError(f"the inputs do not satisfy the circuit: {', '.join(messages)}")
        # The program computes when the last input is set. Without the last input it would return
        # zeros as the witness.
        expected, given = call("getInputSize"), sum(map(len, inputs.values()))
        if given != expected:
            raise WitnessError(f"inputs: expected {expected} input elements in all, got {given}")
        count = call("getWitnessSize")
        reserve(width * count)
        copy("dump", count, words)
        return bytes(memory.read(store, 0, width * count))


def _signed(word: int) -> int:
    return word - 2**32 if word >= 2**31 else word


def wtns_bytes(witness: bytes) -> bytes:
    """The `.wtns` file of a witness given as 32-byte little-endian elements."""
    header = (
        struct.pack("<I", 32) + P.to_bytes(32, "little") + struct.pack("<I", len(witness) // 32)
    )
    return (
        b"wtns"
        + struct.pack("<II", 2, 2)
        + struct.pack("<IQ", 1, len(header))
        + header
        + struct.pack("<IQ", 2, len(witness))
        + witness
    )
