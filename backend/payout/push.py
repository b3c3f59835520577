"""Pushing claims for accounts: the operator pays the gas, the Distributor pays the account."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from eth_utils import keccak
from sqlalchemy import select

from backend.account.models import Account
from backend.chain.models import OPEN, OutgoingTransaction, State
from backend.context import Context
from backend.errors import Conflict, NotYet
from backend.kit.failpoint import failpoint
from backend.payout import service
from backend.program.models import Program

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Push:
    """One settled transaction and the accounts that it pays."""

    accounts: list[str]
    tx_hash: str
    gas_used: int


def push_claims(
    context: Context, program: Program, addresses: list[str], *, together: int, settle_seconds: float = 600,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Push]:  # fmt: skip
    """Push everything that the chain owes to `addresses`, up to `together` accounts a call (1: plain claims), and wait until it is mined.

    A call is known by its calldata, which names the cumulatives: pushing again what is under way joins it. `progress` is told how many
    accounts are done.

    Raises:
        Conflict: a transaction reverted or its nonce was used by somebody else.
        NotYet: not settled after `settle_seconds`; push again to go on waiting.
    """
    with context.database.snapshot() as session:
        if together == 1:
            calls = [
                ([address], service.claim_call(session, program, address).calldata)
                for address in _owed(session, program, addresses)
            ]
        else:
            calls = service.claim_many_calls(session, program, addresses, together)
    sent = []
    for accounts, data in calls:
        with context.database.transaction() as session:
            purpose = f"claim {program.chain_id} {program.distributor} {keccak(data).hex()}"
            sent.append((accounts, context.payer.enqueue(session, purpose, program.distributor, data).id))
        failpoint("push.stored")
        with context.database.transaction() as session:
            context.payer.broadcast(session, sent[-1][1])
        failpoint("push.sent")
    pushes = []
    for accounts, transaction_id in sent:
        row = _settled(context, program, transaction_id, settle_seconds)
        pushes.append(Push(accounts, "0x" + row.mined_hash.hex(), row.gas_used))
        progress(len(accounts))
    return pushes


def _owed(session: object, program: Program, addresses: list[str]) -> list[str]:
    query = select(Account.address).where(
        Account.program_id == program.id, Account.address.in_(addresses), Account.posted > Account.claimed
    )
    return list(session.scalars(query.order_by(Account.bucket, Account.slot)))


def _settled(context: Context, program: Program, transaction_id: int, seconds: float) -> OutgoingTransaction:
    deadline = time.monotonic() + seconds
    while True:
        with context.database.transaction() as session:
            state = context.payer.advance(session, transaction_id, program.finality)
            row = session.get_one(OutgoingTransaction, transaction_id)
        if state is State.FINAL:
            return row
        if state not in OPEN:
            raise Conflict(f"the claim's transaction is {state}: {row.note}")
        if time.monotonic() > deadline:
            raise NotYet(f"the claim's transaction is still {state}: {row.note or 'waiting for a block'}")
        time.sleep(POLL_SECONDS)
