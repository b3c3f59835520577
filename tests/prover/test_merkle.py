"""prover/merkle.py"""

from dataclasses import replace

import pytest
from eth_abi.exceptions import EncodingError
from hypothesis import given, settings
from hypothesis import strategies as st

from prover.merkle import InteractionsTree, Leaf, verify
from tests.prover.test_vectors import load

leaves = st.builds(
    lambda index, content, account, amount: Leaf(index, content, "0x" + account.hex(), amount),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=20, max_size=20),
    st.integers(0, 2**96 - 1),
)
lists = st.lists(leaves, min_size=1, max_size=20, unique_by=lambda leaf: leaf.item_index)


def test_no_leaves_are_refused() -> None:
    """A tree of nothing has no root."""
    with pytest.raises(ValueError, match="leaves: expected at least one"):
        InteractionsTree([])


def test_an_index_twice_is_refused() -> None:
    """Two leaves of one item would leave one of them without a proof."""
    leaf = Leaf(0, bytes(32), "0x" + "11" * 20, 1)
    with pytest.raises(ValueError, match="item index 0 twice"):
        InteractionsTree([leaf, replace(leaf, item_amount=2)])


@pytest.mark.parametrize(
    "change",
    [
        {"item_index": 2**32},
        {"item_index": -1},
        {"item_amount": 2**96},
        {"item_amount": -1},
        {"account": "0x12"},
    ],
)
def test_values_outside_their_types_are_refused(change) -> None:
    """The ABI encoder refuses what Solidity's types cannot hold."""
    leaf = replace(Leaf(0, bytes(32), "0x" + "11" * 20, 1), **change)
    with pytest.raises(EncodingError):
        InteractionsTree([leaf])


def test_an_unknown_index_has_no_proof() -> None:
    """A proof is asked for by item index."""
    with pytest.raises(KeyError):
        InteractionsTree([Leaf(3, bytes(32), "0x" + "11" * 20, 1)]).proof(0)


@settings(deadline=None)
@given(lists, st.data())
def test_a_changed_leaf_or_proof_is_refused(rows: list[Leaf], data) -> None:
    """Membership holds for the leaf itself only, and for its own proof."""
    tree = InteractionsTree(rows)
    leaf = data.draw(st.sampled_from(rows))
    proof = tree.proof(leaf.item_index)
    assert not verify(tree.root, replace(leaf, item_amount=leaf.item_amount ^ 1), proof)
    assert not verify(tree.root, replace(leaf, item_index=leaf.item_index ^ 1), proof)
    assert not verify(tree.root, leaf, [*proof, bytes(32)])
    if proof:
        assert not verify(tree.root, leaf, proof[:-1])


@settings(deadline=None)
@given(lists)
def test_every_leaf_has_a_proof_and_order_does_not_matter(rows: list[Leaf]) -> None:
    """Leaves are sorted by hash: the root is that of the set."""
    tree = InteractionsTree(rows)
    assert all(verify(tree.root, leaf, tree.proof(leaf.item_index)) for leaf in rows)
    assert InteractionsTree(rows[::-1]).root == tree.root


@pytest.mark.parametrize(
    "case", load("merkle.json"), ids=lambda case: f"{len(case['leaves'])} leaves"
)
def test_vectors(case) -> None:
    """The shared trees: leaf hashes, root, proofs."""
    rows = [
        Leaf(v[0], bytes.fromhex(v[1][2:]), v[2], int(v[3]))
        for v in (leaf["value"] for leaf in case["leaves"])
    ]
    tree = InteractionsTree(rows)
    assert "0x" + tree.root.hex() == case["root"]
    for leaf, row in zip(case["leaves"], rows, strict=True):
        assert "0x" + row.hash.hex() == leaf["hash"]
        assert ["0x" + node.hex() for node in tree.proof(row.item_index)] == leaf["proof"]
