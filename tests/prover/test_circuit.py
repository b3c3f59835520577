"""prover/circuit.py and prover/circuits: instances, compilation, and the agreement of circuit and
Python."""

import random
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from prover import circuit, circuit_constants
from prover.circuit import CircuitError, Instance, compile_instance, instances, load_instance
from prover.field import P
from prover.poseidon2 import h4
from prover.statement import challenged, plan_batch
from prover.tree import Tree, zero_root
from prover.witness import WitnessProgram
from tests.prover.forge import Compilation, Compiler, real_sources
from tests.prover.mutations import INSTANCE, honest
from tests.prover.test_vectors import ints, load, pairs

DEV = load_instance("dev")


# -- Refusals
# --------------------------------------------------------------------------------------------------


def test_an_unknown_instance_is_refused() -> None:
    """The error lists what there is."""
    with pytest.raises(
        CircuitError, match="instance: expected one of dev, standard, wide, got 'big'"
    ):
        load_instance("big")


def test_a_missing_compiler_says_how_to_get_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before `make setup` has run."""
    monkeypatch.setattr(circuit, "NODE_MODULES", tmp_path / "nowhere")
    with pytest.raises(CircuitError, match="circom2 is not installed: run `make setup`"):
        compile_instance(INSTANCE)


def test_a_circuit_that_does_not_compile_is_an_error_and_is_not_cached(cache: Path) -> None:
    """More items than the items tree holds: circom's own words come through, and no folder is left
    for the next run to trust."""
    impossible = replace(INSTANCE, items=9)
    with pytest.raises(CircuitError, match="circom failed on instance small"):
        compile_instance(impossible)
    assert [path.suffix for path in (cache / "circuits").iterdir()] == [".lock"]


def test_a_compiler_that_makes_nothing_is_an_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 without files is a failure too."""
    fake = tmp_path / ".bin" / "circom2"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 0\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(circuit, "NODE_MODULES", tmp_path)
    with pytest.raises(CircuitError, match="circom failed"):
        compile_instance(INSTANCE)


# -- Instances and their digests
# --------------------------------------------------------------------------------------------------


def test_instances_are_those_of_the_protocol() -> None:
    """Sizes of PROTOCOL section 3; the items fit their tree."""
    assert instances()["dev"] == Instance("dev", 3, 3, 32)
    standard = instances()["standard"]
    assert (standard.levels, standard.slots, standard.item_levels) == (5, 512, 6)
    wide = instances()["wide"]
    assert (wide.levels, wide.slots, wide.item_levels) == (6, 2048, 6)
    assert all(2 * instance.items <= 4**instance.item_levels for instance in instances().values())


@pytest.mark.parametrize(("name", "power"), [("standard", 19), ("wide", 20)])
def test_an_instance_fills_its_domain(name: str, power: int) -> None:
    """By the formula that the small and dev compilations meet; the library adds a row a public
    signal and one for the constant. Two items more, and with them another lowest node, would need a
    domain twice as large."""
    instance = load_instance(name)
    rows = 1 + len(circuit.PUBLIC_SIGNALS)
    assert (
        constraints(instance) + rows
        <= 2**power
        < constraints(replace(instance, items=instance.items + 2)) + rows
    )


def test_levels_tell_the_instances_apart() -> None:
    """A Distributor says its levels and nothing else of its instance."""
    levels = [instance.levels for instance in instances().values()]
    assert len(set(levels)) == len(levels)


def constraints(instance: Instance) -> int:
    """264 a hash; equations 2, 3 and 5 and two steps of Horner's rule a slot, less its first step;
    one an item; none for what is linear."""

    def hashes(levels: int, used: int) -> int:
        count = 0
        for _ in range(levels):
            used = -(-used // 4)
            count += used
        return count

    slots, items = instance.slots, instance.items
    total = 2 * hashes(instance.levels, 2 * slots) + hashes(instance.item_levels, 2 * items)
    return 264 * total + 3 * slots + 2 * slots - 1 + items


def test_constraint_counts_are_those_on_record() -> None:
    """dev's by compiling it, the others' by the formula, which the compiler met for both: a change
    of any is a change of every key, and shows here first."""
    assert compile_instance(DEV).constraints == constraints(DEV) == 16_823
    assert constraints(load_instance("standard")) == 524_037
    assert constraints(load_instance("wide")) == 1_048_231


def test_an_account_and_an_item_cost_what_the_protocol_says() -> None:
    """PROTOCOL section 3: about 357 constraints an account and 177 an item, the averages over the
    sizes around standard's."""
    standard = load_instance("standard")
    empty = replace(standard, items=0)
    assert round((constraints(standard) - constraints(empty)) / standard.items) == 177
    assert round(constraints(empty) / standard.slots) == 357


def test_the_compilers_inspection_finds_nothing(small: Compiler, dev: Compiler) -> None:
    """`circom --inspect`: no signal without a constraint, no assignment that could be one. It does
    find what is put there."""
    assert "warning" not in dev.compile(real_sources(), "--r1cs", "--O2", "--inspect").said
    sources = real_sources()
    sources["batch.circom"] = sources["batch.circom"].replace(
        "signal input r;", "signal input r;\n    signal forgotten;\n    forgotten <-- r;"
    )
    said = small.compile(sources, "--r1cs", "--O2", "--inspect").said
    assert "Local signal forgotten does not appear in any constraint" in said
    assert "Consider using <== instead of <--" in said


def test_constraint_counts_are_as_computed(small: Compiler, dev: Compiler) -> None:
    """A hash is 264 constraints, everything else is counted by hand: nothing is in the circuit that
    is not accounted for."""
    for compiler in (small, dev):
        assert len(compiler.production.r1cs.constraints) == constraints(compiler.instance)
        assert compiler.production.r1cs.public == 5


def test_the_judged_constraints_are_those_that_are_proven(dev: Compiler) -> None:
    """The R1CS that the forged witnesses meet is byte for byte the one that keys are made from."""
    assert (dev.production.folder / "main.r1cs").read_bytes() == compile_instance(
        DEV
    ).r1cs.read_bytes()


def test_the_digest_follows_sizes_and_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is cached by this digest: any change of size, text, file name, compiler or option must
    move it."""
    digests = [
        INSTANCE.digest,
        replace(INSTANCE, items=6).digest,
        replace(INSTANCE, levels=3).digest,
        replace(INSTANCE, item_levels=3).digest,
    ]
    assert replace(INSTANCE, name="other").digest == INSTANCE.digest
    monkeypatch.setattr(circuit, "OPTIONS", ("--O1", "--r1cs", "--wasm"))
    digests.append(INSTANCE.digest)
    monkeypatch.undo()
    monkeypatch.setattr(circuit, "COMPILER_VERSION", "0.0.1")
    digests.append(INSTANCE.digest)
    monkeypatch.undo()
    for name, text in real_sources().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(circuit, "SOURCES", tmp_path)
    assert INSTANCE.digest == digests[0]
    (tmp_path / "batch.circom").write_text((tmp_path / "batch.circom").read_text() + "\n")
    digests.append(INSTANCE.digest)
    (tmp_path / "batch.circom").rename(tmp_path / "other.circom")
    digests.append(INSTANCE.digest)
    assert len(set(digests)) == len(digests)


def test_the_compiler_is_the_pinned_one() -> None:
    """The version in the digest is the version that is installed."""
    package = (circuit.NODE_MODULES / "circom2" / "package.json").read_text()
    assert re.search(r'"version": "([^"]+)"', package)[1] == circuit.COMPILER_VERSION


def test_a_compilation_is_cached_and_holds_two_files(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call compiles nothing: it works without a compiler."""
    first = compile_instance(INSTANCE)
    assert sorted(path.name for path in first.r1cs.parent.iterdir()) == ["main.r1cs", "main.wasm"]
    monkeypatch.setattr(circuit, "NODE_MODULES", cache)
    assert compile_instance(INSTANCE) == first


def test_generated_constants_are_current() -> None:
    """The circuit's constants are what Python's code generates, zero subtrees included, for as many
    levels as the tree template reads."""
    assert circuit_constants.CONSTANTS_FILE.read_text() == circuit_constants.render()
    assert circuit_constants.zero_subtrees(8) == [zero_root(level) for level in range(8)]
    assert (
        f"var zero[{circuit_constants.ZERO_LEVELS}] = zeroSubtrees();"
        in real_sources()["lib/tree.circom"]
    )


def test_templates_hold_no_main() -> None:
    """The statement is a template; only instances have a main, with the five public signals in the
    contract's order."""
    assert not any("component main" in text for text in real_sources().values())
    assert "{public [oldRoot, newRoot, itemsRoot, r, fingerprint]} = Batch(3, 3, 32);" in DEV.main


# -- Circuit and Python agree
# --------------------------------------------------------------------------------------------------


def gadget(compiler: Compiler, file: str, call: str) -> WitnessProgram:
    """A witness program whose main is one template."""
    main = f'pragma circom 2.2.0;\ninclude "{file}";\ncomponent main = {call};\n'
    made: Compilation = compiler.compile(real_sources() | {"main.circom": main}, "--wasm", "--O0")
    return made.program


def test_h4_agrees_with_the_vectors_and_with_python(small: Compiler) -> None:
    """Every hash of the shared vectors and random ones, in the circuit's gadget."""
    program = gadget(small, "lib/poseidon2.circom", "H4()")
    for row in load("poseidon2.json")["h4"]:
        assert program.run({"in": ints(row["in"])})[1] == int(row["out"], 16)
    rng = random.Random("h4")
    for _ in range(20):
        state = [rng.randrange(P) for _ in range(4)]
        assert program.run({"in": state})[1] == h4(*state)


@pytest.mark.parametrize(("levels", "used"), [(1, 1), (2, 5), (3, 17), (3, 64), (4, 70)])
def test_roots_agree_with_python(small: Compiler, levels: int, used: int) -> None:
    """Random trees, partly and fully used: unused elements are 0 on every level."""
    program = gadget(small, "lib/tree.circom", f"Root({levels}, {used})")
    rng = random.Random(f"{levels} {used}")
    for _ in range(3):
        elements = [rng.choice((0, 1, P - 1, rng.randrange(P))) for _ in range(used)]
        assert program.run({"in": elements})[1] == Tree(levels, elements).root


@pytest.mark.parametrize(
    "case",
    [c for c in load("tree.json") if c["levels"] == 3],
    ids=lambda c: f"{len(c['pairs'])} accounts",
)
def test_bucket_vectors_agree(small: Compiler, case) -> None:
    """The shared dev buckets."""
    elements = [element for pair in pairs(case["pairs"]) for element in pair]
    program = gadget(small, "lib/tree.circom", "Root(3, 64)")
    assert program.run({"in": elements + [0] * (64 - len(elements))})[1] == int(case["root"], 16)


@pytest.mark.parametrize("number", range(4))
def test_shared_batches_satisfy_the_production_constraints(dev: Compiler, number: int) -> None:
    """The four dev batches of the vectors, the full one with 32 slots and 32 items among them,
    under their own public signals."""
    batch = load("batch_dev.json")["batches"][number]
    signals = ints(batch["publicSignals"])
    statement = challenged(
        plan_batch(DEV, pairs(batch["old"]), pairs(batch["items"])), int(batch["r"], 16)
    )
    inputs = statement.circuit_inputs() | {
        name: [value] for name, value in zip(circuit.PUBLIC_SIGNALS, signals, strict=True)
    }
    witness = WitnessProgram(compile_instance(DEV).wasm).run(inputs)
    assert witness[1:6] == signals
    assert dev.production.r1cs.failing(witness) == []


def test_production_and_plain_compilations_judge_alike(small: Compiler) -> None:
    """The optimiser changes the constraints, not the verdict: honest inputs and inputs with one
    changed element each."""
    rng = random.Random("alike")
    for name in (None, *sorted(honest())):
        inputs = honest()
        if name:
            index = 0 if name == "emptySlotWitness" else rng.randrange(len(inputs[name]))
            inputs[name][index] = (inputs[name][index] + rng.randrange(1, P)) % P
        values = small.loose.values(inputs)
        plain = small.plain.r1cs.failing(small.plain.witness(values))
        production = small.production.r1cs.failing(small.production.witness(values))
        assert bool(plain) == bool(production) == bool(name)
