"""Payouts as rows: what a push leaves behind when it dies, and what keeps two pushes apart."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from backend.account.models import Account
from backend.chain.distributor import Distributor
from backend.chain.events import Event
from backend.chain.models import OutgoingTransaction, State
from backend.errors import Unavailable
from backend.payout import push as pushing
from backend.payout import repository, service
from backend.payout.models import Payout, PayoutAttempt
from backend.payout.push import Result
from backend.settlement.indexer import index
from backend.settlement.post_track import track_orphaned
from tests.payout.pushing import before_sending, of, push, results, sent, stranger_claims
from tests.support.engine import address
from tests.support.onchain import OnChain


class Row(NamedTuple):
    """A payout with the states of its attempts, oldest first."""

    name: str
    cumulative: int
    state: str
    attempts: list[str]


def rows(program: OnChain) -> list[Row]:
    """The program's payouts by account, in order of cumulative."""
    names = {address(name): name for name in ("ann", "bob", "cat")}
    with program.engine.database.transaction() as session:
        found = session.execute(
            select(Account.address, Payout)
            .join(Account, Account.id == Payout.account_id)
            .where(Payout.program_id == program.id)
            .order_by(Account.slot, Payout.cumulative)
        ).all()
        return [
            Row(
                names[owner],
                payout.cumulative,
                payout.state,
                list(
                    session.scalars(
                        select(PayoutAttempt.state)
                        .where(PayoutAttempt.payout_id == payout.id)
                        .order_by(PayoutAttempt.id)
                    )
                ),
            )
            for owner, payout in found
        ]


class Killed(BaseException):
    """Acts as SIGKILL: nothing catches it, and open transactions roll back."""


def kill_at(monkeypatch: pytest.MonkeyPatch, place: str, hit: int = 1) -> None:
    """Die when a push comes to a failpoint for the nth time."""
    hits: list[str] = []

    def failpoint(name: str) -> None:
        hits.append(name)
        if hits.count(place) == hit:
            raise Killed(place)

    monkeypatch.setattr(pushing, "failpoint", failpoint)


ALL_PAID = [
    Row("ann", 10, "paid", ["paid"]),
    Row("bob", 20, "paid", ["paid"]),
    Row("cat", 30, "paid", ["paid"]),
]


@pytest.mark.parametrize("together", [1, 16])
def test_a_push_is_written_down(program: OnChain, together: int) -> None:
    """Each account has a payout that is paid, by one attempt."""
    push(program, together=together)
    assert rows(program) == ALL_PAID
    assert push(program, together=together) != []
    assert rows(program) == ALL_PAID, "pushing again what is not recorded adds nothing"


@pytest.mark.parametrize("place", ["push.opened", "push.stored", "push.sent", "push.settled"])
def test_killed(program: OnChain, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Wherever a push dies, the next one goes on: everybody is paid once, by one transaction."""
    kill_at(monkeypatch, place)
    with pytest.raises(Killed):
        push(program)
    assert [row.state for row in rows(program)] == ["open"] * 3
    monkeypatch.undo()
    assert set(results(push(program)).values()) == {Result.PAID}
    assert rows(program) == ALL_PAID
    assert len(sent(program)) == 1
    assert [program.balance(name) for name in ("ann", "bob", "cat")] == [10, 20, 30]


def test_a_dead_push_is_joined_whatever_the_calls(
    program: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next push makes other calls, and still joins the transaction that is under way."""
    kill_at(monkeypatch, "push.stored")
    with pytest.raises(Killed):
        push(program, "ann bob")
    monkeypatch.undo()
    pushes = push(program, together=1)
    assert results(pushes) == of(program, ann=Result.PAID, bob=Result.PAID, cat=Result.PAID)
    assert [len(one.payments) for one in pushes] == [2, 1]
    assert len(sent(program)) == 2
    assert rows(program) == ALL_PAID


def test_what_a_dead_push_did_is_recorded(
    program: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker settled its transaction, and the indexer recorded the claims: nothing is owed any
    more, and the next push closes the rows."""
    kill_at(monkeypatch, "push.stored")
    with pytest.raises(Killed):
        push(program)
    monkeypatch.undo()
    for _ in range(3):
        track_orphaned(program.context)
    index(program.context, program.id)
    assert [row.attempts for row in rows(program)] == [["open"]] * 3
    assert push(program) == []
    assert rows(program) == ALL_PAID


def test_a_receipt_that_is_missing_stops_nobody_else(
    program: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pruned node, or a reorg: the outcome of a dead push cannot be read. Others are paid."""
    kill_at(monkeypatch, "push.settled")
    with pytest.raises(Killed):
        push(program, "ann bob")
    monkeypatch.undo()
    [dead] = sent(program)
    events_of = Distributor.events_of

    def pruned(distributor: Distributor, tx_hash: bytes) -> list[Event]:
        if tx_hash == dead.mined_hash:
            raise Unavailable("the node has no receipt")
        return events_of(distributor, tx_hash)

    monkeypatch.setattr(Distributor, "events_of", pruned)
    assert results(push(program, "cat")) == of(program, cat=Result.PAID)
    monkeypatch.undo()
    index(program.context, program.id)
    assert push(program) == []
    assert rows(program) == ALL_PAID


def test_an_operators_transaction_is_tracked(program: OnChain) -> None:
    """A transaction of the poster's key to an address that is no Distributor, whose command died
    before it was sent, is sent by the worker: its nonce would hold up all later ones."""
    context = program.context
    with context.database.transaction() as session:
        row = context.poster.enqueue(session, "fund:demo:0123:fund", context.poster.address, b"")
        transaction_id, nonce = row.id, row.nonce
    for _ in range(3):
        track_orphaned(context)
    with context.database.transaction() as session:
        assert session.get_one(OutgoingTransaction, transaction_id).state == State.MINED
    assert context.node.transaction_count(context.poster.address) == nonce + 1


@pytest.mark.parametrize("first", [1, 2, 16])
def test_two_pushes_at_once(program: OnChain, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Two pushes whose calls differ run at the same time: no account is named in two transactions,
    and both pushes report it as paid, or as paid already."""
    start = threading.Barrier(2)
    opened: Callable[[str], None] = pushing.failpoint

    waited: set[int] = set()

    def together(name: str) -> None:
        if name == "push.opened" and threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            start.wait(10)  # Both have looked, and neither has stored a call.
        opened(name)

    monkeypatch.setattr(pushing, "failpoint", together)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(push, program, together=size) for size in (first, 3)]
        outcomes = [results(run.result(60)) for run in runs]
    for account in (address(name) for name in ("ann", "bob", "cat")):
        # What the chain has paid by then, the slower push does not buy again.
        told = {outcome[account] for outcome in outcomes}
        assert Result.PAID in told <= {Result.PAID, Result.ALREADY_PAID}
    assert rows(program) == ALL_PAID
    assert [program.balance(name) for name in ("ann", "bob", "cat")] == [10, 20, 30]


def test_one_open_attempt(program: OnChain) -> None:
    """The database refuses a second open attempt of one payout."""
    push(program, "ann")
    push(program, "bob")
    first, second = sent(program)
    with program.engine.database.transaction() as session:
        owed = service.owed(session, program.row, [address("cat")])
        repository.open_payouts(session, program.id, owed)
        repository.open_payouts(session, program.id, owed)
        ids = repository.lock(session, owed)
        repository.add_attempts(session, ids, first.id)
        repository.add_attempts(session, ids, first.id)
    with (
        pytest.raises(IntegrityError, match="uq_payout_attempt_open"),
        program.engine.database.transaction() as session,
    ):
        repository.add_attempts(session, ids, second.id)
    with program.engine.database.transaction() as session:
        assert repository.under_way(session, owed) == {owed[0].account_id: first.id}


def test_refused_and_paid_later(program: OnChain) -> None:
    """A payout that the token refuses stays open and says why. Each transaction is an attempt."""
    program.token("setBlocked", address("bob"), True)
    push(program)
    index(program.context, program.id)
    push(program)
    push(program)
    assert rows(program)[1] == Row("bob", 20, "open", ["skipped", "skipped"])
    with program.engine.database.transaction() as session:
        note = session.scalars(
            select(Payout.note).where(Payout.program_id == program.id, Payout.state == "open")
        ).one()
    assert note is not None
    assert "would revert with" in note
    program.token("setBlocked", address("bob"), False)
    push(program)
    assert rows(program)[1] == Row("bob", 20, "paid", ["skipped", "skipped", "paid"])


def test_paid_by_somebody_else(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's claim closes the payout once the indexer has recorded it."""
    before_sending(program, monkeypatch, lambda: stranger_claims(program, "ann"))
    push(program, "ann", together=1)
    assert rows(program) == [Row("ann", 10, "open", ["already_paid"])]
    index(program.context, program.id)
    assert push(program, "ann") == []
    assert rows(program) == [Row("ann", 10, "paid_elsewhere", ["already_paid"])]


def test_what_is_earned_later_is_another_payout(program: OnChain) -> None:
    """A higher cumulative has a row of its own."""
    push(program, "ann")
    index(program.context, program.id)
    program.reward([("ann", 5)])
    push(program, "ann")
    assert rows(program) == [Row("ann", 10, "paid", ["paid"]), Row("ann", 15, "paid", ["paid"])]
