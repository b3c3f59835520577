"""Collecting signatures from attestors that lie, hang, die and ask for nonsense: m honest ones are
enough, and nothing else is stored."""

import socket
import threading
import time

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from sqlalchemy import select

from backend.attestation import conversation, service
from backend.attestation.envelope import clear_envelope, ensure_envelope
from backend.attestation.models import Attestation
from backend.attestation.service import AttestationRefused, collect
from backend.attestor.errors import MissingLeaves, StateBehind
from backend.batch.models import Batch, BatchState
from backend.errors import NotYet, Unavailable
from tests.attestation.conftest import TIMEOUT_SECONDS, Lead
from tests.attestation.servers import drip_body, drip_head, hang

STRANGER = Account.from_key(b"\x55" * 32)


def missing(*batches: tuple[int, int]) -> object:
    """An attestor that lacks these batches, whatever it is sent."""
    error = MissingLeaves(batches)
    return lambda path, *_: (204, None) if path == "/v1/leaves" else (error.status, error.to_json())


def raw(status: int, body: bytes) -> object:
    return lambda *_: (status, body)


BAD = {
    "asks for a batch that is not": missing((77, 999)),
    "asks for a batch beyond all numbers": raw(
        409,
        b'{"error":{"code":"missing_leaves","message":"","retryable":false,"batches":[{"bucket":Infinity,"sequence":1}]}}',
    ),
    "nests deeply": raw(409, b"[" * 100_000),
    "nests deeply in a 200": raw(200, b"[" * 100_000),
    "says NUL": raw(
        422,
        b'{"error":{"code":"refused","message":"a\\u0000b","retryable":false,"reason":"x","item":0}}',
    ),
    "says too much": raw(200, b" " * 50_000_000),
    "is a proxy": raw(502, b"<html>"),
    "hangs up": lambda path, payload, write: write(b"HTTP/1.1 "),
    "hangs": hang,
    "drips headers": drip_head,
    "drips": drip_body,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_one_bad_attestor(lead: Lead, bad: object) -> None:
    """Whatever one attestor does, the two others' signatures are stored and the batch goes on, in a
    second and not in a time-out."""
    lead.attestors(bad, lead.signing(lead.keys[0]), lead.signing(lead.keys[1]))
    started = time.monotonic()
    lead.collect()
    assert time.monotonic() - started < TIMEOUT_SECONDS
    assert lead.row().state == BatchState.ATTESTED
    assert lead.stored() == {key.address for key in lead.keys[:2]}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_too_few_good_attestors(lead: Lead, bad: object) -> None:
    """With too few others the batch waits, or says why it cannot be; the good signature is kept for
    the next try, which ends in time."""
    lead.attestors(bad, lead.signing(lead.keys[0]))
    started = time.monotonic()
    with pytest.raises((NotYet, AttestationRefused), match=r"^1 of 2 attestations: .+"):
        lead.collect()
    assert time.monotonic() - started < TIMEOUT_SECONDS + 2
    assert lead.row().state == BatchState.CLOSED
    assert lead.stored() == {lead.keys[0].address}
    lead.attestors(lead.signing(lead.keys[1]))
    lead.collect()
    assert lead.row().state == BatchState.ATTESTED


def test_what_went_wrong_is_told_in_the_note(lead: Lead) -> None:
    """An attestor that waits for its chain is one to ask again, and the batch's note says so."""
    behind = StateBehind("its chain is behind")
    lead.attestors(
        lambda *_: (behind.status, behind.to_json()), missing((77, 999)), lead.signing(lead.keys[0])
    )
    with pytest.raises(NotYet) as caught:
        lead.collect()
    assert caught.value.message == (
        "1 of 2 attestations: bad_answer: asked for batch 999 of bucket 77, which the ledger "
        "does not have; "
        "state_behind: its chain is behind"
    )


def test_leaves_are_sent(lead: Lead) -> None:
    """An attestor that lacks leaves gets them and is asked once more."""
    error = MissingLeaves([(lead.landed.bucket, lead.landed.sequence)])
    sent = []

    def respond(path: str, payload: dict, write: object) -> object:
        if path == "/v1/leaves":
            sent.append(payload)
            return 204, None
        return (200, lead.answer(lead.keys[0])) if sent else (error.status, error.to_json())

    [server, _] = lead.attestors(respond, lead.signing(lead.keys[1]))
    lead.collect()
    assert [path for path, _, _ in server.seen] == [
        "/v1/attestations",
        "/v1/leaves",
        "/v1/attestations",
    ]
    assert (sent[0]["bucket"], sent[0]["sequence"], len(sent[0]["items"])) == (
        lead.landed.bucket,
        lead.landed.sequence,
        1,
    )
    assert lead.row().state == BatchState.ATTESTED


def test_leaves_are_not_sent_without_end(lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attestor is sent a bounded number of batches a conversation, however many it asks for."""
    monkeypatch.setattr(conversation, "LEAVES_SENT_MAX", 3)
    place = (lead.landed.bucket, lead.landed.sequence)
    [server, _] = lead.attestors(missing(*[place] * 20_000), lead.signing(lead.keys[0]))
    with pytest.raises(NotYet, match="missing_leaves: leaves are still missing"):
        lead.collect()
    assert [path for path, _, _ in server.seen].count("/v1/leaves") == 3


def test_signatures_are_stored_as_they_come(lead: Lead) -> None:
    """A signature is in the database before the next attestor has answered: a worker that dies
    while it waits has lost nothing."""
    seen = threading.Event()

    def late(*_: object) -> object:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline and not lead.stored():
            time.sleep(0.02)
        if lead.stored() == {lead.keys[0].address}:
            seen.set()
        return 200, lead.answer(lead.keys[1])

    lead.attestors(lead.signing(lead.keys[0]), late)
    lead.collect()
    assert seen.is_set()


def test_others_hear_of_the_batch(lead: Lead) -> None:
    """An attestor that is a little slower than the first m is still heard: it keeps its own copy of
    the leaves."""

    def slow(*_: object) -> object:
        time.sleep(service.LATE_SECONDS / 2)
        return 200, lead.answer(lead.keys[2])

    lead.attestors(slow, lead.signing(lead.keys[0]), lead.signing(lead.keys[1]))
    lead.collect()
    assert lead.stored() == {key.address for key in lead.keys}


def test_no_thread_is_left(lead: Lead) -> None:
    """Attestors that never answer leave nothing behind that runs on in the worker."""
    before = {thread.name for thread in threading.enumerate()}
    lead.attestors(hang, drip_body)
    with pytest.raises(NotYet):
        lead.collect()
    deadline = time.monotonic() + 5

    def ours() -> set[str]:
        return {
            thread.name for thread in threading.enumerate() if thread.name.startswith("attestation")
        } - before

    while ours() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ours() == set()


def test_names_that_do_not_resolve(lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many attestors whose names nobody answers for hold up neither the others, nor the storing of
    their signatures, nor the end."""
    honest = socket.getaddrinfo

    def resolve(host: object, *arguments: object, **options: object) -> object:
        if str(host).endswith(".test"):
            time.sleep(TIMEOUT_SECONDS * 2)
        return honest(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    lead.attestors(lead.signing(lead.keys[0]), lead.signing(lead.keys[1]))
    lead.program.attestors = [f"http://a{i}.test" for i in range(40)] + lead.program.attestors
    started = time.monotonic()
    lead.collect()
    assert time.monotonic() - started < TIMEOUT_SECONDS
    assert lead.row().state == BatchState.ATTESTED


def low_to_high(signature: str) -> str:
    """The same signature with the other s: recovers to the same key, and no contract takes it."""
    data = bytes.fromhex(signature[2:])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s = order - int.from_bytes(data[32:64], "big")
    return "0x" + (data[:32] + s.to_bytes(32, "big") + bytes([55 - data[64]])).hex()


@pytest.mark.parametrize(
    "change",
    [
        lambda lead, answer: {"attestor": lead.keys[2].address},
        lambda lead, answer: {"attestor": lead.wallet},
        lambda lead, answer: {"signature": "0x"},
        lambda lead, answer: {"signature": "0x" + "00" * 65},
        lambda lead, answer: {"signature": "0x" + "ff" * 64 + "1b"},
        lambda lead, answer: {"signature": answer["signature"][:-2] + "00"},
        lambda lead, answer: {"signature": low_to_high(answer["signature"])},
        lambda lead, answer: {"digest": "0x" + "00" * 32},
        lambda lead, answer: lead.answer(lead.keys[1], digest=b"\1" * 32),
        lambda lead, answer: lead.answer(STRANGER),
    ],
)
def test_bad_signature(lead: Lead, change: object) -> None:
    """What would revert the batch is not stored: another's name, a malformed or malleable
    signature, another digest, a stranger."""
    answer = lead.answer(lead.keys[1])
    lead.attestors(lead.signing(lead.keys[0]), lambda *_: (200, {**answer, **change(lead, answer)}))
    with pytest.raises(
        AttestationRefused, match=r"1 of 2 attestations: (bad_answer|not_an_attestor)"
    ):
        lead.collect()
    assert lead.stored() == {lead.keys[0].address}


def test_contract_attests(lead: Lead) -> None:
    """An attestor that is a contract (EIP-1271) counts like any other."""
    lead.attestors(lead.signing(lead.keys[0]), lead.signing(lead.holder, lead.wallet))
    lead.collect()
    assert lead.stored() == {lead.keys[0].address, lead.wallet}
    assert lead.row().state == BatchState.ATTESTED


def test_contract_that_does_not_accept(lead: Lead) -> None:
    """A signature that the contract at the address does not take is refused as any bad signature
    is."""
    lead.attestors(lead.signing(lead.keys[0]), lead.signing(STRANGER, lead.wallet))
    with pytest.raises(AttestationRefused, match="the signature is not the attestor's"):
        lead.collect()
    assert lead.stored() == {lead.keys[0].address}


def test_key_with_code(lead: Lead) -> None:
    """An attestor's address that has got code (EIP-7702) is asked as a contract, as the Distributor
    does: its key counts no more."""
    node, who = lead.deployed.chain, lead.keys[1]
    node.rpc("anvil_setCode", who.address, "0x60006000fd")
    try:
        lead.attestors(lead.signing(lead.keys[0]), lead.signing(who))
        with pytest.raises(AttestationRefused, match="the signature is not the attestor's"):
            lead.collect()
    finally:
        node.rpc("anvil_setCode", who.address, "0x")


def test_node_cannot_say(lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not answer for a contract is no refusal: the attestor is asked again
    later."""

    def down(*_: object) -> bool:
        raise Unavailable("the node does not answer")

    monkeypatch.setattr(conversation, "accepts_signature", down)
    lead.attestors(lead.signing(lead.keys[0]), lead.signing(lead.holder, lead.wallet))
    with pytest.raises(NotYet, match="unavailable: the node does not answer"):
        lead.collect()


def other_envelope(lead: Lead) -> bytes:
    """The batch gets another envelope, as by a worker that took it up when ours had lost its lock;
    the new digest."""
    with lead.context.database.transaction() as session:
        clear_envelope(session, session.get_one(Batch, lead.batch.id))
    time.sleep(1.1)  # validUntil is in whole seconds
    ensure_envelope(lead.context, lead.program, lead.batch.id)
    assert lead.row().digest != lead.batch.digest
    return lead.row().digest


def test_another_envelope_meanwhile(lead: Lead) -> None:
    """Signatures of an envelope that the batch has lost are not stored, and do not make it
    attested."""

    def lost(key: LocalAccount) -> object:
        def respond(*_: object) -> object:
            if lead.row().digest == lead.batch.digest:
                with lock:
                    if lead.row().digest == lead.batch.digest:
                        other_envelope(lead)
            return 200, lead.answer(key)

        return respond

    lock = threading.Lock()
    lead.attestors(lost(lead.keys[0]), lost(lead.keys[1]))
    with pytest.raises(NotYet, match="another envelope"):
        lead.collect()
    assert lead.stored() == set()
    assert lead.row().state == BatchState.CLOSED


def test_signatures_of_another_envelope_do_not_count(lead: Lead) -> None:
    """Rows that name another digest are no signatures of this one, and give way to those that
    are."""
    with lead.context.database.transaction() as session:
        for key in lead.keys[:2]:
            session.add(
                Attestation(
                    batch_id=lead.batch.id,
                    attestor=key.address,
                    digest=b"\1" * 32,
                    signature=b"\2" * 65,
                )
            )
    lead.attestors(lead.signing(lead.keys[0]))
    with pytest.raises(AttestationRefused, match="1 of 2"):
        lead.collect()
    lead.attestors(lead.signing(lead.keys[1]))
    collect(lead.context, lead.program, lead.batch.id)
    assert lead.row().state == BatchState.ATTESTED
    with lead.context.database.transaction() as session:
        rows = session.scalars(select(Attestation).where(Attestation.batch_id == lead.batch.id))
        assert {row.digest for row in rows} == {lead.batch.digest}
