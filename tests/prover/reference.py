"""Second implementations, as plain as the papers have them, that share no code with prover/ but the
constants (which published vectors pin)."""

from collections.abc import Sequence

from prover.poseidon2 import EXTERNAL_MATRIX, INTERNAL_DIAGONAL, ROUND_CONSTANTS

P = 21888242871839275222246405745257275088548364400416034343698204186575808495617
INTERNAL_MATRIX = [
    [1 + (INTERNAL_DIAGONAL[i] if i == j else 0) for j in range(4)] for i in range(4)
]


def _times(matrix: Sequence[Sequence[int]], state: Sequence[int]) -> list[int]:
    return [sum(m * x for m, x in zip(row, state, strict=True)) % P for row in matrix]


def permute(state: Sequence[int]) -> list[int]:
    """Poseidon2 by eprint 2023/323, section 6: matrices multiplied out, one round after the
    other."""
    constants = list(ROUND_CONSTANTS)
    state = _times(EXTERNAL_MATRIX, state)
    for kind, rounds in (("full", 4), ("partial", 56), ("full", 4)):
        for _ in range(rounds):
            lanes = 4 if kind == "full" else 1
            added = [x + constants.pop(0) if i < lanes else x for i, x in enumerate(state)]
            raised = [x**5 % P if i < lanes else x for i, x in enumerate(added)]
            state = _times(EXTERNAL_MATRIX if kind == "full" else INTERNAL_MATRIX, raised)
    assert not constants
    return state


def h4(state: Sequence[int]) -> int:
    return (permute(state)[0] + state[0]) % P


def root(elements: Sequence[int], levels: int) -> int:
    """Fold 4^levels elements, the missing ones 0, from nothing."""
    nodes = [*elements, *[0] * (4**levels - len(elements))]
    while len(nodes) > 1:
        nodes = [h4(nodes[i : i + 4]) for i in range(0, len(nodes), 4)]
    return nodes[0]


def path_root(levels: int, slot: int, pair: tuple[int, int], siblings: Sequence[int]) -> int:
    """Walk a claim's path as PROTOCOL section 7 words it: the other pair, then three nodes a level,
    left to right without the own one."""
    if len(siblings) != 2 + 3 * (levels - 1):
        raise ValueError("number of siblings")
    other = list(siblings[:2])
    node = h4([*other, *pair] if slot % 2 else [*pair, *other])
    index = slot // 2
    for level in range(levels - 1):
        three = list(siblings[2 + 3 * level : 5 + 3 * level])
        node = h4([*three[: index % 4], node, *three[index % 4 :]])
        index //= 4
    return node


def fingerprint(
    existing: Sequence[tuple[int, int]],
    openings: Sequence[tuple[int, int]],
    opened: int,
    slots: int,
    r: int,
) -> int:
    """The sums of PROTOCOL section 4, term by term."""
    value = sum(delta * pow(r, slot, P) for slot, delta in existing)
    for i, (address, delta) in enumerate(openings):
        value += delta * pow(r, opened + i, P) + address * pow(r, slots + opened + i, P)
    return value % P


def broken_rules(data: bytes, opened: int, slots: int) -> set[str]:
    """Every rule of the deltas format that `data` breaks; records are only looked at if the length
    is right."""
    count = int.from_bytes(data[:2], "big")
    tail = len(data) - 2 - 14 * count
    if len(data) < 3 or tail < 0 or tail % 32:
        return {"DeltasLength"}
    records = [data[2 + 14 * i : 16 + 14 * i] for i in range(count)]
    openings = [data[i : i + 32] for i in range(2 + 14 * count, len(data), 32)]
    numbers = [int.from_bytes(record[:2], "big") for record in records]
    broken = set()
    if numbers != sorted(set(numbers)):
        broken.add("SlotsNotAscending")
    if any(number >= opened for number in numbers):
        broken.add("SlotNotOpen")
    if bytes(12) in {record[2:] for record in records} | {opening[20:] for opening in openings}:
        broken.add("ZeroDelta")
    if bytes(20) in {opening[:20] for opening in openings}:
        broken.add("ZeroAddress")
    if opened + len(openings) > slots:
        broken.add("BucketFull")
    return broken
