"""Pushing claims on a real chain: what did not pay is sent again, once an attempt, and every
account is told what became of it."""

import threading
from typing import Any

import pytest
from sqlalchemy import select

from backend.chain import calldata
from backend.chain.models import State
from backend.payout import service
from backend.payout.models import Payout, PayoutAttempt
from backend.payout.push import Payment, Push, Result, push_claims
from backend.settlement.indexer import index
from tests.payout.pushing import HOUR, before_sending, of, push, results, sent, stranger_claims
from tests.support.engine import address
from tests.support.onchain import PAYER, OnChain


@pytest.mark.parametrize("together", [1, 16])
def test_paused_in_between(
    program: OnChain, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Claims are paused after the simulation: the transactions revert and say so; when they are
    unpaused the very same call pays, once."""
    before_sending(program, monkeypatch, lambda: program.call("pauseClaims", HOUR))
    first = push(program, "ann", together)
    assert results(first) == of(program, ann=Result.REFUSED)
    assert "reverted in block" in first[0].payments[0].reason
    assert results(push(program, "ann", together)) == of(program, ann=Result.REFUSED)
    assert len(sent(program)) == 1, "nothing is sent that a simulation refuses"
    program.call("unpauseClaims")
    [again] = push(program, "ann", together)
    assert again.payments == [Payment(address("ann"), Result.PAID, 10)]
    assert again.accounts == [address("ann")]
    rows = sent(program)
    assert [row.state for row in rows] == [State.FAILED, State.FINAL]
    assert rows[0].data == rows[1].data
    assert "0x" + rows[1].mined_hash.hex() == again.tx_hash
    assert program.balance("ann") == 10


def test_settled_and_not_booked_yet(program: OnChain) -> None:
    """Pushing again what the chain has paid and nobody has booked sends nothing, and tells by which
    transaction it was paid."""
    first = push(program)
    assert push(program) == first
    assert results(first) == of(program, ann=Result.PAID, bob=Result.PAID, cat=Result.PAID)
    assert len(sent(program)) == 1
    index(program.context, program.id)
    assert push(program) == []


def test_a_claim_that_is_paid_and_not_booked_is_not_bought_again(program: OnChain) -> None:
    """Another grouping of accounts is another call. Those whom the chain owes nothing any more are
    left out of it, and those whom it owes are paid."""
    push(program, "ann bob")
    pushed = push(program, "ann cat")
    assert results(pushed) == of(program, ann=Result.ALREADY_PAID, cat=Result.PAID)
    assert len(sent(program)) == 2
    names = [bytes.fromhex(address(name)[2:]) in sent(program)[-1].data for name in ("ann", "cat")]
    assert names == [False, True]


def test_a_payout_is_of_what_its_claim_names(
    program: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More becomes final for an account while a run turns to its plain claim: the payout that is
    recorded as paid is that of the cumulative in the claim."""
    program.token("setBlocked", address("bob"), True)
    push(program)
    program.token("setBlocked", address("bob"), False)
    claim_call, rewarded = service.claim_call, []

    def later(*arguments: Any) -> Any:
        if not rewarded:
            rewarded.append(True)
            program.reward([("bob", 5)])
        return claim_call(*arguments)

    monkeypatch.setattr(service, "claim_call", later)
    assert results(push(program))[address("bob")] == Result.PAID
    assert rewarded
    call = sent(program)[-1]
    assert call.data[:4] == calldata.CLAIM
    with program.engine.database.transaction() as session:
        query = select(Payout.cumulative).join(PayoutAttempt, PayoutAttempt.payout_id == Payout.id)
        paid = session.scalars(query.where(PayoutAttempt.transaction_id == call.id)).one()
    assert int.from_bytes(call.data[4 + 4 * 32 :][:32], "big") == paid


def test_lost_nonce(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program uses the paying key's nonce: the push says so, and the next one pays under
    another nonce."""
    payer, w3 = program.chain.key(PAYER), program.chain.w3

    def steal() -> None:
        transaction = {
            "nonce": w3.eth.get_transaction_count(payer.address),
            "to": payer.address,
            "value": 0,
            "gas": 21_000,
            "gasPrice": 10**10,
            "chainId": w3.eth.chain_id,
        }
        w3.eth.wait_for_transaction_receipt(
            w3.eth.send_raw_transaction(payer.sign_transaction(transaction).raw_transaction)
        )

    before_sending(program, monkeypatch, steal)
    [lost] = push(program)
    assert {payment.result for payment in lost.payments} == {Result.REFUSED}
    assert "is lost" in lost.payments[0].reason
    assert set(results(push(program)).values()) == {Result.PAID}
    assert [row.state for row in sent(program)] == [State.LOST, State.FINAL]
    assert [program.balance(name) for name in ("ann", "bob", "cat")] == [10, 20, 30]


def test_front_run(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger pushes the claim while ours is on its way: already paid, not a failure, and not
    sent again."""
    before_sending(program, monkeypatch, lambda: stranger_claims(program, "ann"))
    assert results(push(program, "ann", together=1)) == of(program, ann=Result.ALREADY_PAID)
    assert results(push(program, "ann", together=1)) == of(program, ann=Result.ALREADY_PAID)
    assert [row.state for row in sent(program)] == [State.FAILED]
    assert program.balance("ann") == 10


def test_one_of_many_is_front_run(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the accounts of one call each has its own outcome, from the events."""
    before_sending(program, monkeypatch, lambda: stranger_claims(program, "bob"))
    assert results(push(program)) == of(
        program, ann=Result.PAID, bob=Result.ALREADY_PAID, cat=Result.PAID
    )


def test_refused_by_the_token(program: OnChain) -> None:
    """The token refuses one recipient: skipped, the others are paid. A later push, booked or not,
    sends nothing while it would be refused again, and says so; once the token takes it, it pays."""
    program.token("setBlocked", address("bob"), True)
    assert results(push(program)) == of(
        program, ann=Result.PAID, bob=Result.SKIPPED, cat=Result.PAID
    )
    unbooked = push(program)
    assert results(unbooked) == of(program, ann=Result.PAID, bob=Result.REFUSED, cat=Result.PAID)
    index(program.context, program.id)
    assert results(push(program)) == of(program, bob=Result.SKIPPED)
    [refused] = push(program)
    assert refused.tx_hash is None
    assert "would revert with" in refused.payments[0].reason
    assert len(sent(program)) == 2
    program.token("setBlocked", address("bob"), False)
    [paid] = push(program)
    assert paid.payments == [Payment(address("bob"), Result.PAID, 20)]
    assert program.balance("bob") == 20


def test_one_reverting_account_does_not_end_the_run(program: OnChain) -> None:
    """One claim a transaction: who would be refused is told, and those after it are paid."""
    program.token("setBlocked", address("ann"), True)
    stranger_claims(program, "bob")
    pushes = push(program, together=1)
    assert results(pushes) == of(
        program, ann=Result.REFUSED, bob=Result.ALREADY_PAID, cat=Result.PAID
    )
    assert len(sent(program)) == 1
    assert sum(len(one.accounts) for one in pushes) == 1


def test_key_cannot_pay(program: OnChain) -> None:
    """A paying key without ether: nothing is sent, and every account waits with the reason."""
    payer = program.chain.key(PAYER).address
    program.chain.rpc("anvil_setBalance", payer, "0x0")
    pushes = push(program, together=1)
    program.chain.rpc("anvil_setBalance", payer, hex(10**20))
    assert results(pushes) == of(
        program, ann=Result.WAITING, bob=Result.WAITING, cat=Result.WAITING
    )
    assert "fund it" in pushes[-1].payments[0].reason
    assert sent(program) == []


def test_two_commands_at_once(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that find the same failed attempt make one new one between them, and both report
    it."""
    before_sending(program, monkeypatch, lambda: program.call("pauseClaims", HOUR))
    push(program)
    program.call("unpauseClaims")
    monkeypatch.undo()
    made: list[list[Push]] = []
    runs = [threading.Thread(target=lambda: made.append(push(program))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [row.state for row in sent(program)] == [State.FAILED, State.FINAL]
    assert made[0] == made[1]
    assert set(results(made[0]).values()) == {Result.PAID}


def test_more_accounts_than_postgres_has_parameters(program: OnChain) -> None:
    """A push for 70,000 addresses is one query, not one parameter each."""
    many = [f"0x{number:040x}" for number in range(70_000)]
    for together in (1, 16):
        assert push_claims(program.context, program.row, many, together=together) == []
