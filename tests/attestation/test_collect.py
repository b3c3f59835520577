"""Collecting signatures from attestors that lie, hang, die and ask for nonsense: m honest ones are
enough, and nothing else is stored."""

import socket
import threading
import time
from types import SimpleNamespace

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
from tests.attestation.conftest import TIMEOUT_SECONDS, Coordinator
from tests.attestation.servers import drip_body, drip_head, hang
from tests.support.engine import report
from tests.support.patience import idle_seconds

STRANGER = Account.from_key(b"\x55" * 32)


def missing(*batches: tuple[int, int]) -> object:
    """An attestor that lacks these batches, whatever it is sent."""
    error = MissingLeaves("", batches)
    said = error.to_json()
    del said["error"]["distributor"]
    return lambda path, *_: (204, None) if path == "/v1/leaves" else (error.status, said)


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
def test_one_bad_attestor(coordinator: Coordinator, bad: object) -> None:
    """Whatever one attestor does, the two others' signatures are stored and the batch goes on, in a
    second and not in a time-out."""
    coordinator.attestors(
        bad, coordinator.signing(coordinator.keys[0]), coordinator.signing(coordinator.keys[1])
    )
    started = time.monotonic()
    coordinator.collect()
    assert idle_seconds(started) < TIMEOUT_SECONDS
    assert coordinator.row().state == BatchState.ATTESTED
    assert coordinator.stored() == {key.address for key in coordinator.keys[:2]}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_too_few_good_attestors(coordinator: Coordinator, bad: object) -> None:
    """With too few others the batch waits, or says why it cannot be; the good signature is kept for
    the next try, which ends in time."""
    coordinator.attestors(bad, coordinator.signing(coordinator.keys[0]))
    started = time.monotonic()
    with pytest.raises((NotYet, AttestationRefused), match=r"^1 of 2 attestations: .+"):
        coordinator.collect()
    assert idle_seconds(started) < TIMEOUT_SECONDS + 2
    assert coordinator.row().state == BatchState.CLOSED
    assert coordinator.stored() == {coordinator.keys[0].address}
    coordinator.attestors(coordinator.signing(coordinator.keys[1]))
    coordinator.collect()
    assert coordinator.row().state == BatchState.ATTESTED


def test_what_went_wrong_is_told_in_the_note(coordinator: Coordinator) -> None:
    """An attestor that waits for its chain is one to ask again, and the batch's note says so."""
    behind = StateBehind("its chain is behind")
    coordinator.attestors(
        lambda *_: (behind.status, behind.to_json()),
        missing((77, 999)),
        coordinator.signing(coordinator.keys[0]),
    )
    with pytest.raises(NotYet) as caught:
        coordinator.collect()
    assert caught.value.message == (
        "1 of 2 attestations: bad_answer: asked for batch 999 of bucket 77, which the ledger "
        "does not have; "
        "state_behind: its chain is behind"
    )


def test_leaves_are_sent(coordinator: Coordinator) -> None:
    """An attestor that lacks leaves gets them and is asked once more."""
    error = MissingLeaves(
        coordinator.program.distributor, [(coordinator.landed.bucket, coordinator.landed.sequence)]
    )
    sent = []

    def respond(path: str, payload: dict, write: object) -> object:
        if path == "/v1/leaves":
            sent.append(payload)
            return 204, None
        return (
            (200, coordinator.answer(coordinator.keys[0]))
            if sent
            else (error.status, error.to_json())
        )

    [server, _] = coordinator.attestors(respond, coordinator.signing(coordinator.keys[1]))
    coordinator.collect()
    assert [path for path, _, _ in server.seen] == [
        "/v1/attestations",
        "/v1/leaves",
        "/v1/attestations",
    ]
    assert (sent[0]["bucket"], sent[0]["sequence"], len(sent[0]["items"])) == (
        coordinator.landed.bucket,
        coordinator.landed.sequence,
        1,
    )
    assert coordinator.row().state == BatchState.ATTESTED


@pytest.mark.parametrize("ended", [True, False])
def test_leaves_of_a_predecessor_are_sent_once_it_has_ended(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """The leaves of a program that is at work are not for the attestors of another."""
    before = coordinator.engine.program()
    coordinator.engine.take_in(before, [report("first")])
    [landed] = coordinator.engine.settle(before)
    error = MissingLeaves(before.distributor, [(landed.bucket, landed.sequence)])
    sent = []

    def respond(path: str, payload: dict, write: object) -> object:
        if path == "/v1/leaves":
            sent.append(payload["distributor"])
            return 204, None
        return (200, coordinator.answer(coordinator.keys[0])) if sent else (409, error.to_json())

    real = coordinator.context.distributor
    set_of_none = SimpleNamespace(attestors=lambda block: ((before.distributor,), 1, 2))
    monkeypatch.setattr(
        coordinator.context,
        "distributor",
        lambda it: set_of_none if ended and it.id == before.id else real(it),
    )
    coordinator.attestors(respond, coordinator.signing(coordinator.keys[1]))
    if ended:
        coordinator.collect()
        assert sent == [before.distributor]
    else:
        with pytest.raises(AttestationRefused, match="which the ledger does not have"):
            coordinator.collect()
        assert sent == []


def test_leaves_are_not_sent_without_end(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attestor is sent a bounded number of batches a conversation, however many it asks for."""
    monkeypatch.setattr(conversation, "LEAVES_SENT_MAX", 3)
    place = (coordinator.landed.bucket, coordinator.landed.sequence)
    [server, _] = coordinator.attestors(
        missing(*[place] * 20_000), coordinator.signing(coordinator.keys[0])
    )
    with pytest.raises(NotYet, match="missing_leaves: leaves are still missing"):
        coordinator.collect()
    assert [path for path, _, _ in server.seen].count("/v1/leaves") == 3


def test_signatures_are_stored_as_they_come(coordinator: Coordinator) -> None:
    """A signature is in the database before the next attestor has answered: a worker that dies
    while it waits has lost nothing."""
    seen = threading.Event()

    def late(*_: object) -> object:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline and not coordinator.stored():
            time.sleep(0.02)
        if coordinator.stored() == {coordinator.keys[0].address}:
            seen.set()
        return 200, coordinator.answer(coordinator.keys[1])

    coordinator.attestors(coordinator.signing(coordinator.keys[0]), late)
    coordinator.collect()
    assert seen.is_set()


def test_others_hear_of_the_batch(coordinator: Coordinator) -> None:
    """An attestor that is a little slower than the first m is still heard: it keeps its own copy of
    the leaves."""

    def slow(*_: object) -> object:
        time.sleep(service.LATE_SECONDS / 2)
        return 200, coordinator.answer(coordinator.keys[2])

    coordinator.attestors(
        slow, coordinator.signing(coordinator.keys[0]), coordinator.signing(coordinator.keys[1])
    )
    coordinator.collect()
    assert coordinator.stored() == {key.address for key in coordinator.keys}


def test_no_thread_is_left(coordinator: Coordinator) -> None:
    """Attestors that never answer leave nothing behind that runs on in the worker."""
    before = {thread.name for thread in threading.enumerate()}
    coordinator.attestors(hang, drip_body)
    with pytest.raises(NotYet):
        coordinator.collect()
    deadline = time.monotonic() + 5

    def ours() -> set[str]:
        return {
            thread.name for thread in threading.enumerate() if thread.name.startswith("attestation")
        } - before

    while ours() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ours() == set()


def test_names_that_do_not_resolve(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many attestors whose names nobody answers for hold up neither the others, nor the storing of
    their signatures, nor the end."""
    honest = socket.getaddrinfo

    def resolve(host: object, *arguments: object, **options: object) -> object:
        if str(host).endswith(".test"):
            time.sleep(TIMEOUT_SECONDS * 2)
        return honest(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    coordinator.attestors(
        coordinator.signing(coordinator.keys[0]), coordinator.signing(coordinator.keys[1])
    )
    coordinator.program.attestors = [
        f"http://a{i}.test" for i in range(40)
    ] + coordinator.program.attestors
    started = time.monotonic()
    coordinator.collect()
    assert idle_seconds(started) < TIMEOUT_SECONDS
    assert coordinator.row().state == BatchState.ATTESTED


def low_to_high(signature: str) -> str:
    """The same signature with the other s: recovers to the same key, and no contract takes it."""
    data = bytes.fromhex(signature[2:])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s = order - int.from_bytes(data[32:64], "big")
    return "0x" + (data[:32] + s.to_bytes(32, "big") + bytes([55 - data[64]])).hex()


@pytest.mark.parametrize(
    "change",
    [
        lambda coordinator, answer: {"attestor": coordinator.keys[2].address},
        lambda coordinator, answer: {"attestor": coordinator.wallet},
        lambda coordinator, answer: {"signature": "0x"},
        lambda coordinator, answer: {"signature": "0x" + "00" * 65},
        lambda coordinator, answer: {"signature": "0x" + "ff" * 64 + "1b"},
        lambda coordinator, answer: {"signature": answer["signature"][:-2] + "00"},
        lambda coordinator, answer: {"signature": low_to_high(answer["signature"])},
        lambda coordinator, answer: {"digest": "0x" + "00" * 32},
        lambda coordinator, answer: coordinator.answer(coordinator.keys[1], digest=b"\1" * 32),
        lambda coordinator, answer: coordinator.answer(STRANGER),
    ],
)
def test_bad_signature(coordinator: Coordinator, change: object) -> None:
    """What would revert the batch is not stored: another's name, a malformed or malleable
    signature, another digest, a stranger."""
    answer = coordinator.answer(coordinator.keys[1])
    coordinator.attestors(
        coordinator.signing(coordinator.keys[0]),
        lambda *_: (200, {**answer, **change(coordinator, answer)}),
    )
    with pytest.raises(
        AttestationRefused, match=r"1 of 2 attestations: (bad_answer|not_an_attestor)"
    ):
        coordinator.collect()
    assert coordinator.stored() == {coordinator.keys[0].address}


def test_contract_attests(coordinator: Coordinator) -> None:
    """An attestor that is a contract (EIP-1271) counts like any other."""
    coordinator.attestors(
        coordinator.signing(coordinator.keys[0]),
        coordinator.signing(coordinator.holder, coordinator.wallet),
    )
    coordinator.collect()
    assert coordinator.stored() == {coordinator.keys[0].address, coordinator.wallet}
    assert coordinator.row().state == BatchState.ATTESTED


def test_contract_that_does_not_accept(coordinator: Coordinator) -> None:
    """A signature that the contract at the address does not take is refused as any bad signature
    is."""
    coordinator.attestors(
        coordinator.signing(coordinator.keys[0]), coordinator.signing(STRANGER, coordinator.wallet)
    )
    with pytest.raises(AttestationRefused, match="the signature is not the attestor's"):
        coordinator.collect()
    assert coordinator.stored() == {coordinator.keys[0].address}


def test_key_with_code(coordinator: Coordinator) -> None:
    """An attestor's address with a contract's code is asked as a contract, as the Distributor does:
    its key counts no more. A delegation (EIP-7702) takes nothing from its key."""
    node, who = coordinator.deployed.chain, coordinator.keys[1]
    node.rpc("anvil_setCode", who.address, "0x60006000fd")
    try:
        coordinator.attestors(coordinator.signing(coordinator.keys[0]), coordinator.signing(who))
        with pytest.raises(AttestationRefused, match="the signature is not the attestor's"):
            coordinator.collect()
        node.rpc("anvil_setCode", who.address, "0xef0100" + "11" * 20)
        coordinator.collect()
    finally:
        node.rpc("anvil_setCode", who.address, "0x")
    assert who.address in coordinator.stored()


def test_node_cannot_say(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not answer for a contract is no refusal: the attestor is asked again
    later."""

    def down(*_: object) -> bool:
        raise Unavailable("the node does not answer")

    monkeypatch.setattr(conversation, "is_attestors", down)
    coordinator.attestors(
        coordinator.signing(coordinator.keys[0]),
        coordinator.signing(coordinator.holder, coordinator.wallet),
    )
    with pytest.raises(NotYet, match="unavailable: the node does not answer"):
        coordinator.collect()


def other_envelope(coordinator: Coordinator) -> bytes:
    """The batch gets another envelope, as by a worker that took it up when ours had lost its lock;
    the new digest."""
    with coordinator.context.database.transaction() as session:
        clear_envelope(session, session.get_one(Batch, coordinator.batch.id))
    time.sleep(1.1)  # validUntil is in whole seconds
    ensure_envelope(coordinator.context, coordinator.program, coordinator.batch.id)
    assert coordinator.row().digest != coordinator.batch.digest
    return coordinator.row().digest


def test_another_envelope_meanwhile(coordinator: Coordinator) -> None:
    """Signatures of an envelope that the batch has lost are not stored, and do not make it
    attested."""

    def lost(key: LocalAccount) -> object:
        def respond(*_: object) -> object:
            if coordinator.row().digest == coordinator.batch.digest:
                with lock:
                    if coordinator.row().digest == coordinator.batch.digest:
                        other_envelope(coordinator)
            return 200, coordinator.answer(key)

        return respond

    lock = threading.Lock()
    coordinator.attestors(lost(coordinator.keys[0]), lost(coordinator.keys[1]))
    with pytest.raises(NotYet, match="another envelope"):
        coordinator.collect()
    assert coordinator.stored() == set()
    assert coordinator.row().state == BatchState.CLOSED


def test_signatures_of_another_envelope_do_not_count(coordinator: Coordinator) -> None:
    """Rows that name another digest are no signatures of this one, and give way to those that
    are."""
    with coordinator.context.database.transaction() as session:
        for key in coordinator.keys[:2]:
            session.add(
                Attestation(
                    batch_id=coordinator.batch.id,
                    attestor=key.address,
                    digest=b"\1" * 32,
                    signature=b"\2" * 65,
                )
            )
    coordinator.attestors(coordinator.signing(coordinator.keys[0]))
    with pytest.raises(AttestationRefused, match="1 of 2"):
        coordinator.collect()
    coordinator.attestors(coordinator.signing(coordinator.keys[1]))
    collect(coordinator.context, coordinator.program, coordinator.batch.id)
    assert coordinator.row().state == BatchState.ATTESTED
    with coordinator.context.database.transaction() as session:
        rows = session.scalars(
            select(Attestation).where(Attestation.batch_id == coordinator.batch.id)
        )
        assert {row.digest for row in rows} == {coordinator.batch.digest}
