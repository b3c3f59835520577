"""postBatches, with the real verifier, real proofs and honest signatures: which batches land, which
are skipped, and what refuses the whole call. tests/contracts_fuzz plays it at random."""

from dataclasses import replace
from typing import Any

import pytest
from eth_utils import keccak

from prover.field import P
from tests.contracts.conftest import ACCOUNTS, FUNDING
from tests.contracts.program import Posting, Program
from tests.contracts.refusal import refused

REASONS = ("WrongSequence", "Expired", "WrongHash", "TooFewAttestations", "DailyLimit", "Reserve")


@pytest.fixture
def three(program: Program) -> list[Posting]:
    """The next batch of bucket 0, the one after it, and the first of bucket 1."""
    first = program.posting(program.plan([(ACCOUNTS[0], 70)]))
    book(program, first)
    second = program.posting(program.plan([(ACCOUNTS[4], 30)]))
    book(program, second)
    third = program.posting(program.plan([(ACCOUNTS[9], 5)], 1), bucket=1)
    return [first, second, third]


def book(program: Program, posting: Posting) -> None:
    program.bucket(posting.batch[0]).apply(posting.batch[1], posting.deltas)


def post(program: Program, postings: list[Posting]) -> tuple[list[tuple[int, int]], list[str]]:
    """((bucket, sequence) of what landed, reasons of what was skipped)."""
    entries = [posting.as_one_of_many for posting in postings]
    receipt = program.distributor.postBatches(entries, sender=program.sender)
    landed = receipt.decode_logs(program.distributor.BatchPosted)
    skipped = receipt.decode_logs(program.distributor.BatchSkipped)
    return (
        [(event.bucket, event.sequence) for event in landed],
        [REASONS[event.reason] for event in skipped],
    )


def error(program: Program, name: str, postings: list[Posting]) -> tuple[Any, ...]:
    entries = [posting.as_one_of_many for posting in postings]
    return refused(name, program.distributor.postBatches, entries)


def test_no_batch_and_too_many_are_refused(program: Program, three: list[Posting]) -> None:
    """1 to 64 batches a call."""
    assert error(program, "TooManyBatches", []) == (0,)
    assert error(program, "TooManyBatches", [three[2]] * 65) == (65,)


def test_a_set_lands(program: Program, three: list[Posting]) -> None:
    """Batches of different buckets and successive ones of a bucket, with one check of all proofs;
    roots and totals are those of single posts."""
    committed = program.distributor.committed()
    assert post(program, three) == ([(0, 3), (0, 4), (1, 1)], [])
    assert program.distributor.committed() == committed + 105
    for posting in three:
        bucket, sequence, new_root = posting.batch[:3]
        assert program.distributor.root(bucket, sequence) == new_root


def test_a_false_proof_refuses_the_set(program: Program, three: list[Posting]) -> None:
    """One proof of three that proves something else: nothing lands."""
    first, second, third = three
    swapped = [replace(first, proof=second.proof), replace(second, proof=first.proof), third]
    assert error(program, "InvalidProof", swapped) == ()
    assert error(program, "InvalidProof", [*three[:2], replace(third, proof=[0] * 8)]) == ()


def test_what_was_never_valid_refuses_the_set(program: Program, three: list[Posting]) -> None:
    """Attested, but with a root that is none or deltas that break the format."""
    statement = program.plan([(ACCOUNTS[9], 5)], 1)
    for name, bad in (
        ("ZeroRoot", {"new_root": 0}),
        ("NotAFieldElement", {"items_root": P}),
        ("DeltasLength", {"deltas": b"\0"}),
    ):
        posting = program.posting(statement, bucket=1, prove=False, **bad)
        error(program, name, [*three[:2], posting])


def test_one_that_a_stranger_posted_is_skipped(program: Program, three: list[Posting]) -> None:
    """The others land, the one that follows it included."""
    program.distributor.postBatch(*three[0].args, sender=program.sender)
    assert post(program, three) == ([(0, 4), (1, 1)], ["WrongSequence"])
    assert error(program, "NothingPosted", three) == ()


def test_one_that_has_expired_is_skipped(
    program: Program, three: list[Posting], chain: Any
) -> None:
    """And with it the one that follows it."""
    until = chain.pending_timestamp + 1_000
    program.buckets = program.copy_state() | {1: program.bucket(1)}
    statement = program.plan([(ACCOUNTS[9], 5)], 1)
    old = program.posting(statement, bucket=1, valid_until=until)
    chain.mine(timestamp=until + 1)
    assert post(program, [old, *three[:2]]) == ([(0, 3), (0, 4)], ["Expired"])


def test_one_with_another_hash_is_skipped(program: Program, three: list[Posting]) -> None:
    """What the caller means and what the contract would check are not the same batch."""
    first, second, third = three
    other = replace(third, struct_hash=keccak(third.struct_hash))
    assert post(program, [first, second, other]) == ([(0, 3), (0, 4)], ["WrongHash"])


def test_attestations_that_do_not_hold_are_passed_over(
    program: Program, three: list[Posting]
) -> None:
    """m that hold are enough, whatever stands beside them; fewer are not, even if one is given
    twice."""
    first, second, third = three
    (one, signature), (two, other) = third.attestations
    stranger = ("0x" + "00" * 19 + "01", signature)
    several = [stranger, (one, other), (one, signature), (two, other)]
    twice = replace(third, attestations=[(one, signature), (one, signature)])
    assert post(program, [first, second, twice]) == ([(0, 3), (0, 4)], ["TooFewAttestations"])
    assert post(program, [replace(third, attestations=several)]) == ([(1, 1)], [])


def test_one_beyond_the_limit_is_skipped(
    program: Program, three: list[Posting], owner: Any
) -> None:
    """Judged in order: a small one after a large one still lands."""
    program.distributor.lowerDailyLimit(76, sender=owner)
    assert post(program, [three[0], three[1], three[2]]) == ([(0, 3), (1, 1)], ["DailyLimit"])
    assert program.distributor.dailyLimit()[1] == 1


def test_one_beyond_the_reserve_is_skipped(program: Program, three: list[Posting]) -> None:
    """The sum of all that landed never exceeds the reserve."""
    assert FUNDING < 2**96 - 1
    statement = program.plan([(ACCOUNTS[9], 2**96 - 1)], 1)
    large = program.posting(statement, bucket=1)
    assert post(program, [*three[:2], large]) == ([(0, 3), (0, 4)], ["Reserve"])


def test_posting_is_paused_for_sets_too(
    program: Program, three: list[Posting], guardian: Any
) -> None:
    """The guardian's pause stops both ways."""
    program.distributor.pausePosting(1_000, sender=guardian)
    assert error(program, "PostingPaused", three)
