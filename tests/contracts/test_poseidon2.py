"""Poseidon2: the vectors of PROTOCOL section 2 and the trees of section 3 in Solidity."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from prover.field import P
from prover.poseidon2 import h4
from prover.tree import Tree
from tests.contracts.refusal import refused

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"


def _vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def test_a_child_that_is_not_a_field_element_is_refused(hasher: Any) -> None:
    """compress takes no element at or above p, in any place."""
    for place in range(4):
        for value in (P, P + 1, 2**256 - 1):
            children = [1, 2, 3, 4]
            children[place] = value
            assert refused("NotAFieldElement", hasher.compress, *children) == (value,)


def test_a_sibling_that_is_not_a_field_element_is_refused(hasher: Any) -> None:
    """No sibling at or above p is taken, at any level, though it would hash like the element that
    it is congruent to."""
    tree = Tree(3, [5, 6, 7, 8])
    siblings = tree.siblings(0)
    for place in range(len(siblings)):
        bent = [*siblings[:place], siblings[place] + P, *siblings[place + 1 :]]
        payout = (0, f"{5:#042x}", 6)
        assert refused("NotAFieldElement", hasher.root, [payout], bent, 3) == (siblings[place] + P,)
        assert refused("NotAFieldElement", hasher.rootOfOne, payout, bent, 3) == (
            siblings[place] + P,
        )


def test_slots_must_rise_and_lie_in_the_tree(hasher: Any) -> None:
    """Slots that repeat, fall or do not exist, and an empty list, are refused."""
    account = f"{1:#042x}"
    assert refused("NoPayouts", hasher.root, [], [], 3) == ()
    assert refused("SlotsNotAscending", hasher.root, [(1, account, 1), (1, account, 1)], [], 3) == (
        1,
    )
    assert refused("SlotsNotAscending", hasher.root, [(2, account, 1), (0, account, 1)], [], 3) == (
        0,
    )
    assert refused("SlotOutOfRange", hasher.root, [(32, account, 1)], [0] * 8, 3) == (32,)
    assert refused(
        "SlotOutOfRange", hasher.root, [(0, account, 1), (65535, account, 1)], [0] * 8, 3
    ) == (65535,)
    for slot, levels in ((32, 3), (65535, 3), (0, 0), (0, 2**255)):
        assert refused("SlotOutOfRange", hasher.rootOfOne, (slot, account, 1), [0] * 8, levels) == (
            slot,
        )


def test_the_number_of_siblings_is_exact(hasher: Any) -> None:
    """One sibling too few or too many is refused, for one payout and for several."""
    tree = Tree(3, list(range(1, 21)))
    payout, path = (3, f"{tree.pair(3)[0]:#042x}", tree.pair(3)[1]), tree.siblings(3)
    for bent in ([*path, 0], path[:-1], [], path * 2):
        assert refused("WrongSiblingCount", hasher.rootOfOne, payout, bent, 3) == (len(bent), 8)
    for slots in ([3], [0, 1, 5], list(range(32))):
        payouts = [(slot, f"{tree.pair(slot)[0]:#042x}", tree.pair(slot)[1]) for slot in slots]
        siblings = tree.multi_siblings(slots)
        count = len(siblings)
        assert hasher.root(payouts, siblings, 3) == tree.root
        assert refused("WrongSiblingCount", hasher.root, payouts, [*siblings, 0], 3) == (
            count + 1,
            count,
        )
        if count:
            assert refused("WrongSiblingCount", hasher.root, payouts, siblings[:-1], 3) == (
                count - 1,
                count,
            )


def test_h4_vectors(hasher: Any) -> None:
    """compress gives the shared vectors of H4, those of the protocol among them."""
    cases = _vectors("poseidon2.json")["h4"]
    assert [1, 2, 3, 4] in [[int(x, 16) for x in case["in"]] for case in cases]
    for case in cases:
        assert hasher.compress(*(int(x, 16) for x in case["in"])) == int(case["out"], 16)


def test_h4_on_random_and_extreme_elements(hasher: Any) -> None:
    """compress agrees with the Python reference on random elements and on the largest: lazy sums do
    not overflow."""
    rng = random.Random("h4")
    for _ in range(40):
        children = [rng.choice((0, 1, P - 1, P - 2, rng.randrange(P))) for _ in range(4)]
        assert hasher.compress(*children) == h4(*children)


def test_tree_vectors(hasher: Any) -> None:
    """root gives the shared trees' roots from every listed path and shared path."""
    for tree in _vectors("tree.json"):
        pairs = {
            slot: (account, int(amount)) for slot, (account, amount) in enumerate(tree["pairs"])
        }
        empty = (f"{0:#042x}", 0)
        for path in [
            {"slots": [p["slot"]], "siblings": p["siblings"]} for p in tree["paths"]
        ] + tree["sharedPaths"]:
            payouts = [(slot, *pairs.get(slot, empty)) for slot in path["slots"]]
            siblings = [int(x, 16) for x in path["siblings"]]
            assert hasher.root(payouts, siblings, tree["levels"]) == int(tree["root"], 16)
            if len(payouts) == 1:
                assert hasher.rootOfOne(payouts[0], siblings, tree["levels"]) == int(
                    tree["root"], 16
                )


@pytest.mark.parametrize("levels", [1, 2, 4, 5])
def test_random_trees(hasher: Any, levels: int) -> None:
    """root and rootOfOne agree with the Python tree on random payouts of random trees."""
    rng = random.Random(f"tree {levels}")
    slots = 4**levels // 2
    tree = Tree(
        levels,
        [value for _ in range(slots) for value in (rng.randrange(2**160), rng.randrange(2**127))],
    )
    for count in {1, 2, min(slots, 9), slots}:
        chosen = sorted(rng.sample(range(slots), count))
        payouts = [(slot, f"{tree.pair(slot)[0]:#042x}", tree.pair(slot)[1]) for slot in chosen]
        assert hasher.root(payouts, tree.multi_siblings(chosen), levels) == tree.root
        for payout in payouts[:12]:
            assert hasher.rootOfOne(payout, tree.siblings(payout[0]), levels) == tree.root


def test_the_committed_code_is_the_generators() -> None:
    """Poseidon2.yul holds exactly what scripts/generate_poseidon2.py schedules."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from generate_poseidon2 import TARGET, render

    assert render(TARGET.read_text()) == TARGET.read_text()


def test_contracts_fit_the_size_limit() -> None:
    """Everything that is deployed in production stays under the 24,576 bytes of EIP-170."""
    for name in ("Poseidon2", "Distributor", "Groth16Verifier"):
        artifact = json.loads((ROOT / "build" / "contracts" / f"{name}.json").read_text())
        assert len(artifact["deployedBytecode"]) // 2 - 1 <= 24_576
