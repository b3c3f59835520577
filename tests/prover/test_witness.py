"""prover/witness.py"""

import struct
from pathlib import Path

import pytest

from prover.circuit import compile_instance, load_instance
from prover.field import P
from prover.statement import challenged, plan_batch
from prover.witness import WitnessError, WitnessProgram, fnv1a64, wtns_bytes
from tests.prover.forge import Compiler, real_sources
from tests.prover.mutations import HONEST, R, honest


@pytest.fixture(scope="module")
def program(small: Compiler) -> WitnessProgram:
    """The real witness program of the small instance, with its own asserts."""
    return small.compile(real_sources(), "--r1cs", "--wasm", "--O0").program


@pytest.mark.parametrize("missing", sorted(honest()))
def test_a_missing_input_is_refused(program: WitnessProgram, missing: str) -> None:
    """Without one of its inputs the program would leave zeros behind for a witness; the error says
    how many elements are missing."""
    inputs = {name: values for name, values in honest().items() if name != missing}
    with pytest.raises(WitnessError, match="input elements"):
        program.run(inputs)


def test_an_unknown_input_is_refused_by_name(program: WitnessProgram) -> None:
    """A misspelt name is named."""
    with pytest.raises(WitnessError, match="input itemAdress: not an input of the circuit"):
        program.run(honest() | {"itemAdress": [0]})


@pytest.mark.parametrize("extra", [-1, 1])
def test_an_input_of_another_length_is_refused_by_name(program: WitnessProgram, extra: int) -> None:
    """One element too few or too many."""
    inputs = honest()
    inputs["itemAmount"] = inputs["itemAmount"][:-1] if extra < 0 else [*inputs["itemAmount"], 0]
    with pytest.raises(WitnessError, match="input itemAmount: not an input"):
        program.run(inputs)


@pytest.mark.parametrize(
    "signal",
    [
        "oldRoot",
        "newRoot",
        "itemsRoot",
        "fingerprint",
        "itemQuotient",
        "slotQuotient",
        "emptySlotWitness",
    ],
)
def test_a_statement_that_does_not_hold_has_no_witness(
    program: WitnessProgram, signal: str
) -> None:
    """The program's own asserts stop an honest prover early; that the constraints stop a dishonest
    one is tested on the constraints."""
    inputs = honest()
    inputs[signal] = [inputs[signal][0] + 1, *inputs[signal][1:]]
    with pytest.raises(WitnessError, match="the inputs do not satisfy the circuit"):
        program.run(inputs)
    assert program.run(honest())[0] == 1, "a refused run leaves nothing behind"


def test_the_witness_starts_with_one_and_the_public_signals(program: WitnessProgram) -> None:
    """Signal 0 is 1, then the public signals in the Distributor's order; inputs may be given modulo
    p."""
    statement = challenged(HONEST, R)
    witness = program.run(statement.circuit_inputs())
    assert witness[:6] == [1, *statement.public_signals]
    shifted = {
        name: [value - P for value in values] for name, values in statement.circuit_inputs().items()
    }
    assert program.run(shifted) == witness


def test_the_wtns_file(program: WitnessProgram, tmp_path: Path) -> None:
    """Header, prime, count and elements of the iden3 format, the same witness that `run`
    returns."""
    path = tmp_path / "w.wtns"
    program.write(honest(), path)
    data, witness = path.read_bytes(), program.run(honest())
    assert data == wtns_bytes(b"".join(value.to_bytes(32, "little") for value in witness))
    assert data[:12] == b"wtns" + struct.pack("<II", 2, 2)
    assert struct.unpack_from("<IQI", data, 12) == (1, 40, 32)
    assert int.from_bytes(data[28:60], "little") == P
    assert struct.unpack_from("<IIQ", data, 60) == (len(witness), 2, 32 * len(witness))
    assert len(data) == 76 + 32 * len(witness)


@pytest.mark.parametrize(
    ("text", "value"),
    [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)],
)
def test_fnv1a64(text: str, value: int) -> None:
    """The published FNV-1a test values."""
    assert fnv1a64(text) == value


def test_every_item_and_slot_of_dev_can_be_used() -> None:
    """The production program of dev takes a full batch: 32 openings."""
    dev = load_instance("dev")
    statement = challenged(plan_batch(dev, [], [(i, i) for i in range(1, 33)]), R)
    assert WitnessProgram(compile_instance(dev).wasm).run(statement.circuit_inputs())[1:6] == list(
        statement.public_signals
    )
