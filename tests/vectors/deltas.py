"""Vectors of `deltas`: well-formed ones, and every way to be malformed."""

import random
from typing import Any

from eth_utils import keccak

from prover.circuit import load_instance
from prover.field import P
from prover.statement import Pair
from prover.wire import UINT96_MAX, Deltas
from tests.vectors.values import data, element, random_address, shown

DEV = load_instance("dev")


def _valid_deltas() -> list[dict[str, Any]]:
    rng = random.Random("deltas")

    def amount() -> int:
        return rng.randrange(1, 2 ** rng.choice((1, 40, 96)))

    def touched(opened: int, count: int) -> tuple[Pair, ...]:
        return tuple((slot, amount()) for slot in sorted(rng.sample(range(opened), count)))

    def opening(count: int) -> tuple[Pair, ...]:
        return tuple((random_address(rng), amount()) for _ in range(count))

    top = UINT96_MAX
    cases = [
        ("one existing account", 1, 32, Deltas(((0, 1),), ())),
        ("one opened account", 0, 32, Deltas((), ((1, 1),))),
        ("the last slot opened", 31, 32, Deltas((), ((2**160 - 1, top),))),
        ("the last slot touched", 512, 512, Deltas(((511, top),), ())),
        ("both kinds", 20, 32, Deltas(touched(20, 5), opening(4))),
        ("same address opened as touched", 3, 32, Deltas(((0, 5),), ((7, 7),))),
        ("every slot opened", 0, 32, Deltas((), opening(32))),
        ("every slot touched", 32, 32, Deltas(tuple((s, top) for s in range(32)), ())),
        ("standard, mixed", 400, 512, Deltas(touched(400, 300), opening(112))),
        ("standard, every slot touched", 512, 512, Deltas(touched(512, 512), ())),
    ]
    rows = []
    for name, opened, slots, deltas in cases:
        challenges = [0, 1, P - 1, rng.randrange(P)]
        rows.append(
            {
                "name": name,
                "opened": opened,
                "slots": slots,
                "data": data(deltas.encode()),
                "hash": data(keccak(deltas.encode())),
                "existing": [[slot, str(delta)] for slot, delta in deltas.existing],
                "openings": shown(list(deltas.opened)),
                "total": str(deltas.total),
                "fingerprints": [
                    {"r": element(r), "fingerprint": element(deltas.fingerprint(r, opened, slots))}
                    for r in challenges
                ],
            }
        )
    return rows


def _malformed_deltas() -> list[dict[str, Any]]:
    def existing(*pairs: Pair, count: int | None = None) -> bytes:
        return (
            Deltas(pairs, ()).encode()
            if count is None
            else count.to_bytes(2, "big") + Deltas(pairs, ()).encode()[2:]
        )

    def opening(*pairs: Pair) -> bytes:
        return Deltas((), pairs).encode()[2:]

    none, one = existing(), existing((0, 5))
    cases = [
        ("empty", b"", 2, "DeltasLength"),
        ("half a count", b"\x00", 2, "DeltasLength"),
        ("no record", none, 2, "DeltasLength"),
        ("count without records", existing(count=1), 2, "DeltasLength"),
        ("count above the records", existing((0, 5), count=2), 2, "DeltasLength"),
        ("count far above the records", existing((0, 5), count=65535), 2, "DeltasLength"),
        ("record cut short", one[:-1], 2, "DeltasLength"),
        ("one byte more", one + b"\x00", 2, "DeltasLength"),
        ("opening cut short", none + opening((9, 5))[:-1], 2, "DeltasLength"),
        ("one byte after an opening", none + opening((9, 5)) + b"\x00", 2, "DeltasLength"),
        ("existing record where an opening belongs", one + existing((1, 5))[2:], 2, "DeltasLength"),
        ("same slot twice", existing((0, 5), (0, 5)), 2, "SlotsNotAscending"),
        ("slots descending", existing((1, 5), (0, 5)), 2, "SlotsNotAscending"),
        (
            "slots descending after ascending",
            existing((0, 1), (2, 1), (1, 1)),
            3,
            "SlotsNotAscending",
        ),
        ("slot not open", existing((2, 5)), 2, "SlotNotOpen"),
        ("slot opened by this very batch", existing((2, 5)) + opening((9, 5)), 2, "SlotNotOpen"),
        ("slot in an empty bucket", existing((0, 5)), 0, "SlotNotOpen"),
        ("slot 65535", existing((0, 5), (65535, 5)), 2, "SlotNotOpen"),
        ("existing delta zero", existing((0, 5), (1, 0)), 2, "ZeroDelta"),
        ("opening delta zero", none + opening((9, 0)), 2, "ZeroDelta"),
        ("second opening delta zero", one + opening((9, 1), (10, 0)), 2, "ZeroDelta"),
        ("address zero", none + opening((0, 5)), 2, "ZeroAddress"),
        ("second address zero", one + opening((9, 1), (0, 5)), 2, "ZeroAddress"),
        ("opened in a full bucket", none + opening((9, 5)), 32, "BucketFull"),
        ("one opened too many", one + opening((9, 5), (10, 5)), 31, "BucketFull"),
        (
            "a whole bucket and one",
            none + opening(*((9 + i, 5) for i in range(33))),
            0,
            "BucketFull",
        ),
    ]
    return [
        {"name": n, "opened": o, "slots": DEV.slots, "data": data(t), "rule": r}
        for n, t, o, r in cases
    ]


def deltas_vectors() -> dict[str, Any]:
    """Well-formed `deltas` with totals and fingerprints, and every way to be malformed with the
    rule that it breaks."""
    return {"valid": _valid_deltas(), "malformed": _malformed_deltas()}
