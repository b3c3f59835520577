"""One mutation for each statement of the circuit that makes constraints, and forged inputs that
violate this statement and no other.

A `===` is left out. A `<==` becomes a `<--` that is off by one in one place; FAULT in its
replacement stands for the honest value of the signal named in `at`, so that a template used a
hundred times misbehaves once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from prover.circuit import Instance
from prover.field import P, inverse
from prover.statement import BatchStatement, Pair, challenged, plan_batch

Inputs = dict[str, list[int]]

INSTANCE = Instance("small", 2, 2, 7)
"""The smallest instance with every kind of constraint: inner nodes, several full hashes, an items
tree with elements beyond 2M."""

R = 0x1D0C_0FFE_E000_1234_5678_9ABC_DEF0_1122_3344_5566_7788_99AA_BBCC_DDEE_FF00_1337 % P
ALICE, BOB, CAROL, DAVE, ERIN, FRANK, MALLORY = (
    0x1111111111111111111111111111111111111111 * k for k in range(1, 8)
)
OLD: list[Pair] = [(ALICE, 10**18), (BOB, 7), (CAROL, 2**100), (DAVE, 1)]
ITEMS: list[Pair] = [(ALICE, 500), (ERIN, 10**20), (CAROL, 2**95), (ALICE, 25), (FRANK, 3)]
HONEST = plan_batch(INSTANCE, OLD, ITEMS)
"""Six of eight slots in use, two of them opened by this batch, BOB and DAVE untouched; five of
seven items in use."""


@dataclass(frozen=True)
class Mutation:
    """`statement` of `file` becomes `replacement`; each of `attacks` makes inputs that only this
    statement refuses."""

    group: str
    file: str
    statement: str
    attacks: tuple[Callable[[], Inputs], ...]
    replacement: str = ""
    at: str = ""

    @property
    def settles(self) -> bool:
        """Whether the roots and the fingerprint are to follow what the altered program computes."""
        return bool(self.replacement)


def honest() -> Inputs:
    return challenged(HONEST, R).circuit_inputs()


def forged(statement: BatchStatement) -> Callable[[], Inputs]:
    """The inputs of a statement that does not hold, every derived signal consistent with its
    vectors."""
    return lambda: challenged(statement, R).circuit_inputs()


def changed(
    statement: BatchStatement = HONEST, **signals: Callable[[int], int]
) -> Callable[[], Inputs]:
    """Consistent inputs with the first element of some signals changed."""

    def attack() -> Inputs:
        inputs = challenged(statement, R).circuit_inputs()
        return inputs | {
            name: [change(inputs[name][0]) % P, *inputs[name][1:]]
            for name, change in signals.items()
        }

    return attack


def with_pairs(pairs: tuple[Pair, ...], *changes: tuple[int, Pair]) -> tuple[Pair, ...]:
    """`pairs` with some of them replaced or, beyond the end, appended after zeros."""
    padded = [*pairs, *[(0, 0)] * (max((i for i, _ in changes), default=0) + 1 - len(pairs))]
    for index, pair in changes:
        padded[index] = pair
    return tuple(padded)


def _with_new(*changes: tuple[int, Pair]) -> BatchStatement:
    return replace(HONEST, new=with_pairs(HONEST.new, *changes))


def _with_items(*changes: tuple[int, Pair]) -> BatchStatement:
    return replace(HONEST, items=with_pairs(HONEST.items, *changes))


def _inflated(slot: int, quotient: str, index: int) -> Callable[[], Inputs]:
    """`slot` gains 1000 that nobody attested, and one quotient is bent until the two sums agree."""

    def attack() -> Inputs:
        address, cumulative = HONEST.new[slot]
        inputs = challenged(_with_new((slot, (address, cumulative + 1000))), R).circuit_inputs()
        surplus = 1000 * inverse(R - address)
        inputs[quotient][index] = (
            inputs[quotient][index] + (surplus if quotient == "itemQuotient" else -surplus)
        ) % P
        return inputs

    return attack


def _moved(giver: int, taker: int, amount: int) -> BatchStatement:
    return _with_new(
        *(
            (s, (HONEST.new[s][0], HONEST.new[s][1] + sign * amount))
            for s, sign in ((giver, -1), (taker, 1))
        )
    )


def _fingerprint_of(old: list[Pair], new: tuple[Pair, ...]) -> Callable[[], Inputs]:
    """The honest vectors, with a fingerprint of other deltas."""
    other = BatchStatement(INSTANCE, tuple(old), new, HONEST.items)
    return lambda: honest() | {"fingerprint": [other.fingerprint(R)]}


_HASH = "main.newTree.hash[1]"


def _definition(
    group: str, file: str, left: str, right: str, at: str = "", fault: str | None = None
) -> Mutation:
    wrong = fault if fault is not None else f" + ({right} == FAULT ? 1 : 0)"
    return Mutation(
        group,
        file,
        f"{left} <== {right};",
        (honest,),
        f"{left.removeprefix('signal ')} <-- {right}{wrong};",
        at,
    )


_SBOX, _TREE, _BATCH = "lib/poseidon2.circom", "lib/tree.circom", "batch.circom"

MUTATIONS = [
    # 1. The hash itself: one wrong intermediate value in one hash of the new tree.
    replace(
        _definition("1 hash", _SBOX, "signal square", "x * x", f"{_HASH}.partial[3].x"),
        replacement="signal square <-- x * x + (x == FAULT ? 1 : 0);",
    ),
    replace(
        _definition(
            "1 hash", _SBOX, "signal fourth", "square * square", f"{_HASH}.partial[55].square"
        ),
        replacement="signal fourth <-- square * square + (square == FAULT ? 1 : 0);",
    ),
    _definition("1 hash", _SBOX, "y", "fourth * x", f"{_HASH}.full[7].sbox[0].y"),
    _definition(
        "1 hash", _SBOX, "sbox[i].x", "in[i] + c[offset + i]", f"{_HASH}.full[2].sbox[1].x"
    ),
    _definition("1 hash", _SBOX, "out[i]", "sbox[i].y", f"{_HASH}.full[7].out[3]"),
    _definition("1 hash", _SBOX, "full[round].in[i]", "s[i]", f"{_HASH}.full[4].in[2]"),
    _definition(
        "1 hash", _SBOX, "partial[round].x", "s[0] + c[16 + round]", f"{_HASH}.partial[0].x"
    ),
    _definition("1 hash", _SBOX, "out", "s[0] + in[0]", f"{_HASH}.out"),
    # 1. How a tree is folded.
    _definition("1 tree", _TREE, "hash[next].in[k]", "node[4 * i + k]", f"{_HASH}.in[0]"),
    _definition("1 tree", _TREE, "hash[next].in[k]", "zero[level]", fault=" + (k == 3 ? 1 : 0)"),
    _definition("1 tree", _TREE, "out", "node[0]", "main.itemsTree.out"),
    # 1. Which vectors the trees are over, and that they have the public roots.
    _definition(
        "1 vectors", _BATCH, "oldTree.in[2 * s]", "oldAddress[s]", fault=" + (s == 3 ? 1 : 0)"
    ),
    _definition(
        "1 vectors",
        _BATCH,
        "oldTree.in[2 * s + 1]",
        "oldCumulative[s]",
        fault=" + (s == 7 ? 1 : 0)",
    ),
    _definition(
        "1 vectors", _BATCH, "newTree.in[2 * s]", "newAddress[s]", fault=" + (s == 5 ? 1 : 0)"
    ),
    _definition(
        "1 vectors",
        _BATCH,
        "newTree.in[2 * s + 1]",
        "newCumulative[s]",
        fault=" + (s == 0 ? 1 : 0)",
    ),
    _definition(
        "1 vectors", _BATCH, "itemsTree.in[2 * j]", "itemAddress[j]", fault=" + (j == 6 ? 1 : 0)"
    ),
    _definition(
        "1 vectors", _BATCH, "itemsTree.in[2 * j + 1]", "itemAmount[j]", fault=" + (j == 0 ? 1 : 0)"
    ),
    Mutation(
        "1 oldRoot",
        _BATCH,
        "oldTree.out === oldRoot;",
        (changed(oldRoot=lambda v: v + 1), changed(oldRoot=lambda _: 0)),
    ),
    Mutation(
        "1 newRoot",
        _BATCH,
        "newTree.out === newRoot;",
        (
            changed(newRoot=lambda v: v + 1),
            changed(newRoot=lambda _: replace(HONEST, new=HONEST.old).new_root),
        ),
    ),
    Mutation(
        "1 itemsRoot",
        _BATCH,
        "itemsTree.out === itemsRoot;",
        (
            changed(itemsRoot=lambda v: v + 1),
            changed(itemsRoot=lambda _: _with_items((0, (MALLORY, 500))).items_root),
            # An item beyond M, or half of one, stands in no circuit: only the root could smuggle it
            # in.
            changed(
                itemsRoot=lambda _: (
                    replace(
                        HONEST, items=with_pairs(HONEST.items, (INSTANCE.items, (MALLORY, 1)))
                    ).items_root
                )
            ),
            changed(
                itemsRoot=lambda _: (
                    replace(
                        HONEST, items=with_pairs(HONEST.items, (INSTANCE.items, (0, 1)))
                    ).items_root
                )
            ),
        ),
    ),
    Mutation(
        "2 address",
        _BATCH,
        "oldAddress[s] * (newAddress[s] - oldAddress[s]) === 0;",
        (
            forged(_with_new((1, (MALLORY, 7)))),
            forged(_with_new((3, (0, 1)))),
            forged(_with_new((1, (DAVE, 7)), (3, (BOB, 1)))),
        ),
    ),
    Mutation(
        "3 empty slot",
        _BATCH,
        "newAddress[s] * emptySlotWitness[s] === d[s];",
        (
            forged(replace(_with_new((7, (0, 40))), items=with_pairs(HONEST.items, (5, (0, 40))))),
            forged(_with_new((6, (0, 1000)), (7, (0, P - 1000)))),
            changed(emptySlotWitness=lambda w: w + 1),
        ),
    ),
    # 4. The deltas.
    _definition(
        "4 Horner's rule",
        _BATCH,
        "horner[2 * N - 1]",
        "newAddress[N - 1] - oldAddress[N - 1]",
        fault=" + 1",
    ),
    _definition(
        "4 Horner's rule",
        _BATCH,
        "horner[i]",
        "horner[i + 1] * r + newAddress[i - N] - oldAddress[i - N]",
        fault=" + (i == N + 5 ? 1 : 0)",
    ),
    _definition(
        "4 Horner's rule",
        _BATCH,
        "horner[i]",
        "horner[i + 1] * r + d[i]",
        fault=" + (i == 0 ? 1 : 0)",
    ),
    Mutation(
        "4 fingerprint",
        _BATCH,
        "horner[0] === fingerprint;",
        (
            changed(fingerprint=lambda v: v + 1),
            changed(fingerprint=lambda _: 0),
            _fingerprint_of(OLD, with_pairs(HONEST.new, (0, (ALICE, HONEST.new[0][1] + 1)))),
            _fingerprint_of(OLD, with_pairs(HONEST.new, (4, (MALLORY, HONEST.new[4][1])))),
            _fingerprint_of(OLD, (*HONEST.new[:4], HONEST.new[5], HONEST.new[4])),
        ),
    ),
    # 5. Where every reward goes.
    Mutation(
        "5 item quotient",
        _BATCH,
        "itemQuotient[j] * (r - itemAddress[j]) === itemAmount[j];",
        (
            _inflated(0, "itemQuotient", 0),
            _inflated(4, "itemQuotient", 1),
            _inflated(0, "itemQuotient", INSTANCE.items - 1),
        ),
    ),
    Mutation(
        "5 slot quotient",
        _BATCH,
        "slotQuotient[s] * (r - newAddress[s]) === d[s];",
        (
            _inflated(0, "slotQuotient", 0),
            _inflated(5, "slotQuotient", 5),
            _inflated(0, "slotQuotient", INSTANCE.slots - 1),
        ),
    ),
    Mutation(
        "5 sum",
        _BATCH,
        "attested === booked;",
        (
            forged(_with_items((1, (0, 0)))),  # item left out of the items, its reward booked
            forged(_with_items((5, (BOB, 9)))),  # item attested, not booked
            forged(_with_items((5, ITEMS[0]))),  # item twice, booked once
            forged(_with_items((0, (ALICE, 501)))),  # wrong amount
            forged(_with_items((0, (BOB, 500)))),  # wrong address
            forged(_with_items((6, (0, 9)))),  # an unused item with an amount
            forged(_with_new((1, (BOB, 8)))),  # a slot gains one from nothing
            forged(_with_new((0, (ALICE, HONEST.new[0][1] - 1)))),  # a slot loses one
            forged(_moved(2, 0, 1000)),
            forged(_moved(4, 5, 10**20)),
        ),
    ),
]
