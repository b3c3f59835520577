"""prover/wire.py"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prover.field import P
from prover.wire import ADDRESS_MAX, UINT96_MAX, Deltas, DeltasError, Proof, challenge
from tests.prover import reference
from tests.prover.test_vectors import load, pairs

SLOTS = 32
amounts = st.one_of(st.just(1), st.just(UINT96_MAX), st.integers(1, UINT96_MAX))
addresses = st.one_of(st.just(1), st.just(ADDRESS_MAX), st.integers(1, ADDRESS_MAX))
words = st.lists(st.integers(0, 2**256 - 1), min_size=8, max_size=8)


@st.composite
def well_formed(draw) -> tuple[int, Deltas]:
    """(opened, deltas) with at least one record."""
    opened = draw(st.integers(0, SLOTS))
    slots = sorted(draw(st.sets(st.integers(0, opened - 1)))) if opened else []
    at_least = 0 if slots else 1
    if SLOTS - opened < at_least:
        slots, at_least = [0], 0
    openings = draw(
        st.lists(st.tuples(addresses, amounts), min_size=at_least, max_size=SLOTS - opened)
    )
    return opened, Deltas(tuple((slot, draw(amounts)) for slot in slots), tuple(openings))


@st.composite
def nearly_well_formed(draw) -> tuple[int, bytes]:
    """(opened, bytes): well-formed bytes with a few bytes changed, cut, doubled or put in, or a
    bucket that they do not fit."""
    opened, deltas = draw(well_formed())
    data = bytearray(deltas.encode())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        size = draw(st.sampled_from((1, 2, 12, 14, 20, 32)))
        match draw(st.sampled_from(("change", "zero", "cut", "double", "insert"))):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "zero":
                data[at : at + size] = bytes(len(data[at : at + size]))
            case "cut":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size]
            case _:
                data[at:at] = draw(st.binary(min_size=size, max_size=size))
    return draw(st.one_of(st.just(opened), st.integers(0, SLOTS))), bytes(data)


def refused_by(data: bytes, opened: int) -> str:
    with pytest.raises(DeltasError) as caught:
        Deltas.decode(data, opened, SLOTS)
    return caught.value.rule


@pytest.mark.parametrize("case", load("deltas.json")["malformed"], ids=lambda case: case["name"])
def test_malformed_vectors_are_refused_by_their_rule(case) -> None:
    """Each malformed vector is refused, and the error carries the name of the contract's error."""
    with pytest.raises(DeltasError, match=case["rule"]) as caught:
        Deltas.decode(bytes.fromhex(case["data"][2:]), case["opened"], case["slots"])
    assert caught.value.rule == case["rule"]


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(nearly_well_formed())
def test_bytes_are_accepted_only_if_they_break_no_rule(case: tuple[int, bytes]) -> None:
    """Accepted bytes break no rule and are the one encoding of what they say; the rule named for
    refused ones is one that they break."""
    opened, data = case
    broken = reference.broken_rules(data, opened, SLOTS)
    if broken:
        assert refused_by(data, opened) in broken
    else:
        assert Deltas.decode(data, opened, SLOTS).encode() == data


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(0, SLOTS))
def test_any_bytes_decode_or_name_a_rule(data: bytes, opened: int) -> None:
    """Nothing but DeltasError escapes."""
    broken = reference.broken_rules(data, opened, SLOTS)
    if broken:
        assert refused_by(data, opened) in broken
    else:
        assert Deltas.decode(data, opened, SLOTS).encode() == data


@settings(deadline=None)
@given(well_formed())
def test_round_trip(case: tuple[int, Deltas]) -> None:
    """decode(encode(x)) = x, 2 + 14 bytes an existing account + 32 an opening."""
    opened, deltas = case
    data = deltas.encode()
    assert len(data) == 2 + 14 * len(deltas.existing) + 32 * len(deltas.opened)
    assert Deltas.decode(data, opened, SLOTS) == deltas
    assert deltas.total == sum(delta for _, delta in deltas.existing + deltas.opened)


@settings(deadline=None)
@given(well_formed(), st.integers(0, P - 1))
def test_fingerprint_is_the_sum_of_the_protocol(case: tuple[int, Deltas], r: int) -> None:
    """The fingerprint by Horner's rule is the sum of PROTOCOL section 4, term by term."""
    opened, deltas = case
    expected = reference.fingerprint(deltas.existing, deltas.opened, opened, SLOTS, r)
    assert deltas.fingerprint(r, opened, SLOTS) == expected


@pytest.mark.parametrize("case", load("deltas.json")["valid"], ids=lambda case: case["name"])
def test_valid_vectors(case) -> None:
    """The shared well-formed vectors: parts, total, fingerprints, and back to the same bytes."""
    data = bytes.fromhex(case["data"][2:])
    deltas = Deltas.decode(data, case["opened"], case["slots"])
    assert deltas.existing == tuple((slot, int(delta)) for slot, delta in case["existing"])
    assert deltas.opened == tuple(pairs(case["openings"]))
    assert (deltas.encode(), deltas.total) == (data, int(case["total"]))
    for row in case["fingerprints"]:
        assert deltas.fingerprint(int(row["r"], 16), case["opened"], case["slots"]) == int(
            row["fingerprint"], 16
        )


@pytest.mark.parametrize(
    ("digest", "r"), [(0, 0), (P - 1, P - 1), (P, 0), (P + 5, 5), (2**256 - 1, (2**256 - 1) % P)]
)
def test_challenge_is_the_digest_mod_p(digest: int, r: int) -> None:
    """Big-endian, reduced."""
    assert challenge(digest.to_bytes(32, "big")) == r


@pytest.mark.parametrize("count", [0, 7, 9])
def test_proofs_of_another_length_are_refused(count: int) -> None:
    """Words and bytes, the message says how many are expected."""
    with pytest.raises(ValueError, match=f"proof: expected 8 words, got {count}"):
        Proof.from_words([1] * count)
    with pytest.raises(ValueError, match="proof: expected 256 bytes"):
        Proof.from_bytes(b"\x01" * (32 * count))


@given(words)
def test_proofs_round_trip_in_the_order_of_eip_197(numbers: list[int]) -> None:
    """Words and bytes are the same eight numbers, c1 before c0 in both coordinates of B."""
    proof = Proof.from_words(numbers)
    assert proof.b == ((numbers[3], numbers[2]), (numbers[5], numbers[4]))
    assert (proof.a, proof.c) == ((numbers[0], numbers[1]), (numbers[6], numbers[7]))
    assert proof.to_words() == numbers
    assert Proof.from_bytes(proof.to_bytes()) == proof
    assert proof.to_bytes() == b"".join(number.to_bytes(32, "big") for number in numbers)
