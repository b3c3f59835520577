"""backend/settlement/post.py: which signatures go along."""

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.attestation.models import Attestation
from backend.batch.models import Batch, BatchState
from backend.chain.calldata import decode_post_batch, invalid_attestation
from backend.chain.models import OutgoingTransaction, SenderAccount, State
from backend.chain.node import CallReverted
from backend.chain.sender import SimulationReverted
from backend.errors import Invalid
from backend.settlement import post
from backend.settlement.post_rows import faults
from prover.wire import Proof
from tests.support.engine import address, report
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
