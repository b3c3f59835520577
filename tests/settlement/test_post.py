"""backend/settlement/post.py: which signatures go along."""

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.attestation.models import Attestation
from backend.batch.models import Batch, BatchState
from backend.chain.calldata import (
    POST_BATCHES,
    decode_post_batch,
    decode_post_batches,
    invalid_attestation,
)
from backend.chain.models import OutgoingTransaction, SenderAccount, State
from backend.chain.node import CallReverted
from backend.chain.sender import SimulationReverted
from backend.errors import GuerdonError, Invalid, NotYet
from backend.settlement import company, post
from backend.settlement.post_rows import faults
from prover.wire import Proof
from tests.support.engine import address, apart, report
from tests.support.onchain import OnChain

PROOF = Proof((1, 2), ((3, 4), (5, 6)), (7, 8)).to_bytes()
DIGEST = b"d" * 32
_nonces = count()


class Chain:
    """Plays the sender: the simulation refuses some attestors' signatures, each time the first of
    them in the call."""

    def __init__(self, *refused: str) -> None:
        self.refused, self.sent = refused, []
        self.address = address("poster")

    def enqueue(self, session: Session, purpose: str, to: str, data: bytes) -> Any:
        signers = [attestation.attestor for attestation in decode_post_batch(data).attestations]
        for signer in signers:
            if signer in self.refused:
                revert = CallReverted("eth_call", invalid_attestation(signer), "reverted")
                raise SimulationReverted(purpose, revert)
        self.sent.append(signers)
        return stored(session, purpose, to, data)


def stored(session: Session, purpose: str, to: str, data: bytes) -> OutgoingTransaction:
    """The row that a sender would have stored."""
    sender, nonce = address("poster"), next(_nonces)
    account = {"chain_id": 31337, "address": sender, "next_nonce": 0}
    session.execute(insert(SenderAccount).values(**account).on_conflict_do_nothing())
    row = OutgoingTransaction(
        chain_id=31337,
        sender=sender,
        nonce=nonce,
        purpose=purpose,
        to_address=to,
        data=data,
        value=0,
        gas_limit=1,
        state=State.STORED,
    )
    session.add(row)
    session.flush()
    return row


@pytest.fixture
def attestors() -> list[str]:
    """Three, ascending."""
    return sorted(
        (address(name) for name in ("first", "second", "third")), key=lambda text: int(text, 16)
    )


@pytest.fixture
def batch(program: OnChain, attestors: list[str]) -> Batch:
    """A proven batch with three signatures of its digest, and one of another digest."""
    program.engine.take_in(program.row, [report("e1", "ann", 8)])
    (closed,) = program.engine.close(program.row)
    with program.engine.database.transaction() as session:
        values = {
            "state": BatchState.PROVEN,
            "proof": PROOF,
            "digest": DIGEST,
            "valid_until": 2**40,
            "attestor_epoch": 1,
        }
        session.execute(update(Batch).where(Batch.id == closed.id).values(**values))
        for attestor in attestors:
            session.add(
                Attestation(
                    batch_id=closed.id, attestor=attestor, digest=DIGEST, signature=b"s" * 65
                )
            )
        session.add(
            Attestation(
                batch_id=closed.id,
                attestor=address("of an older envelope"),
                digest=b"x" * 32,
                signature=b"s",
            )
        )
    return closed


def enqueue(program: OnChain, batch: Batch, chain: Chain, node: Any = None) -> None:
    context = SimpleNamespace(
        database=program.engine.database,
        poster=chain,
        node=node,
        settings=program.context.settings,
        distributor=program.context.distributor,
    )
    assert post.enqueue(context, program.row, batch.id, 2)


@pytest.mark.parametrize(
    ("refused", "sent"), [((), (0, 1)), ((0,), (1, 2)), ((1,), (0, 2)), ((2,), (0, 1))]
)
def test_a_signature_that_has_died_is_left_out(
    program: OnChain,
    batch: Batch,
    attestors: list[str],
    refused: tuple[int, ...],
    sent: tuple[int, ...],
) -> None:
    """As many as are needed go along, the lowest that the contract takes."""
    chain = Chain(*(attestors[i] for i in refused))
    enqueue(program, batch, chain)
    assert chain.sent == [[attestors[i] for i in sent]]


def test_too_few_are_left(program: OnChain, batch: Batch, attestors: list[str]) -> None:
    """The batch says whose signature is refused, and stays where it is."""
    with pytest.raises(SimulationReverted, match="InvalidAttestation"):
        enqueue(program, batch, Chain(*attestors[:2]))
    assert [row.state for row in program.batches()] == [BatchState.PROVEN]


def test_another_reason_is_no_attestors_fault(program: OnChain, batch: Batch) -> None:
    """It is not tried with fewer."""

    class Refuses(Chain):
        def enqueue(self, session: Session, purpose: str, to: str, data: bytes) -> Any:
            self.sent.append(data)
            raise SimulationReverted(
                purpose, CallReverted("eth_call", bytes.fromhex("deadbeef"), "")
            )

    chain = Refuses()
    with pytest.raises(SimulationReverted, match="0xdeadbeef"):
        enqueue(program, batch, chain)
    assert len(chain.sent) == 1


@pytest.mark.parametrize("refusal", ["no reason", "too much gas"])
def test_a_simulation_that_names_nobody(
    program: OnChain, batch: Batch, attestors: list[str], refusal: str
) -> None:
    """An attestor's code that burns all gas, or more than a post may have: other quorums are
    simulated, the one that stands is stored, and whoever was in the others goes last from now
    on."""

    class Burns(Chain):
        def enqueue(self, session: Session, purpose: str, to: str, data: bytes) -> Any:
            signers = [one.attestor for one in decode_post_batch(data).attestations]
            if attestors[0] in signers:
                if refusal == "too much gas":
                    raise Invalid("needs 30000000 gas, the cap is 16777216", field="data")
                raise SimulationReverted(purpose, CallReverted("eth_call", b"", "out of gas"))
            return super().enqueue(session, purpose, to, data)

    chain = Burns()
    code = {attestors[0]: b"\x5b"}
    node = SimpleNamespace(code=lambda address, _: code.get(address, b""))
    enqueue(program, batch, chain, node)
    assert chain.sent == [attestors[1:]]
    with program.engine.database.transaction() as session:
        blamed = faults(session, program.id)
    assert blamed == {attestors[0]: (0, 2)}


class Several(Chain):
    """Takes single posts of none of `refused_buckets`, and sets of at most `most`."""

    def __init__(self, most: int = 64, refused_buckets: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.most, self.refused_buckets = most, refused_buckets
        self.simulated: list[int] = []
        self.refusal: GuerdonError = Invalid("too much gas", field="data")
        self.spare: list[int] = []

    def simulate(self, what: str, to: str, data: bytes) -> None:
        bucket = decode_post_batch(data).batch.bucket
        self.simulated.append(bucket)
        if bucket in self.refused_buckets:
            raise SimulationReverted(what, CallReverted("eth_call", b"\x01" * 4, "reverted"))

    def enqueue(
        self, session: Session, purpose: str, to: str, data: bytes, spare_gas: int = 0
    ) -> Any:
        if data[:4] != POST_BATCHES:
            return super().enqueue(session, purpose, to, data)
        buckets = [one.batch.bucket for one in decode_post_batches(data)]
        if len(buckets) > self.most:
            raise self.refusal
        self.sent.append(buckets)
        self.spare.append(spare_gas)
        return stored(session, purpose, to, data)


@pytest.fixture
def several(
    make: Callable[..., OnChain], attestors: list[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[OnChain, list[Batch]]:
    """Four proven batches of 10 base units, each in a bucket of its own, signed by all three."""
    monkeypatch.setattr(company, "standing", lambda *_: company.Standing(0, 1, 40))
    program = make(funded=1000, families=4)
    program.engine.take_in(program.row, [report(name, name, 10) for name in apart(4)])
    closed: list[Batch] = []
    while more := program.engine.close(program.row):
        closed += more
    with program.engine.database.transaction() as session:
        for one in closed:
            row, digest = session.get_one(Batch, one.id), bytes([one.bucket]) * 32
            row.state, row.proof, row.digest = BatchState.PROVEN, PROOF, digest
            row.valid_until, row.attestor_epoch = 2**40, 1
            for attestor in attestors:
                session.add(
                    Attestation(
                        batch_id=one.id, attestor=attestor, digest=digest, signature=b"s" * 65
                    )
                )
    return program, closed


KEYS_ALONE = SimpleNamespace(code=lambda *_: b"")


def left(program: OnChain) -> list[int]:
    """The buckets whose batches are not posted."""
    return [row.bucket for row in program.batches() if row.state == BatchState.PROVEN]


def test_each_is_simulated_alone_first(several: tuple[OnChain, list[Batch]]) -> None:
    """The one that is posted comes first; what the simulation refuses stays behind."""
    program, batches = several
    chain = Several(refused_buckets=(1,))
    enqueue(program, batches[2], chain, KEYS_ALONE)
    assert (chain.simulated, chain.sent) == ([2, 0, 1, 3], [[2, 0, 3]])
    assert (left(program), chain.spare) == ([1], [0])


def test_what_is_refused_itself_takes_nobody_along(several: tuple[OnChain, list[Batch]]) -> None:
    """Nothing is stored, and all stay where they are."""
    program, batches = several
    with pytest.raises(SimulationReverted):
        enqueue(program, batches[2], Several(refused_buckets=(2,)), KEYS_ALONE)
    assert left(program) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("most", "held", "refusal"),
    [
        (3, [0, 1], Invalid("needs 30000000 gas, the cap is 16777216", field="data")),
        (1, [], Invalid("needs 30000000 gas, the cap is 16777216", field="data")),
        (1, [], NotYet("the key holds 1 wei, the transaction may need 2: fund it")),
    ],
)
def test_half_of_what_is_too_much(
    several: tuple[OnChain, list[Batch]], most: int, held: list[int], refusal: GuerdonError
) -> None:
    """A set that needs more gas than a transaction may have, or than the key can pay, is halved,
    down to the batch alone."""
    program, batches = several
    chain = Several(most)
    chain.refusal = refusal
    enqueue(program, batches[0], chain, KEYS_ALONE)
    assert left(program) == [bucket for bucket in range(4) if bucket not in (held or [0])]
    assert chain.sent == [held] if held else len(chain.sent) == 1


def test_no_more_than_a_node_takes(
    several: tuple[OnChain, list[Batch]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calldata has a bound; what does not fit goes with another post."""
    program, batches = several
    sizes: list[int] = []
    monkeypatch.setattr(company, "CALLDATA_BYTES_MAX", 4000)
    chain = Several()
    whole = chain.enqueue

    def measured(session: Session, purpose: str, to: str, data: bytes, **options: int) -> Any:
        sizes.append(len(data))
        return whole(session, purpose, to, data, **options)

    monkeypatch.setattr(chain, "enqueue", measured)
    enqueue(program, batches[0], chain, KEYS_ALONE)
    assert chain.sent == [[0, 1, 2]]
    assert max(sizes) <= 4000


@pytest.mark.parametrize(("room", "buckets"), [(40, [0, 1, 2, 3]), (39, [0, 1, 2]), (25, [0, 1])])
def test_no_more_than_the_reserve_covers(
    several: tuple[OnChain, list[Batch]],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    buckets: list[int],
) -> None:
    """Over all that goes along: what exceeds it would be passed over."""
    program, batches = several
    monkeypatch.setattr(company, "standing", lambda *_: company.Standing(0, 1, room))
    chain = Several()
    enqueue(program, batches[0], chain, KEYS_ALONE)
    assert chain.sent == [buckets]


def test_gas_to_spare_for_attestors_with_code(
    several: tuple[OnChain, list[Batch]], attestors: list[str]
) -> None:
    """As much as the contract lets each of their signatures burn."""
    program, batches = several
    chain = Several()
    code = {attestors[0]: b"\x5b"}
    enqueue(
        program, batches[0], chain, SimpleNamespace(code=lambda address, _: code.get(address, b""))
    )
    assert chain.spare == [4 * post.SIGNATURE_GAS]
