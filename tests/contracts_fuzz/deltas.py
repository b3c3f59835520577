"""Byte strings that are almost well-formed `deltas`, read by the contract, by the prover's parser
and by the model's."""

import random
from collections import Counter
from dataclasses import dataclass

from prover.field import P
from prover.wire import Deltas, DeltasError
from tests.contracts_fuzz.model import read_deltas
from tests.contracts_fuzz.node import Interface, Node
from tests.contracts_fuzz.powers import Refused

HARNESS = Interface("DeltasHarness")
RECORD_RULES = {"SlotNotOpen", "SlotsNotAscending", "ZeroDelta", "ZeroAddress", "BucketFull"}
UINT96_MAX = 2**96 - 1


@dataclass(frozen=True)
class Case:
    data: bytes
    opened: int
    slots: int
    r: int


def _delta(rng: random.Random) -> int:
    return rng.choice(
        (1, 2, UINT96_MAX, UINT96_MAX - 1, 2**64, rng.randrange(1, 2**96), rng.randrange(1, 2**32))
    )


def _slots_touched(rng: random.Random, opened: int) -> list[int]:
    """None, all, runs of neighbours with gaps, or a few: the contract reads neighbours two at a
    time."""
    kind = rng.random()
    if kind < 0.25:
        return list(range(opened))
    if kind < 0.5:
        return [slot for slot in range(opened) if rng.random() < 0.9]
    return sorted(rng.sample(range(opened), rng.randint(0, min(opened, 5))))


def _well_formed(rng: random.Random) -> tuple[bytes, int, int]:
    slots = rng.choice((2, 8, 32, 32, 32, 512))
    opened = min(slots, rng.choice((0, 1, 2, 3, slots - 1, slots, rng.randint(0, slots))))
    touched = _slots_touched(rng, opened)
    opens = rng.choice((0, 0, 1, 2, rng.randint(0, min(6, slots - opened))))
    if not touched:
        opens = max(opens, 1)
    openings = tuple(
        (rng.choice((1, 2**160 - 1, rng.randrange(1, 2**160))), _delta(rng)) for _ in range(opens)
    )
    return Deltas(tuple((slot, _delta(rng)) for slot in touched), openings).encode(), opened, slots


def _mutated(rng: random.Random, data: bytes, opened: int, slots: int) -> bytes:
    """One small lie."""
    count = int.from_bytes(data[:2], "big")
    end = min(len(data), 2 + 14 * count)
    head, records, tail = data[:2], [data[i : i + 14] for i in range(2, end, 14)], data[end:]
    openings = [tail[i : i + 32] for i in range(0, len(tail), 32)]
    kind = rng.randrange(12)
    if kind == 0 or len(data) < 3:
        return data[: rng.randrange(len(data) + 1)]
    if kind == 1:
        return data + rng.randbytes(rng.choice((1, 13, 14, 31, 32)))
    if kind == 2:  # the count off by a little, or huge
        return (
            rng.choice((count + 1, max(0, count - 1), 0xFFFF, count ^ 0x100, 0)) & 0xFFFF
        ).to_bytes(2, "big") + data[2:]
    if kind == 3:
        place = rng.randrange(len(data))
        return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
    if kind <= 5 and openings:
        place = rng.randrange(len(openings))
        account, delta = openings[place][:20], openings[place][20:]
        openings[place] = rng.choice((bytes(20) + delta, account + bytes(12), bytes(32)))
    elif kind == 6 and 0 < len(openings) < 8:
        openings = openings * rng.choice((2, min(slots, 32) + 1))
    elif records:
        place = rng.randrange(len(records))
        slot, delta = records[place][:2], records[place][2:]
        other = (
            rng.choice(
                (opened, opened + 1, 0xFFFF, 0xFFFE, slots, 0, int.from_bytes(slot, "big") ^ 1)
            )
            & 0xFFFF
        )
        changes = [[slot + bytes(12)], [other.to_bytes(2, "big") + delta], [records[place]] * 2, []]
        if kind == 7 and len(records) > 1:
            records.reverse()
        elif kind == 8 and len(records) > 1:
            place = rng.randrange(len(records) - 1)
            records[place : place + 2] = [records[place + 1], records[place]]
        else:
            records[place : place + 1] = rng.choice(changes)
        head = len(records).to_bytes(2, "big")
    return head + b"".join(records) + b"".join(openings)


def case(rng: random.Random) -> Case:
    """A random case: one in four is well formed."""
    data, opened, slots = _well_formed(rng)
    for _ in range(rng.choice((0, 1, 1, 2))):
        data = _mutated(rng, data, opened, slots) if data else data
    return Case(data, opened, slots, rng.choice((0, 1, P - 1, rng.randrange(P), rng.randrange(P))))


def compare(node: Node, harness: str, cases: list[Case]) -> Counter:
    """Ask the contract for all cases in one request. Counts of "taken" and of each error. Raises
    AssertionError with the case."""
    calls = [
        (None, harness, HARNESS.encode("read", (case.data, case.opened, case.slots, case.r)))
        for case in cases
    ]
    found: Counter = Counter()
    for case, (taken, answer) in zip(cases, node.outcomes(calls), strict=True):
        try:
            found[_compare_one(case, taken, answer)] += 1
        except AssertionError as error:
            raise AssertionError(
                f"{error}\nCase({case.data.hex()!r}, {case.opened}, {case.slots}, {case.r})"
            ) from error
    return found


def _by_prover(case: Case) -> Deltas | DeltasError:
    try:
        return Deltas.decode(case.data, case.opened, case.slots)
    except DeltasError as error:
        return error


def _by_model(case: Case) -> tuple | Refused:
    try:
        return read_deltas(case.data, case.opened, case.slots)
    except Refused as refused:
        return refused


def _compare_one(case: Case, taken: bool, answer: bytes) -> str:
    prover, model = _by_prover(case), _by_model(case)
    if isinstance(prover, Deltas):
        assert taken, f"the contract refuses by {HARNESS.error(answer)} what the prover takes"
        expected = (
            len(prover.opened),
            prover.total,
            prover.fingerprint(case.r, case.opened, case.slots),
        )
        assert HARNESS.decode("read", answer) == expected
        assert model == (list(prover.existing), list(prover.opened))
        return "taken"
    assert not taken, f"the contract takes what the prover refuses by {prover}"
    name, *arguments = HARNESS.error(answer)
    # The prover reads forwards, the contract backwards: where several records are at fault each may
    # name another.
    assert name == prover.rule or {name, prover.rule} <= RECORD_RULES, (
        f"{name}, the prover says {prover}"
    )
    assert isinstance(model, Refused), f"the model takes what prover and contract refuse by {name}"
    assert (name, *arguments) == (model.name, *model.arguments), (
        f"{name}{arguments}, the model says {model}"
    )
    return name
