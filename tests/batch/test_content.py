"""A batch's content as a pure function."""

import pytest

from backend.batch.content import Item, assemble, leaf
from prover.circuit import load_instance
from prover.eip712 import Domain
from prover.merkle import verify
from prover.state import StateError
from prover.statement import plan_batch
from prover.tree import Tree
from prover.wire import UINT96_MAX
from tests.support.engine import address

DEV, DOMAIN = load_instance("dev"), Domain(31337, address("distributor"))


def item(event: object, account: object, amount: int) -> Item:
    return Item("adnet", str(event), address(account), amount, 1_700_000_000, b"\x07" * 32)


def test_equals_the_provers_statement() -> None:
    """Roots and deltas are those of the statement that is proven, from the same state and items."""
    old = [(int(address(i), 16), 10 * i + 1) for i in range(7)]
    items = [item(j, j % 10, 3 + j) for j in range(25)]
    content = assemble(DEV, DOMAIN, old, items)
    planned = plan_batch(DEV, old, [(int(one.account, 16), one.amount) for one in items])
    assert (content.old_root, content.new_root, content.items_root) == (
        planned.old_root,
        planned.new_root,
        planned.items_root,
    )
    assert (content.deltas, content.new) == (planned.deltas, list(planned.new))
    assert content.deltas.total == sum(one.amount for one in items)


def test_roots_are_those_of_whole_trees() -> None:
    """The root that only touched paths give is that of the tree hashed from nothing."""
    old = [(int(address(i), 16), i + 1) for i in range(20)]
    content = assemble(DEV, DOMAIN, old, [item(0, 3, 5), item(1, "new", 6)])
    assert content.old_root == Tree(DEV.levels, [element for pair in old for element in pair]).root
    assert (
        content.new_root
        == Tree(DEV.levels, [element for pair in content.new for element in pair]).root
    )


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "items"),
        ([item(j, 0, 1) for j in range(33)], "items"),
        ([item(0, 0, UINT96_MAX), item(1, 0, 1)], "96 bits"),
        ([item(j, f"new {j}", 1) for j in range(13)], "in use"),
        ([item(0, 0, 0)], "amount"),
        ([item(0, 0, 2**96)], "amount"),
    ],
)
def test_what_does_not_fit(items: list[Item], message: str) -> None:
    """What no batch can hold is refused here too, though closing never asks for it."""
    with pytest.raises(StateError, match=message):
        assemble(DEV, DOMAIN, [(int(address(i), 16), 1) for i in range(20)], items)


def test_interactions_root_depends_on_everything() -> None:
    """Any field of any item, and the program, changes the interactions root; order of items does as
    well."""
    base = [item(j, j, 1 + j) for j in range(3)]
    fields = {
        "partner": "other",
        "event_id": "x",
        "account": address("x"),
        "amount": 9,
        "occurred_at": 1,
        "evidence": b"\x08" * 32,
    }
    roots = {assemble(DEV, DOMAIN, [], base).interactions_root}
    roots |= {
        assemble(
            DEV, DOMAIN, [], [Item(**vars(base[0]) | {name: value}), *base[1:]]
        ).interactions_root
        for name, value in fields.items()
    }
    roots.add(assemble(DEV, Domain(31337, address("another")), [], base).interactions_root)
    roots.add(assemble(DEV, DOMAIN, [], base[::-1]).interactions_root)
    assert len(roots) == 3 + len(fields)
    assert not verify(next(iter(roots)), leaf(DOMAIN, 5, base[0]), [])
