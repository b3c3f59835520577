"""Several batches in one transaction: they land together, and what becomes of one of them is no
matter to the others."""

from collections.abc import Callable, Sequence

import pytest
from eth_utils import keccak
from sqlalchemy import delete

from backend import pipeline
from backend.attestation.models import Attestation
from backend.audit.auditor import audit
from backend.batch.models import Batch, BatchState
from backend.chain.calldata import POST_BATCHES
from backend.chain.events import BatchSkipped, BatchSkipReason
from backend.chain.models import OutgoingTransaction, State
from backend.settlement import company, post, post_track
from backend.settlement.post_rows import faults, posts_of
from tests.settlement.conftest import BURNS_GAS
from tests.support.anvil import Anvil
from tests.support.engine import apart, report
from tests.support.onchain import OnChain

FAMILIES = 8


@pytest.fixture
def program(make: Callable[..., OnChain]) -> OnChain:
    """Of eight buckets, with a daily limit."""
    return make(funded=1_000_000, families=FAMILIES, daily_limit=500_000)


def closed(program: OnChain, amounts: Sequence[int]) -> list[Batch]:
    """A batch for each amount, in a bucket of its own."""
    rewards = [
        report(f"event {name}", name, amount)
        for name, amount in zip(apart(FAMILIES), amounts, strict=False)
    ]
    program.engine.take_in(program.row, rewards)
    batches: list[Batch] = []
    while more := program.engine.close(program.row):
        batches += more
    assert [batch.bucket for batch in batches] == list(range(len(amounts)))
    return batches


def row_of(program: OnChain, batch: Batch) -> Batch:
    with program.engine.database.transaction() as session:
        return session.get_one(Batch, batch.id)


def posts(program: OnChain, batch: Batch) -> list[OutgoingTransaction]:
    with program.engine.database.transaction() as session:
        return posts_of(session, session.get_one(Batch, batch.id))


def states(program: OnChain, batches: Sequence[Batch]) -> list[BatchState]:
    return [BatchState(row_of(program, batch).state) for batch in batches]


def store(program: OnChain, batch: Batch) -> None:
    """The post of a batch is stored, and not sent."""
    assert pipeline.advance(program.context, batch.id, until=BatchState.POSTED)


def go_on(program: OnChain, batches: Sequence[Batch], looks: int = 4) -> dict[int, list[str]]:
    """Look at the batches in turn so often; bucket -> the notes of its batch."""
    notes: dict[int, list[str]] = {batch.bucket: [] for batch in batches}
    for _ in range(looks):
        for batch in batches:
            if pipeline.advance(program.context, batch.id) is not BatchState.FINAL:
                notes[batch.bucket].append(row_of(program, batch).note or "")
    return notes


def unsign(program: OnChain, attestor: str, batches: Sequence[Batch]) -> None:
    """Take the attestor's signatures of these batches away."""
    ids = [batch.id for batch in batches]
    with program.engine.database.transaction() as session:
        session.execute(
            delete(Attestation).where(
                Attestation.batch_id.in_(ids), Attestation.attestor == attestor
            )
        )


def test_they_land_together(program: OnChain, chain: Anvil) -> None:
    """All that are proven go in the transaction of the first that is looked at, each is final, and
    they share its gas to the unit. The audit finds nothing."""
    batches = closed(program, [10, 20, 30])
    for batch in batches:
        program.prove(batch)
    store(program, batches[1])
    assert states(program, batches) == [BatchState.POSTED] * 3
    go_on(program, batches)
    assert states(program, batches) == [BatchState.FINAL] * 3
    rows = [row_of(program, batch) for batch in batches]
    (sent,) = posts(program, batches[0])
    assert sent.data[:4] == POST_BATCHES
    assert {row.tx_hash for row in rows} == {"0x" + (sent.mined_hash or b"").hex()}
    assert [row.batches_in_tx for row in rows] == [3] * 3
    assert sum(row.gas_used or 0 for row in rows) == sent.gas_used
    report_ = audit(chain.node, program.program.address, program.program.deployment.block)
    assert (report_.ok, report_.findings, report_.checks["proofs"]) == (True, [], 3)


def test_what_may_be_committed(make: Callable[..., OnChain]) -> None:
    """Together no more than the reserve covers and the day has left."""
    for options, room in (({"funded": 700}, 700), ({"funded": 700, "daily_limit": 500}, 500)):
        program = make(**options)
        assert company.standing(program.context, program.row).room == room


def test_one_of_each_kind_of_trouble(
    program: OnChain, chain: Anvil, turn: Callable[..., str]
) -> None:
    """In one transaction, a stranger posts one of the set meanwhile, one expires, one exceeds the
    lowered limit, one the reserve that is left, and one has an attestor that changes its mind: the
    others land, and each of these says why and goes its own way. One with a false proof never gets
    into the set."""
    fine, strangers, late, large, uncovered, doubted, false = batches = closed(
        program, [10, 10, 10, 5_000, 500, 10, 10]
    )
    now = chain.w3.eth.get_block("latest")["timestamp"]
    postings = {
        batch.id: program.prove(batch, *([now + 600] if batch is late else [])) for batch in batches
    }
    dishonest = program.program.attestor_keys[0].address
    unsign(program, dishonest, [batch for batch in batches if batch is not doubted])
    with program.engine.database.transaction() as session:
        session.get_one(Batch, false.id).proof = row_of(program, fine).proof
    turn(0)
    store(program, fine)
    assert states(program, batches) == [BatchState.POSTED] * 6 + [BatchState.PROVEN]

    honest = program.program.attestor_keys[1:]
    taken = postings[strangers.id]
    taken.attestations = program.program.sign(taken.digest, honest)
    assert program.program.send(program.program.calldata(taken))["status"] == 1
    program.call("lowerDailyLimit", 1_000)
    set_balance(program, 400)
    chain.rpc("evm_increaseTime", 700)
    go_on(program, batches, 1)
    (sent,) = posts(program, fine)
    skipped = {
        event.bucket: event.reason
        for event in program.program.distributor.events_of(sent.mined_hash or b"")
        if isinstance(event, BatchSkipped)
    }
    assert skipped == {
        strangers.bucket: BatchSkipReason.WRONG_SEQUENCE,
        late.bucket: BatchSkipReason.EXPIRED,
        large.bucket: BatchSkipReason.DAILY_LIMIT,
        uncovered.bucket: BatchSkipReason.RESERVE,
        doubted.bucket: BatchSkipReason.TOO_FEW_ATTESTATIONS,
    }
    notes = go_on(program, batches)
    assert states(program, batches) == [
        BatchState.FINAL,
        BatchState.FINAL,
        BatchState.CLOSED,
        BatchState.PROVEN,
        BatchState.PROVEN,
        BatchState.FINAL,
        BatchState.PROVEN,
    ]
    assert "above the daily limit" in notes[large.bucket][-1]
    assert "ReserveExceeded" in notes[uncovered.bucket][-1]
    assert "InvalidProof" in notes[false.bucket][-1]
    assert fault_counts(program) == {dishonest: (1, 0)}
    assert (row_of(program, fine).tx_hash, row_of(program, fine).batches_in_tx) == (
        "0x" + (sent.mined_hash or b"").hex(),
        1,
    )
    # What has failed once in its envelope goes alone.
    assert [row.data[:4] == POST_BATCHES for row in posts(program, doubted)] == [True, False]

    set_balance(program, 1_000_000)
    chain.rpc("evm_increaseTime", 86_400)
    go_on(program, [uncovered])
    assert states(program, [uncovered]) == [BatchState.FINAL]


def set_balance(program: OnChain, amount: int) -> None:
    """What the Distributor holds, as after a withdrawal that the owner had announced."""
    place = keccak(int(program.program.address, 16).to_bytes(32, "big") + bytes(32))
    token = program.program.deployment.token
    program.chain.rpc(
        "anvil_setStorageAt", token, "0x" + place.hex(), "0x" + amount.to_bytes(32, "big").hex()
    )
    assert program.program.distributor.reserve() == amount


def fault_counts(program: OnChain) -> dict[str, tuple[int, int]]:
    with program.engine.database.transaction() as session:
        return {name: tuple(found) for name, found in faults(session, program.id).items()}


def test_an_attestor_that_burns_all_gas(program: OnChain, turn: Callable[..., str]) -> None:
    """In a transaction, not in the simulation: the gas that the post has to spare is what it can
    burn, so its batch alone is passed over."""
    doubted, *others = batches = closed(program, [10, 20, 30])
    for batch in batches:
        program.prove(batch)
    dishonest = turn(0, BURNS_GAS)
    unsign(program, dishonest, others)
    store(program, doubted)
    go_on(program, batches, 1)
    assert [row.status for row in posts(program, doubted)] == [1]
    go_on(program, batches)
    assert states(program, batches) == [BatchState.FINAL] * 3
    assert fault_counts(program) == {dishonest: (1, 0)}


def test_a_set_that_reverts_goes_on_one_by_one(program: OnChain, chain: Anvil) -> None:
    """Posting is paused when it is mined: no attestor is at fault, and each batch is posted alone
    in its envelope afterwards."""
    batches = closed(program, [10, 20])
    for batch in batches:
        program.prove(batch)
    store(program, batches[0])
    program.call("pausePosting", 60)
    go_on(program, batches, 1)
    (sent,) = posts(program, batches[1])
    assert (sent.status, sent.data[:4]) == (0, POST_BATCHES)
    assert fault_counts(program) == {}
    chain.rpc("evm_increaseTime", 61)
    chain.rpc("evm_mine")
    go_on(program, batches)
    assert states(program, batches) == [BatchState.FINAL] * 2
    assert [len(posts(program, batch)) for batch in batches] == [2, 2]


def test_a_lost_set_is_sent_again(program: OnChain, chain: Anvil) -> None:
    """Another transaction uses its nonce: all its batches go out again."""
    batches = closed(program, [10, 20])
    for batch in batches:
        program.prove(batch)
    store(program, batches[0])
    sender = program.context.poster.address
    chain.mined(chain.w3.eth.send_transaction({"from": sender, "to": sender, "value": 0}))
    go_on(program, batches)
    post_track.track_orphaned(program.context)
    assert [[row.state for row in posts(program, batch)] for batch in batches] == [
        [State.LOST, State.FINAL]
    ] * 2
    assert states(program, batches) == [BatchState.FINAL] * 2


@pytest.mark.parametrize(
    ("place", "left"),
    [("post.set_before_commit", BatchState.PROVEN), ("post.stored", BatchState.POSTED)],
)
def test_a_worker_that_dies_while_it_stores_a_set(
    program: OnChain, monkeypatch: pytest.MonkeyPatch, place: str, left: BatchState
) -> None:
    """All of the set is posted or none of it, the next worker takes each up, and a second copy that
    has begun the same finds nothing to do."""
    batches = closed(program, [10, 20])
    for batch in batches:
        program.prove(batch)
    dies(monkeypatch, post, place, lambda: store(program, batches[0]))
    assert states(program, batches) == [left] * 2
    go_on(program, batches)
    assert states(program, batches) == [BatchState.FINAL] * 2
    assert len(posts(program, batches[0])) == len(posts(program, batches[1])) == 1
    assert post.enqueue(program.context, program.row, batches[0].id, 2)
    assert len(posts(program, batches[0])) == 1


def test_a_worker_that_dies_when_a_batch_was_passed_over(
    program: OnChain, turn: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch and blame are one transaction: whoever takes the batch up, and however many do, blames
    once."""
    batches = closed(program, [10, 20])
    for batch in batches:
        program.prove(batch)
    dishonest = turn(0)
    unsign(program, dishonest, batches[1:])
    dies(monkeypatch, post_track, "post.skipped", lambda: go_on(program, batches))
    assert states(program, batches) == [BatchState.POSTED, BatchState.FINAL]
    assert fault_counts(program) == {}
    (row,) = posts(program, batches[0])
    before = row_of(program, batches[0])
    skip = post_track.skipped(program.context, program.row, before, row)
    assert skip is BatchSkipReason.TOO_FEW_ATTESTATIONS
    for _ in range(2):
        post_track.repeat(program.context, program.row, before, row, skip)
    # A copy that comes later still finds it posted by another transaction.
    store(program, batches[0])
    post_track.repeat(program.context, program.row, before, row, skip)
    assert states(program, batches) == [BatchState.POSTED, BatchState.FINAL]
    assert fault_counts(program) == {dishonest: (1, 0)}
    go_on(program, batches)
    assert states(program, batches) == [BatchState.FINAL] * 2


def dies(
    monkeypatch: pytest.MonkeyPatch, module: object, place: str, act: Callable[[], object]
) -> None:
    """The process ends when it comes to a failpoint of the module."""

    class Dies(BaseException):
        pass

    def failpoint(at: str) -> None:
        if at == place:
            raise Dies

    with monkeypatch.context() as patch:
        patch.setattr(module, "failpoint", failpoint)
        with pytest.raises(Dies):
            act()


def test_another_process_stores_a_post(program: OnChain) -> None:
    """Two workers do not share the batches out between them: the second leaves it to the first."""
    (batch,) = closed(program, [10])
    program.prove(batch)
    with program.engine.database.advisory_lock(f"post {program.id}"):
        assert pipeline.advance(program.context, batch.id) is BatchState.PROVEN
    assert row_of(program, batch).note == "another worker posts batches of the program"
    go_on(program, [batch])
    assert states(program, [batch]) == [BatchState.FINAL]
