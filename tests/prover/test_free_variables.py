"""What a prover who writes the witness by hand is free to choose: nothing that matters, as long as
r is no pole (PROTOCOL section 5)."""

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prover.field import P, inverse
from prover.statement import BatchStatement, Pair, challenged, plan_batch
from tests.prover.forge import Compilation, Compiler, real_sources, replaced
from tests.prover.mutations import (
    ALICE,
    BOB,
    DAVE,
    HONEST,
    INSTANCE,
    ITEMS,
    MALLORY,
    MUTATIONS,
    OLD,
    R,
    honest,
    with_pairs,
)
from tests.prover.r1cs import determined

VECTORS = (
    "oldAddress",
    "oldCumulative",
    "newAddress",
    "newCumulative",
    "itemAddress",
    "itemAmount",
)
PUBLIC = ("oldRoot", "newRoot", "itemsRoot", "r", "fingerprint")
ONLY_W = {f"main.emptySlotWitness[{s}]" for s in range(len(HONEST.new), INSTANCE.slots)}
"""w of a slot that stays empty: 0 * w = 0, and nothing else reads it."""

LAX = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def names(compiler: Compiler) -> dict[int, str]:
    return compiler.production.symbols.name_of


def sizes() -> dict[str, int]:
    return {name: len(values) for name, values in honest().items()}


def vectors_and_r(compilation: Compilation) -> set[int]:
    """The wires of the six vectors and of the challenge."""
    wire_of = compilation.symbols.wire_of
    return {wire_of[f"main.{name}[{i}]"] for name in VECTORS for i in range(sizes()[name])} | {
        wire_of["main.r"]
    }


def test_every_single_wire_is_bound(small: Compiler) -> None:
    """Changing any one wire of the production witness, each quotient and each w included, breaks a
    constraint; but for w of an empty slot."""
    rng = random.Random("wires")
    witness = small.production.witness(small.loose.values(honest()))
    free = {
        name
        for wire, name in names(small).items()
        if wire
        and not small.production.r1cs.failing_after(
            witness, {wire: (witness[wire] + rng.randrange(1, P)) % P}
        )
    }
    assert free == ONLY_W


@pytest.mark.parametrize(
    "items",
    [ITEMS, [*ITEMS, (DAVE, 2**90), (ALICE, 1)]],
    ids=["some items unused", "all items used"],
)
def test_the_vectors_and_r_determine_the_whole_witness(small: Compiler, items: list[Pair]) -> None:
    """Once the vectors and r stand, every other wire, the roots and the fingerprint included, can
    take one value only."""
    values = small.loose.values(challenged(plan_batch(INSTANCE, OLD, items), R).circuit_inputs())
    witness = small.production.witness(values)
    assert small.production.r1cs.failing(witness) == []
    found = determined(small.production.r1cs, witness, vectors_and_r(small.production))
    assert {name for wire, name in names(small).items() if wire not in found} == ONLY_W


def test_a_circuit_with_a_gap_is_seen_to_have_one(small: Compiler) -> None:
    """The check above can fail: without the constraint of one S-box line, or of the slots'
    quotients, wires are undetermined."""
    for statement in (
        "signal fourth <== square * square;",
        "slotQuotient[s] * (r - newAddress[s]) === d[s];",
    ):
        (mutation,) = (mutation for mutation in MUTATIONS if mutation.statement == statement)
        replacement = mutation.replacement.replace("FAULT", "0")
        gap = small.compile(
            replaced(real_sources(), mutation.file, statement, replacement), "--r1cs", "--O0"
        )
        found = determined(gap.r1cs, gap.witness(small.loose.values(honest())), vectors_and_r(gap))
        assert len(found) < gap.r1cs.wires - len(ONLY_W)


@LAX
@given(data=st.data())
def test_no_other_private_inputs_serve_the_same_public_signals(small: Compiler, data) -> None:
    """Any change of private inputs, everything downstream recomputed, is refused under the same
    public signals; but for w of an empty slot."""
    inputs = {name: list(values) for name, values in honest().items()}
    private = [
        (name, i) for name, size in sizes().items() if name not in PUBLIC for i in range(size)
    ]
    changes = data.draw(
        st.dictionaries(
            st.sampled_from(private),
            st.one_of(st.integers(0, 5), st.integers(0, P - 1)),
            min_size=1,
            max_size=6,
        )
    )
    for (name, i), value in changes.items():
        inputs[name][i] = value
    bound = {name: values for name, values in inputs.items() if name != "emptySlotWitness"} | {
        "emptySlotWitness": inputs["emptySlotWitness"][: len(HONEST.new)]
    }
    unchanged = all(values == honest()[name][: len(values)] for name, values in bound.items())
    witness = small.production.witness(small.loose.values(inputs))
    assert bool(small.production.r1cs.failing(witness)) != unchanged


@pytest.mark.parametrize("index", range(len(HONEST.items), INSTANCE.items))
@pytest.mark.parametrize(
    "item", [(0, 1), (0, P - 1), (MALLORY, 1), (BOB, 1), (MALLORY, P - 1)], ids=str
)
@pytest.mark.parametrize("quotient", ["honest", "zero", "balancing"])
@pytest.mark.parametrize("root", ["attested", "of the forged items"])
def test_unused_items_carry_nothing(
    small: Compiler, index: int, item, quotient: str, root: str
) -> None:
    """An unused item with an amount is refused under the attested root, and under a root of its
    own, whatever its quotient."""
    forged = replace(HONEST, items=with_pairs(HONEST.items, (index, item)))
    inputs = challenged(forged, R).circuit_inputs()
    if root == "attested":
        inputs["itemsRoot"] = [HONEST.items_root]
    if quotient != "honest":
        inputs["itemQuotient"][index] = (
            0  # What makes the sums agree: the honest items' quotients are those of the slots.
        )
    if quotient == "balancing":
        inputs["itemQuotient"][0] = (inputs["itemQuotient"][0] + item[1] * inverse(R - item[0])) % P
        inputs["itemQuotient"][index] = -item[1] * inverse(R - item[0]) % P
    assert small.production.r1cs.failing(small.production.witness(small.loose.values(inputs)))


def test_an_unused_item_with_an_address_and_no_amount_changes_no_balance(small: Compiler) -> None:
    """(address, 0) satisfies the circuit and moves nothing; its root is not the attested one."""
    other = replace(HONEST, items=with_pairs(HONEST.items, (INSTANCE.items - 1, (MALLORY, 0))))
    values = small.loose.values(challenged(other, R).circuit_inputs())
    assert small.production.r1cs.failing(small.production.witness(values)) == []
    assert other.items_root != HONEST.items_root
    assert (other.new_root, other.deltas) == (HONEST.new_root, HONEST.deltas)


@pytest.mark.parametrize(
    "pair",
    [((0, 5), (0, P - 5)), ((MALLORY, 5), (MALLORY, P - 5))],
    ids=["address 0", "a stranger"],
)
def test_items_that_cancel_change_no_balance(small: Compiler, pair) -> None:
    """Amounts that add up to 0 modulo p satisfy the circuit and move nothing; an attestor, who
    takes amounts below 2^96, signs no such root."""
    other = replace(HONEST, items=(*HONEST.items, *pair))
    values = small.loose.values(challenged(other, R).circuit_inputs())
    assert small.production.r1cs.failing(small.production.witness(values)) == []
    assert other.items_root != HONEST.items_root
    assert (other.new_root, other.deltas) == (HONEST.new_root, HONEST.deltas)


def theft(r: int, quotient: str, index: int) -> dict[str, list[int]]:
    """Inputs that give MALLORY, opened by this batch, 10^18 that nobody attested, balanced by one
    quotient."""
    stolen = replace(HONEST, new=(*HONEST.new, (MALLORY, 10**18)))
    inputs = challenged(stolen, r).circuit_inputs()
    inputs[quotient][index] = (
        10**18 * inverse(r - MALLORY) * (1 if quotient == "itemQuotient" else -1) % P
    )
    return inputs


@pytest.mark.parametrize(
    ("quotient", "index", "pole"),
    [("slotQuotient", 1, BOB), ("itemQuotient", INSTANCE.items - 1, 0)],
)
def test_a_pole_is_the_one_gap_and_only_the_choice_of_r_closes_it(
    small: Compiler, quotient: str, index: int, pole: int
) -> None:
    """Where r equals the address of an untouched slot, or of an unused item, its quotient is free
    and a theft satisfies every constraint. At any other r it does not. That is why r is a hash of
    all that was chosen before."""
    at_pole, elsewhere = (
        small.production.witness(small.loose.values(theft(r, quotient, index))) for r in (pole, R)
    )
    assert small.production.r1cs.failing(at_pole) == []
    assert small.production.r1cs.failing(elsewhere)


@pytest.mark.parametrize("r", [2**20 + 7, R])
def test_deltas_can_be_faked_by_who_knows_r_first(small: Compiler, r: int) -> None:
    """Vectors chosen after r meet a fingerprint of other deltas: slot 0 gains r and slot 1 loses
    one, which no `deltas` can say."""
    first, second = HONEST.new[0], HONEST.new[1]
    shifted = with_pairs(
        HONEST.new, (0, (first[0], (first[1] + r) % P)), (1, (second[0], second[1] - 1))
    )
    other = BatchStatement(INSTANCE, HONEST.old, shifted, HONEST.items)
    assert other.fingerprint(r) == HONEST.fingerprint(r)
    assert other.fingerprint(r + 1) != HONEST.fingerprint(r + 1)
