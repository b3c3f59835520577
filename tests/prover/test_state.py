"""prover/state.py"""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prover.circuit import Instance, load_instance
from prover.state import BucketState, ProgramState, StateError, family
from prover.statement import Pair, plan_batch
from prover.wire import ADDRESS_MAX, Deltas, DeltasError
from tests.prover import reference
from tests.prover.test_vectors import load, pairs

SMALL = Instance("small", 2, 2, 8)
addresses = st.integers(1, ADDRESS_MAX)


def opening(*accounts: int) -> bytes:
    return Deltas((), tuple((account, 5) for account in accounts)).encode()


def filled(program: ProgramState, bucket: int, first: int) -> None:
    """Open every slot of `bucket` with accounts that no test uses."""
    count = program.instance.slots
    program.apply(
        bucket, program.bucket(bucket).sequence + 1, opening(*range(first, first + count))
    )


@pytest.mark.parametrize("sequence", [0, 1, 3, -1])
def test_a_replayed_or_skipped_sequence_is_refused(sequence: int) -> None:
    """After batch 1 only batch 2 may follow; the state is as it was."""
    state = BucketState(SMALL)
    state.apply(1, opening(7))
    with pytest.raises(StateError, match=f"sequence: expected 2, got {sequence}"):
        state.apply(sequence, opening(8))
    assert (state.sequence, state.pairs) == (1, [(7, 5)])


@pytest.mark.parametrize("case", load("deltas.json")["malformed"], ids=lambda case: case["name"])
def test_malformed_deltas_leave_the_state_alone(case) -> None:
    """Whatever the rule, nothing has moved after the error: neither pairs, nor root, nor
    sequence."""
    accounts = [(100 + i, 10) for i in range(case["opened"])]
    state = BucketState(load_instance("dev"), 4, list(accounts))
    root = state.root
    with pytest.raises(DeltasError, match=case["rule"]):
        state.apply(5, bytes.fromhex(case["data"][2:]))
    assert (state.sequence, state.pairs, state.root) == (4, accounts, root)


def test_an_open_account_is_not_opened_again() -> None:
    """One account, one home, whichever bucket asks."""
    program = ProgramState(SMALL)
    program.apply(0, 1, opening(7))
    with pytest.raises(StateError, match="is open already, in bucket 0"):
        program.require_home(0, 7, 0)
    filled(program, 1, 1000)
    with pytest.raises(StateError, match="is open already"):
        program.require_home(1, 7, 0)


def test_an_account_of_another_family_is_refused() -> None:
    """With three families an account opens in one bucket out of three."""
    account = next(a for a in range(1, 100) if family(a, 3) == 2)
    program = ProgramState(SMALL, families=3)
    for bucket in (0, 1, 3, 4):
        with pytest.raises(StateError, match=f"not of the family of bucket {bucket}"):
            program.require_home(bucket, account, 0)
    program.require_home(2, account, 0)


def test_a_lower_bucket_with_a_free_slot_comes_first() -> None:
    """Bucket 1 opens nothing while bucket 0 has room, and the error says where the account
    belongs."""
    program = ProgramState(SMALL)
    program.apply(0, 1, opening(*range(1, SMALL.slots)))
    with pytest.raises(StateError, match="belongs in bucket 0, which has a free slot"):
        program.require_home(1, 999, 0)
    program.require_home(0, 999, 0)


def test_openings_beyond_the_last_slot_are_refused() -> None:
    """The second opening of a batch into a bucket with one free slot has no slot."""
    program = ProgramState(SMALL)
    program.apply(0, 1, opening(*range(1, SMALL.slots)))
    program.require_home(0, 998, 0)
    with pytest.raises(StateError, match="bucket 0 has no free slot"):
        program.require_home(0, 999, 1)


@pytest.mark.parametrize(
    "case",
    load("home.json")["openings"],
    ids=lambda c: f"{c['families']} families, full {len(c['fullBuckets'])}",
)
def test_home_vectors(case) -> None:
    """Of all buckets up to the right one and beyond, exactly the one of the vectors may open the
    account."""
    program = ProgramState(SMALL, case["families"])
    for number, bucket in enumerate(case["fullBuckets"]):
        filled(program, bucket, 10**6 * (number + 1))
    allowed = []
    for bucket in range(case["bucket"] + case["families"] + 1):
        try:
            program.require_home(bucket, int(case["account"], 16), 0)
        except StateError:
            continue
        allowed.append(bucket)
    assert allowed == [case["bucket"]]


def test_family_vectors() -> None:
    """The shared accounts' families."""
    for case in load("home.json")["families"]:
        for row in case["accounts"]:
            assert family(int(row["account"], 16), case["families"]) == row["family"]


@st.composite
def histories(draw) -> list[tuple[int, list[Pair]]]:
    """(bucket, items) batch after batch; an account appears in one bucket only, a bucket is never
    overfull."""
    accounts = draw(st.lists(addresses, min_size=2, max_size=14, unique=True))
    homes = {account: i % 2 for i, account in enumerate(accounts)}
    batches = []
    for _ in range(draw(st.integers(1, 6))):
        bucket = draw(st.integers(0, 1))
        own = [account for account, home in homes.items() if home == bucket]
        batches.append(
            (
                bucket,
                draw(
                    st.lists(
                        st.tuples(st.sampled_from(own), st.integers(1, 2**90)),
                        min_size=1,
                        max_size=SMALL.items,
                    )
                ),
            )
        )
    return batches


def flat(accounts: Sequence[Pair]) -> list[int]:
    return [element for pair in accounts for element in pair]


@settings(deadline=None, max_examples=40)
@given(histories())
def test_replay_rebuilds_every_balance_and_root(history: list[tuple[int, list[Pair]]]) -> None:
    """From the deltas alone: balances as a dictionary keeps them, roots folded from nothing, homes,
    sequences."""
    program = ProgramState(SMALL)
    balances: list[dict[int, int]] = [{}, {}]
    for bucket, items in history:
        statement = plan_batch(SMALL, program.bucket(bucket).pairs, items)
        data = statement.deltas.encode()
        assert program.apply(bucket, program.bucket(bucket).sequence + 1, data) == statement.deltas
        for account, amount in items:
            balances[bucket][account] = balances[bucket].get(account, 0) + amount
        assert program.bucket(bucket).root == statement.new_root
    for bucket, expected in enumerate(balances):
        state = program.bucket(bucket)
        assert dict(state.pairs) == expected
        assert (state.opened, state.full) == (len(expected), len(expected) == SMALL.slots)
        assert state.sequence == sum(1 for b, _ in history if b == bucket)
        assert state.root == reference.root(flat(state.pairs), SMALL.levels)
        assert all(
            program.home[account] == (bucket, slot) for slot, (account, _) in enumerate(state.pairs)
        )


def test_replay_of_the_shared_batches() -> None:
    """The four dev batches of the vectors, from their deltas alone."""
    vectors = load("batch_dev.json")
    state = BucketState(load_instance("dev"))
    for batch in vectors["batches"]:
        assert state.root == int(batch["envelope"]["oldRoot"], 16)
        state.apply(batch["sequence"], bytes.fromhex(batch["deltas"][2:]))
        assert state.pairs == pairs(batch["new"])
        assert state.root == int(batch["envelope"]["newRoot"], 16)
