"""Pushing claims on a real chain: what did not pay is sent again, once an attempt, and every
account is told what became of it."""

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from backend.chain.models import OutgoingTransaction, State
from backend.payout import service
from backend.payout.push import Payment, Push, Result, push_claims
from backend.settlement.indexer import index
from tests.support.anvil import anvil
from tests.support.engine import Engine, address
from tests.support.onchain import PAYER, OnChain, on_chain

HOUR = 3600


@pytest.fixture(scope="module")
def chained(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], OnChain]]:
    """Makes programs on one chain."""
    with anvil() as chain:
        folder, open_ = tmp_path_factory.mktemp("keys"), []

        def make() -> OnChain:
            open_.append(on_chain(engine, chain, folder))
            return open_[-1].__enter__()

        yield make
        for one in open_:
            one.__exit__(None, None, None)


@pytest.fixture
def program(chained: Callable[[], OnChain]) -> OnChain:
    """ann, bob and cat are owed 10, 20 and 30."""
    made = chained()
    made.reward([("ann", 10), ("bob", 20), ("cat", 30)])
    return made


def push(program: OnChain, names: str = "ann bob cat", together: int = 16) -> list[Push]:
    return push_claims(
        program.context,
        program.row,
        [address(name) for name in names.split()],
        together=together,
        settle_seconds=20,
    )


def results(pushes: list[Push]) -> dict[str, Result]:
    return {payment.account: payment.result for one in pushes for payment in one.payments}


def of(program: OnChain, **expected: Result) -> dict[str, Result]:
    return {address(name): result for name, result in expected.items()}


def sent(program: OnChain) -> list[OutgoingTransaction]:
    with program.engine.database.transaction() as session:
        query = select(OutgoingTransaction).where(
            OutgoingTransaction.to_address == program.program.address
        )
        return list(session.scalars(query.order_by(OutgoingTransaction.nonce)))


def before_sending(
    program: OnChain, monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]
) -> None:
    """Let `what` happen once between the storing of a transaction and its broadcast."""
    broadcast, done = program.context.payer.broadcast, []

    def late(*arguments: object) -> State:
        if not done:
            done.append(what())
        return broadcast(*arguments)

    monkeypatch.setattr(program.context.payer, "broadcast", late)


def stranger_claims(program: OnChain, name: str) -> None:
    with program.engine.database.snapshot() as session:
        data = service.claim_call(session, program.row, address(name)).calldata
    program.program.send(data, sender=2)


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


def test_lost_nonce(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else uses the paying key's nonce: the push says so, and the next one pays under
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
