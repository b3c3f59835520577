"""Replay of the log, without a chain."""

from typing import Any

import pytest
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.audit.replay import Replay
from backend.audit.report import AuditReport
from backend.chain.events import (
    AttestorsChanged,
    BatchPosted,
    Claimed,
    Event,
    FamiliesChanged,
    Funded,
    Unreadable,
    Withdrawn,
)
from prover.circuit import load_instance
from prover.state import BucketState, ProgramState, family
from prover.wire import Deltas

DEV = load_instance("dev")
HOLDERS = [to_checksum_address((1000 + i).to_bytes(20, "big")) for i in range(40)]


def place(number: int) -> dict[str, Any]:
    return {
        "block_number": number,
        "block_hash": number.to_bytes(32, "big"),
        "tx_hash": number.to_bytes(32, "big"),
        "log_index": 0,
    }


def batch(
    number: int,
    sequence: int,
    deltas: Deltas | bytes,
    root: int,
    bucket: int = 0,
    total: int | None = None,
) -> BatchPosted:
    data = deltas if isinstance(deltas, bytes) else deltas.encode()
    amount = total if total is not None else deltas.total
    return BatchPosted(
        bucket=bucket,
        sequence=sequence,
        new_root=root,
        items_root=1,
        interactions_root=bytes(32),
        ledger_head=bytes(32),
        total=amount,
        deltas=data,
        **place(number),
    )


def replayed(*events: Event, families: int = 1, reserve: int | None = 10**6) -> Replay:
    replay = Replay(AuditReport(1, HOLDERS[0], 0, 10), ProgramState(DEV, families), reserve)
    replay.add_all(events)
    return replay


def codes(replay: Replay) -> list[tuple[str, int | None, int | None]]:
    return [(finding.code, finding.bucket, finding.sequence) for finding in replay.report.findings]


def opening(*amounts: int, start: int = 0) -> Deltas:
    return Deltas((), tuple((1000 + start + i, amount) for i, amount in enumerate(amounts)))


def root_of(*deltas: Deltas) -> int:
    state = BucketState(DEV)
    for sequence, one in enumerate(deltas, start=1):
        state.apply(sequence, one.encode())
    return state.root


FIRST = opening(5, 7)
SECOND = Deltas(((0, 3),), ())


def test_one_false_root_is_found_once() -> None:
    """A false root is named at its batch; the next batch, whose root the deltas give, is in order
    and starts from the posted root."""
    replay = replayed(batch(1, 1, FIRST, 99), batch(2, 2, SECOND, root_of(FIRST, SECOND)))
    assert codes(replay) == [("root_mismatch", 0, 1)]
    assert replay.steps[1].old_root == 99


def test_a_malformed_batch_does_not_hide_the_next() -> None:
    """Deltas that cannot be parsed change nothing, and the next sequence is no gap."""
    replay = replayed(batch(1, 1, b"\x00\x01", 99, total=5), batch(2, 2, FIRST, root_of(FIRST)))
    assert codes(replay) == [("deltas_malformed", 0, 1), ("root_mismatch", 0, 1)]
    assert replay.steps[0].deltas is None
    assert replay.committed == 5 + 12


def test_a_repeated_sequence_is_found() -> None:
    """The same sequence twice is no sequence without gaps."""
    replay = replayed(
        batch(1, 1, FIRST, root_of(FIRST)), batch(2, 1, SECOND, root_of(FIRST, SECOND))
    )
    assert codes(replay) == [("sequence_gap", 0, 1)]


def test_reserve_of_each_moment() -> None:
    """Funding after a batch does not cover it; a withdrawal must leave what is committed."""
    late = replayed(
        batch(1, 1, FIRST, root_of(FIRST)),
        Funded(sender=HOLDERS[0], amount=100, **place(2)),
        reserve=0,
    )
    assert codes(late) == [("reserve_exceeded", 0, 1)]
    taken = [Funded(sender=HOLDERS[0], amount=12, **place(1)), batch(2, 1, FIRST, root_of(FIRST))]
    assert codes(
        replayed(*taken, Withdrawn(recipient=HOLDERS[1], amount=1, **place(3)), reserve=0)
    ) == [("reserve_exceeded", None, None)]


def test_families_have_homes_of_their_own() -> None:
    """With two families an account is at home in one of the first two buckets only, and the auditor
    says which accounts are not."""
    for address in (1000, 1001, 1002, 1003):
        found = []
        for bucket in (0, 1):
            one = Deltas((), ((address, 1),))
            found += codes(replayed(batch(1, 1, one, root_of(one), bucket), families=2))
        assert [code for code, _, _ in found] == ["account_not_home"]


def test_a_raise_of_families_moves_nobody() -> None:
    """Who was open before the raise stays at home; who is opened after it belongs by the new
    number. The audit follows the log, whatever the number is at the end."""
    odd = next(one for one in range(1000, 1100) if family(one, 2) == 1)
    later = next(one for one in range(odd + 1, 1100) if family(one, 2) == 1)
    first, more = Deltas((), ((odd, 1),)), Deltas(((0, 1),), ())
    start = FamiliesChanged(families=1, **place(1))
    raised = FamiliesChanged(families=2, **place(3))
    log = [start, batch(2, 1, first, root_of(first)), raised]
    log.append(batch(4, 2, more, root_of(first, more)))
    good, bad = Deltas((), ((later, 1),)), Deltas((), ((later, 1),))
    assert codes(replayed(*log, batch(5, 1, good, root_of(good), 1), families=2)) == []
    wrong = batch(5, 3, bad, root_of(first, more, bad))
    assert codes(replayed(*log, wrong, families=2)) == [("account_not_home", 0, 3)]


@pytest.mark.parametrize("numbers", [(0,), (3,), (2, 2), (4, 2), (2**17,)])
def test_numbers_of_families_that_the_contract_refuses_are_found(numbers: tuple[int, ...]) -> None:
    """No power of two, no raise, too many."""
    log = [FamiliesChanged(families=one, **place(i + 1)) for i, one in enumerate(numbers)]
    assert codes(replayed(*log)) == [("families", None, None)]


def test_an_account_twice_in_one_batch_is_found() -> None:
    """Opening an address twice in one batch is found, though neither stood open before."""
    twice = Deltas((), ((1000, 1), (1000, 2)))
    assert codes(replayed(batch(1, 1, twice, root_of(twice)))) == [("account_opened_twice", 0, 1)]


def test_a_claim_before_any_batch_is_beyond() -> None:
    """A payment out of a bucket without batches is beyond a cumulative of nothing."""
    claim = Claimed(
        bucket=9, slot=3, account=HOLDERS[0], recipient=HOLDERS[0], amount=1, **place(1)
    )
    assert [code for code, _, _ in codes(replayed(claim))] == [
        "claim_beyond_cumulative",
        "claim_wrong_account",
    ]


_number = st.integers(0, 2**16)
_events = st.one_of(
    st.builds(
        lambda bucket, sequence, root, total, deltas: batch(
            1, sequence, deltas, root, bucket, total
        ),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**256 - 1),
        st.integers(0, 2**256 - 1),
        st.one_of(st.binary(max_size=80), st.just(FIRST.encode()), st.just(SECOND.encode())),
    ),
    st.builds(
        lambda bucket, sequence: batch(1, sequence, FIRST if sequence == 1 else SECOND, 5, bucket),
        st.integers(0, 2),
        st.integers(1, 3),
    ),
    st.builds(
        lambda bucket, slot, amount: Claimed(
            bucket=bucket,
            slot=slot,
            account=HOLDERS[0],
            recipient=HOLDERS[1],
            amount=amount,
            **place(1),
        ),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**16 - 1),
        st.integers(0, 2**256 - 1),
    ),
    st.builds(
        lambda count, threshold, epoch: AttestorsChanged(
            attestors=tuple(HOLDERS[:count]), threshold=threshold, epoch=epoch, **place(1)
        ),
        st.integers(0, 5),
        _number,
        st.integers(0, 2**64 - 1),
    ),
    st.builds(
        lambda amount: Withdrawn(recipient=HOLDERS[0], amount=amount, **place(1)),
        st.integers(0, 2**256 - 1),
    ),
    st.just(Unreadable(name="BatchPosted", reason="garbage", **place(1))),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_events, max_size=8))
def test_any_log_is_replayed(events: list[Event]) -> None:
    """Whatever the log says, replay ends, and each step can be put into an envelope."""
    replay = replayed(*events)
    for step in replay.steps:
        assert len(step.envelope(0).struct_hash) == 32
