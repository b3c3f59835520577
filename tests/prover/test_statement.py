"""prover/statement.py"""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prover.circuit import Instance, load_instance
from prover.field import P
from prover.statement import Pair, StatementError, challenged, plan_batch
from prover.wire import ADDRESS_MAX, UINT96_MAX, Deltas
from tests.prover import reference
from tests.prover.test_vectors import ints, load, pairs

SMALL = Instance("small", 2, 2, 7)
OLD = [(11, 100), (12, 200)]
elements = st.integers(0, P - 1)


@st.composite
def states_and_items(draw) -> tuple[list[Pair], list[Pair]]:
    accounts = draw(
        st.lists(st.integers(1, ADDRESS_MAX), min_size=1, max_size=SMALL.slots, unique=True)
    )
    opened = draw(st.integers(0, len(accounts)))
    old = [(account, draw(st.integers(1, 2**120))) for account in accounts[:opened]]
    items = draw(
        st.lists(
            st.tuples(st.sampled_from(accounts), st.integers(1, 2**93)),
            min_size=1,
            max_size=SMALL.items,
        )
    )
    return old, items


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "items: expected 1 .. 7, got 0"),
        ([(11, 1)] * 8, "items: expected 1 .. 7, got 8"),
        ([(11, 1), (0, 1)], "item 1: expected an address above 0 and below 2\\^160, got 0"),
        ([(ADDRESS_MAX + 1, 1)], "item 0: expected an address"),
        ([(-1, 1)], "item 0: expected an address"),
        ([(11, 0)], "item 0: expected an amount of 1 .. 2\\^96-1, got 0"),
        ([(11, 1), (12, -5)], "item 1: expected an amount"),
        ([(11, UINT96_MAX + 1)], "item 0: expected an amount"),
        ([(11, UINT96_MAX), (11, 1)], "item 1: the account's delta does not fit 96 bits"),
        ([(99, UINT96_MAX), (12, 1), (99, 1)], "item 2: the account's delta does not fit 96 bits"),
        ([(20 + i, 1) for i in range(7)], "item 6: the bucket's 8 slots are in use"),
    ],
    ids=str,
)
def test_items_that_cannot_be_a_batch_are_refused(items: list[Pair], message: str) -> None:
    """Each rule names the item and what was expected."""
    with pytest.raises(StatementError, match=message):
        plan_batch(SMALL, OLD, items)


def test_the_largest_delta_and_the_last_slot_fit() -> None:
    """The bounds themselves are allowed."""
    statement = plan_batch(
        SMALL, OLD, [(11, UINT96_MAX - 1), (11, 1)] + [(20 + i, 1) for i in range(5)]
    )
    assert statement.new[0] == (11, 100 + UINT96_MAX)
    full = plan_batch(SMALL, [(i, 1) for i in range(1, 8)], [(8, 5)])
    assert full.new[7] == (8, 5)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(states_and_items())
def test_a_plan_is_what_a_dictionary_would_book(case: tuple[list[Pair], list[Pair]]) -> None:
    """Old balances plus items, new accounts in order of appearance, nobody else touched."""
    old, items = case
    balances = dict(old)
    for account, amount in items:
        balances[account] = balances.get(account, 0) + amount
    statement = plan_batch(SMALL, old, items)
    assert list(statement.new) == list(balances.items())
    assert (list(statement.old), list(statement.items)) == (old, items)
    assert statement.deltas.total == sum(amount for _, amount in items)
    assert {slot for slot, _ in statement.deltas.existing} == {
        s for s, (account, _) in enumerate(old) if account in dict(items)
    }
    assert statement.new_root == reference.root(
        [element for pair in balances.items() for element in pair], SMALL.levels
    )
    assert statement.items_root == reference.root(
        [element for pair in items for element in pair], SMALL.item_levels
    )


@settings(deadline=None, max_examples=60)
@given(states_and_items(), elements)
def test_the_fingerprint_of_the_vectors_is_that_of_the_deltas(
    case: tuple[list[Pair], list[Pair]], r: int
) -> None:
    """The circuit's side and the contract's side of the fingerprint agree, by way of the bytes on
    chain."""
    old, items = case
    statement = plan_batch(SMALL, old, items)
    parsed = Deltas.decode(statement.deltas.encode(), len(old), SMALL.slots)
    assert statement.fingerprint(r) == parsed.fingerprint(r, len(old), SMALL.slots)
    assert statement.fingerprint(r) == reference.fingerprint(
        parsed.existing, parsed.opened, len(old), SMALL.slots, r
    )


@settings(deadline=None, max_examples=40)
@given(states_and_items(), elements)
def test_circuit_inputs_meet_the_equations_of_the_protocol(
    case: tuple[list[Pair], list[Pair]], r: int
) -> None:
    """PROTOCOL section 5, equations 2 to 5, on the numbers that are handed to the witness
    program."""
    old, items = case
    statement = plan_batch(SMALL, old, items)
    assume(r not in dict(statement.new))
    inputs = challenged(statement, r).circuit_inputs()
    slots, count = SMALL.slots, SMALL.items
    assert {name: len(values) for name, values in inputs.items()} == {
        **dict.fromkeys(("oldRoot", "newRoot", "itemsRoot", "r", "fingerprint"), 1),
        **dict.fromkeys(
            (
                "oldAddress",
                "oldCumulative",
                "newAddress",
                "newCumulative",
                "emptySlotWitness",
                "slotQuotient",
            ),
            slots,
        ),
        **dict.fromkeys(("itemAddress", "itemAmount", "itemQuotient"), count),
    }
    d = [
        new - before
        for new, before in zip(inputs["newCumulative"], inputs["oldCumulative"], strict=True)
    ]
    for s in range(slots):
        assert inputs["oldAddress"][s] * (inputs["newAddress"][s] - inputs["oldAddress"][s]) == 0
        assert (inputs["newAddress"][s] * inputs["emptySlotWitness"][s] - d[s]) % P == 0
        assert (inputs["slotQuotient"][s] * (r - inputs["newAddress"][s]) - d[s]) % P == 0
    for j in range(count):
        assert (
            inputs["itemQuotient"][j] * (r - inputs["itemAddress"][j]) - inputs["itemAmount"][j]
        ) % P == 0
    assert (sum(inputs["itemQuotient"]) - sum(inputs["slotQuotient"])) % P == 0


def test_a_challenge_that_is_an_account_has_no_quotients() -> None:
    """With r = a, q (r - a) = v has no solution for v > 0. A hash hits an account with odds of
    2^-245: that batch is never provable wrongly."""
    inputs = challenged(plan_batch(SMALL, OLD, [(11, 5)]), 11).circuit_inputs()
    assert (
        inputs["itemQuotient"][0] * (11 - inputs["itemAddress"][0]) - inputs["itemAmount"][0]
    ) % P != 0
    assert (inputs["slotQuotient"][0] * (11 - inputs["newAddress"][0]) - 5) % P != 0


def test_a_statement_that_does_not_hold_can_be_built() -> None:
    """Refusing is the circuit's part: another new state keeps the old one and the items."""
    statement = plan_batch(SMALL, OLD, [(11, 5)])
    forged = replace(statement, new=((11, 10**6), (12, 200)))
    assert (forged.old, forged.items, forged.old_root) == (
        statement.old,
        statement.items,
        statement.old_root,
    )
    assert forged.deltas.total == 10**6 - 100


def test_shared_batches() -> None:
    """The dev batches of the vectors: plan, roots, deltas, fingerprint and public signals in their
    order."""
    vectors = load("batch_dev.json")
    dev = load_instance("dev")
    for batch in vectors["batches"]:
        statement = plan_batch(dev, pairs(batch["old"]), pairs(batch["items"]))
        assert list(statement.new) == pairs(batch["new"])
        assert "0x" + statement.deltas.encode().hex() == batch["deltas"]
        assert list(challenged(statement, int(batch["r"], 16)).public_signals) == ints(
            batch["publicSignals"]
        )
