"""What the tests of pushes do and look at."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from backend.chain.models import OutgoingTransaction, State
from backend.payout import service
from backend.payout.push import Push, Result, push_claims
from tests.support.engine import address
from tests.support.onchain import OnChain

HOUR = 3600


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
