"""A post that reverted or is lost is followed by another in the same envelope: on a chain, with an
attestor that is a contract and changes its mind."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from backend import pipeline
from backend.attestation.models import Attestation
from backend.batch.models import Batch, BatchState
from backend.chain.fees import FeePolicy
from backend.chain.models import OutgoingTransaction, State
from backend.chain.sender import Sender
from backend.settlement import blame, post_track
from backend.settlement.post_rows import faults as faults_of
from backend.settlement.post_rows import posts_of, quorum_of
from backend.signer.keystore import KeystoreSigner
from tests.settlement.conftest import BURNS_GAS
from tests.support.anvil import Anvil
from tests.support.engine import report
from tests.support.onchain import OnChain


@pytest.fixture
def proven(program: OnChain) -> Batch:
    """A batch with a real proof, signed by all three attestors."""
    program.engine.take_in(program.row, [report("e1", "ann", 8), report("e2", "bob", 5)])
    (closed,) = program.engine.close(program.row)
    program.prove(closed)
    return closed


def row_of(program: OnChain, batch: Batch) -> Batch:
    with program.engine.database.transaction() as session:
        return session.get_one(Batch, batch.id)


def posts(program: OnChain, batch: Batch) -> list[OutgoingTransaction]:
    with program.engine.database.transaction() as session:
        return posts_of(session, session.get_one(Batch, batch.id))


def faults(program: OnChain) -> dict[str, tuple[int, int]]:
    with program.engine.database.transaction() as session:
        return {name: tuple(found) for name, found in faults_of(session, program.id).items()}


def go_on(program: OnChain, batch: Batch, looks: int = 12) -> list[str]:
    """Look at the batch until it is final, or so often; the notes in between."""
    notes = []
    for _ in range(looks):
        if pipeline.advance(program.context, batch.id) is BatchState.FINAL:
            break
        notes.append(row_of(program, batch).note or "")
    return notes


def test_an_attestor_that_changes_its_mind(
    program: OnChain, proven: Batch, turn: Callable[..., str]
) -> None:
    """It accepts its signature in the simulation and refuses it when the post is mined. Digest,
    signatures and proof stay, the other two go along with the next post, and it is told who it
    was. For the next batch it is last from the start: it is remembered."""
    dishonest, before = turn(0), row_of(program, proven)
    with capture_logs() as lines:
        notes = go_on(program, proven)
    landed = row_of(program, proven)
    assert landed.state == BatchState.FINAL
    assert (landed.digest, landed.valid_until) == (before.digest, before.valid_until)
    assert landed.proof == before.proof
    first, second = posts(program, proven)
    assert (first.status, second.status) == (0, 1)
    assert dishonest in quorum_of(first, landed)
    assert dishonest not in quorum_of(second, landed)
    assert any(f"attestor {dishonest} refused" in note for note in notes)
    (said,) = [line for line in lines if line["event"] == "post_reverted"]
    assert (said["log_level"], said["refused_by"]) == ("error", [dishonest])
    assert faults(program) == {dishonest: (1, 0)}


def test_whom_nobody_can_name(
    program: OnChain, proven: Batch, turn: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that neither traces nor runs again: who has code is suspected, whose key signed is
    not."""
    dishonest = turn(1)
    monkeypatch.setattr(blame, "_ask", lambda *_: {})
    go_on(program, proven)
    assert row_of(program, proven).state == BatchState.FINAL
    assert faults(program) == {dishonest: (0, 1)}


def test_the_node_that_does_not_trace(
    program: OnChain, proven: Batch, turn: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The post is run again at its block and gas price: that names the attestor as well."""
    dishonest = turn(1)
    ask = blame._ask
    monkeypatch.setattr(
        blame,
        "_ask",
        lambda node, method, *rest: {} if "trace" in method else ask(node, method, *rest),
    )
    go_on(program, proven)
    assert faults(program) == {dishonest: (1, 0)}


def test_an_attestor_that_burns_the_gas(
    program: OnChain, proven: Batch, turn: Callable[..., str]
) -> None:
    """The contract then names whoever comes after it, or nobody: nobody is blamed for certain, and
    those with code are suspected."""
    dishonest = turn(0, BURNS_GAS)
    go_on(program, proven)
    assert row_of(program, proven).state == BatchState.FINAL
    assert faults(program) == {dishonest: (0, 1)}


def test_others_are_asked_when_all_were_tried(
    program: OnChain, proven: Batch, turn: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only m had signed, and one of them made the post revert: the others are asked for their
    signatures of the same digest, and the next post takes them."""
    dishonest = turn(0)
    with program.engine.database.transaction() as session:
        spare = session.get_one(Attestation, (proven.id, program.program.attestor_keys[2].address))
        session.delete(spare)
        session.flush()
        session.expunge(spare)
    asked: list[int] = []

    def collect_more(context: object, row: object, batch_id: int) -> int:
        asked.append(batch_id)
        with program.engine.database.transaction() as session:
            session.add(
                Attestation(
                    batch_id=spare.batch_id,
                    attestor=spare.attestor,
                    digest=spare.digest,
                    signature=spare.signature,
                )
            )
        return 1

    monkeypatch.setattr(pipeline, "collect_more", collect_more)
    go_on(program, proven)
    assert row_of(program, proven).state == BatchState.FINAL
    assert asked == [proven.id]
    assert dishonest not in quorum_of(posts(program, proven)[-1], proven)


def test_a_lost_post_is_sent_again_in_its_envelope(
    program: OnChain, chain: Anvil, proven: Batch
) -> None:
    """Another transaction uses the nonce: the batch keeps its envelope and goes out under the next
    nonce."""
    pipeline.advance(program.context, proven.id, until=BatchState.POSTED)
    digest = row_of(program, proven).digest
    sender = program.context.poster.address
    chain.mined(chain.w3.eth.send_transaction({"from": sender, "to": sender, "value": 0}))
    go_on(program, proven)
    assert [row.state for row in posts(program, proven)] == [State.LOST, State.FINAL]
    assert (row_of(program, proven).state, row_of(program, proven).digest) == (
        BatchState.FINAL,
        digest,
    )
    assert faults(program) == {}


def test_a_worker_that_dies_before_it_has_remembered(
    program: OnChain, proven: Batch, turn: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch and the blame are one transaction: whoever takes the batch up blames once."""
    dishonest = turn(0)

    class Dies(BaseException):
        pass

    def failpoint(place: str) -> None:
        if place == "post.repeated":
            raise Dies

    with monkeypatch.context() as patch:
        patch.setattr(post_track, "failpoint", failpoint)
        with pytest.raises(Dies):
            go_on(program, proven)
    assert row_of(program, proven).state == BatchState.POSTED
    assert faults(program) == {}
    # Two copies that have seen the same receipt: the second finds nothing to do.
    row = posts(program, proven)[0]
    for _ in range(2):
        post_track.repeat(program.context, program.row, row_of(program, proven), row)
    assert faults(program) == {dishonest: (1, 0)}
    go_on(program, proven)
    assert row_of(program, proven).state == BatchState.FINAL


def test_bytes_of_a_key_that_no_worker_holds(program: OnChain, chain: Anvil) -> None:
    """They go out all the same: a nonce that is not used would hold up every later one of that
    key, and the batches behind it."""
    other = Sender(
        chain.node, KeystoreSigner(chain.key(6)), FeePolicy(10**12), program.context.chain_id
    )
    with program.engine.database.transaction() as session:
        stored = other.enqueue(session, "left behind", chain.key(1).address, b"").id
    for _ in range(2):
        post_track.track_orphaned(program.context)
    with program.engine.database.transaction() as session:
        assert session.get_one(OutgoingTransaction, stored).state == State.MINED
