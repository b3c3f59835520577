"""The constraints themselves refuse forged witnesses: PROTOCOL section 5, one statement of the
circuit at a time."""

from collections import Counter
from pathlib import Path

import pytest

from prover.groth16 import Groth16Process
from prover.keys import KeyFolder
from prover.wire import Proof
from prover.witness import wtns_bytes
from tests.prover.forge import (
    Compilation,
    Compiler,
    constraint_statements,
    real_sources,
    replaced,
    without_assertions,
)
from tests.prover.mutations import MUTATIONS, Inputs, Mutation, honest

CASES = [
    pytest.param(mutation, attack, id=f"{mutation.group}: {mutation.statement} [{number}]")
    for mutation in MUTATIONS
    for number, attack in enumerate(mutation.attacks)
]


def mutated(compiler: Compiler, mutation: Mutation) -> tuple[Counter[tuple], Compilation]:
    """(the constraints that come from this statement, a program that computes the altered circuit
    and never judges)."""
    replacement = mutation.replacement
    if mutation.at:
        replacement = replacement.replace(
            "FAULT", str(compiler.loose.values(honest())[mutation.at])
        )
    sources = replaced(real_sources(), mutation.file, mutation.statement, replacement)
    if not mutation.replacement:
        altered = compiler.compile(sources, "--r1cs", "--O0")
        return compiler.plain.named_constraints - altered.named_constraints, compiler.loose
    # Without the `===` on either side the difference is the same, and one compilation gives both
    # answers.
    altered = compiler.compile(without_assertions(sources), "--r1cs", "--wasm", "--O0")
    return compiler.loose.named_constraints - altered.named_constraints, altered


def forge(program: Compilation, mutation: Mutation, inputs: Inputs) -> dict[str, int]:
    """Every signal's value; a faulty definition's consequences go on into the public signals, so
    that nothing else is broken."""
    values = program.values(inputs)
    if mutation.settles:
        outcome = {
            "oldRoot": "oldTree.out",
            "newRoot": "newTree.out",
            "itemsRoot": "itemsTree.out",
            "fingerprint": "horner[0]",
        }
        values = program.values(
            inputs | {signal: [values[f"main.{source}"]] for signal, source in outcome.items()}
        )
    return values


def groth16_accepts(
    process: Groth16Process, key: KeyFolder, witness: list[int], folder: Path
) -> bool:
    """Whether a proof made from `witness`, which nobody has checked, verifies for the witness's own
    public signals."""
    path = folder / "forged.wtns"
    path.write_bytes(wtns_bytes(b"".join(value.to_bytes(32, "little") for value in witness)))
    proof = Proof.from_bytes(bytes.fromhex(process.request("prove", wtns=str(path))))
    public = [str(value) for value in witness[1:6]]
    return process.request(
        "verify", vk=key.verifying_key.to_snarkjs(), proof=proof.to_bytes().hex(), public=public
    )


def test_honest_witness_is_accepted(
    small: Compiler, small_process: Groth16Process, small_key: KeyFolder, tmp_path: Path
) -> None:
    """The honest statement satisfies every constraint, in both compilations, and proves: the
    refusals below are no accident."""
    values = small.loose.values(honest())
    assert small.plain.r1cs.failing(small.plain.witness(values)) == []
    witness = small.production.witness(values)
    assert small.production.r1cs.failing(witness) == []
    assert groth16_accepts(small_process, small_key, witness, tmp_path)


@pytest.mark.parametrize(("mutation", "attack"), CASES)
def test_forged_witness_breaks_one_statement_and_is_refused(
    small: Compiler,
    small_process: Groth16Process,
    small_key: KeyFolder,
    tmp_path: Path,
    mutation: Mutation,
    attack,
) -> None:
    """All constraints but this statement's accept the forged witness; the real ones refuse it, and
    so does the verifier of the real key."""
    own, program = mutated(small, mutation)
    values = forge(program, mutation, attack())

    broken = small.plain.r1cs.failing(small.plain.witness(values))
    assert broken
    assert all(small.plain.named(index) in own for index in broken)

    witness = small.production.witness(values)
    assert small.production.r1cs.failing(witness)
    assert not groth16_accepts(small_process, small_key, witness, tmp_path)


def test_every_constraint_statement_has_a_mutation() -> None:
    """A statement added to the circuit without a mutation, or a mutation of a statement that is
    gone, fails here."""
    written = {
        (file, statement)
        for file, text in real_sources().items()
        for statement in constraint_statements(text)
    }
    assert written == {(mutation.file, mutation.statement) for mutation in MUTATIONS}
    assert len(written) == len(MUTATIONS)


def test_every_compiled_constraint_belongs_to_a_mutation(small: Compiler) -> None:
    """The constraints that the mutations leave out add up to the whole circuit: not one is
    untested, not one counted twice."""
    left_out: Counter[tuple] = Counter()
    for mutation in MUTATIONS:
        own, _ = mutated(small, mutation)
        assert own
        left_out += own
    assert left_out == small.plain.named_constraints
