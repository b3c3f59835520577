"""Pushing claims for accounts: the operator pays the gas, the Distributor pays the account."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from eth_utils import keccak
from sqlalchemy import select

from backend.account.models import Account
from backend.chain import calldata
from backend.chain.events import Claimed, PayoutSkipped
from backend.chain.models import OPEN, OutgoingTransaction, State
from backend.chain.reverts import explain_revert
from backend.chain.sender import SimulationReverted
from backend.context import Context
from backend.errors import Invalid, NotYet
from backend.kit.failpoint import failpoint
from backend.payout import service
from backend.program.models import Program

POLL_SECONDS = 0.1
ALREADY_PAID = 0
"""The contract's SkipReason for a payout that was paid before; the other one is a transfer that the
token refused."""


class Result(StrEnum):
    """What became of one account's push."""

    PAID = "paid"
    ALREADY_PAID = "already_paid"
    """The chain owes it nothing any more: another transaction was first."""
    SKIPPED = "skipped"
    """The token refused the transfer; the others of the call are paid. It is still owed."""
    REFUSED = "refused"
    """The call would revert, or did, or its nonce was used by somebody else. It is still owed."""
    WAITING = "waiting"
    """Not sent yet, or not settled yet: push again to go on."""


@dataclass(frozen=True)
class Payment:
    """One account's outcome. `amount` in base units is what the transaction paid it; `reason` says
    why it did not."""

    account: str
    result: Result
    amount: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Push:
    """One transaction, or a call that never became one (no hash), and what became of each account
    that it names."""

    payments: list[Payment]
    tx_hash: str | None = None
    gas_used: int = 0

    @property
    def accounts(self) -> list[str]:
        """The accounts that this transaction paid."""
        return [payment.account for payment in self.payments if payment.result is Result.PAID]


def push_claims(
    context: Context,
    program: Program,
    addresses: list[str],
    *,
    together: int,
    settle_seconds: float = 600,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Push]:
    """Push everything that the chain owes to `addresses`, up to `together` accounts a call (1:
    plain claims), and wait until it is settled.

    A call is known by its calldata, which names the cumulatives: pushing again what is under way
    joins it. What has settled and left the chain owing is sent once more under a numbered purpose,
    each account that the token refused by itself and only if a simulation pays it. `progress` is
    told how many accounts are done.

    Raises:
        Conflict: the program is on another chain than the node.
        Unavailable: the node does not answer; push again to go on.
    """
    context.require_chain(program)
    with context.database.snapshot() as session:
        owed = {
            account.address: account
            for account in service.owed_accounts(session, program, addresses)
        }
        if together == 1:
            calls = [
                ([address], service.claim_call(session, program, address).calldata)
                for address in owed
            ]
        else:
            calls = service.claim_many_calls(session, program, addresses, together)
    run = _Run(context, program, owed, progress)
    for accounts, data in calls:
        run.send(accounts, data)
    deadline = time.monotonic() + settle_seconds
    for accounts, transaction_id in run.sent:
        run.track(accounts, transaction_id, deadline)
    return run.pushes


class _Run:
    """One run of `push_claims`."""

    def __init__(
        self,
        context: Context,
        program: Program,
        owed: dict[str, Account],
        progress: Callable[[int], None],
    ) -> None:
        self._context, self._program, self._owed, self._progress = context, program, owed, progress
        self._distributor = context.distributor(program)
        self._stopped: str | None = None
        self.sent: list[tuple[list[str], int]] = []
        self.pushes: list[Push] = []

    def send(self, accounts: list[str], data: bytes) -> None:
        """Store and send the call, join the transaction that makes it already, or write down why
        there is none."""
        if self._stopped is not None:
            return self._done(
                [Payment(account, Result.WAITING, reason=self._stopped) for account in accounts]
            )
        purpose, settled = self._purpose(data)
        if settled is not None:
            owing = self._still_owed(accounts)
            if len(owing) < len(accounts):
                self.sent.append(
                    ([account for account in accounts if account not in owing], settled.id)
                )
            if settled.state == State.FINAL and data[:4] == calldata.CLAIM_MANY:
                # The token refused these. A call for many would spend gas to be refused again; a
                # plain claim is seen to revert.
                for account in owing:
                    self.send([account], self._plain_claim(account))
                return None
            accounts = owing
        return self._enqueue(accounts, data, purpose) if accounts else None

    def track(self, accounts: list[str], transaction_id: int, deadline_seconds: float) -> None:
        """Wait until the transaction is settled, and write down what it did for `accounts`."""
        while True:
            with self._context.database.transaction() as session:
                state = self._context.payer.advance(session, transaction_id, self._program.finality)
                row = session.get_one(OutgoingTransaction, transaction_id)
            if state not in OPEN:
                break
            if time.monotonic() > deadline_seconds:
                reason = f"its transaction is still {state}: {row.note or 'waiting for a block'}"
                return self._done(
                    [Payment(account, Result.WAITING, reason=reason) for account in accounts]
                )
            time.sleep(POLL_SECONDS)
        payments = (
            self._read(accounts, row)
            if state is State.FINAL
            else self._unpaid(accounts, f"its transaction is {state}: {row.note}")
        )
        return self._done(payments, row)

    def _purpose(self, data: bytes) -> tuple[str, OutgoingTransaction | None]:
        """The call's purpose: of its first attempt that can still land, or is not there. And the
        attempt before, if that has settled in vain.

        Two runs that look at the same time find the same one, and the database lets one of them
        have it.
        """
        base = f"claim {self._program.chain_id} {self._program.distributor} {keccak(data).hex()}"
        number, settled = 1, None
        with self._context.database.transaction() as session:
            while True:
                purpose = base if number == 1 else f"{base} {number}"
                row = session.scalar(
                    select(OutgoingTransaction).where(OutgoingTransaction.purpose == purpose)
                )
                if row is None or row.state in OPEN:
                    return purpose, settled if row is None else None
                number, settled = number + 1, row

    def _enqueue(self, accounts: list[str], data: bytes, purpose: str) -> None:
        try:
            with self._context.database.transaction() as session:
                transaction_id = self._context.payer.enqueue(
                    session, purpose, self._program.distributor, data
                ).id
        except SimulationReverted as error:
            return self._done(
                self._unpaid(accounts, f"it would revert with {explain_revert(error.data)}")
            )
        except Invalid as error:
            return self._done(self._unpaid(accounts, error.message))
        except NotYet as error:
            # Fees and funds are the same for the calls that follow.
            self._stopped = error.message
            return self._done(
                [Payment(account, Result.WAITING, reason=error.message) for account in accounts]
            )
        failpoint("push.stored")
        with self._context.database.transaction() as session:
            self._context.payer.broadcast(session, transaction_id)
        failpoint("push.sent")
        self.sent.append((accounts, transaction_id))
        return None

    def _plain_claim(self, account: str) -> bytes:
        with self._context.database.snapshot() as session:
            return service.claim_call(session, self._program, account).calldata

    def _still_owed(self, accounts: list[str]) -> list[str]:
        """Those whom the chain owes now what was booked as owed at the start."""
        homes = [self._owed[account] for account in accounts]
        return [
            home.address
            for home in homes
            if self._distributor.claimed(home.bucket, home.slot) < home.posted
        ]

    def _unpaid(self, accounts: list[str], reason: str) -> list[Payment]:
        owing = self._still_owed(accounts)
        return [
            Payment(account, Result.REFUSED, reason=reason)
            if account in owing
            else Payment(account, Result.ALREADY_PAID)
            for account in accounts
        ]

    def _read(self, accounts: list[str], row: OutgoingTransaction) -> list[Payment]:
        """What the events of an executed transaction say of each account."""
        said = {
            event.account: event
            for event in self._distributor.events_of(row.mined_hash)
            if isinstance(event, Claimed | PayoutSkipped)
        }
        payments = []
        for account in accounts:
            event = said.get(account)
            if isinstance(event, Claimed):
                payments.append(Payment(account, Result.PAID, event.amount))
            elif event is not None and event.reason != ALREADY_PAID:
                payments.append(
                    Payment(account, Result.SKIPPED, reason="the token refused the transfer")
                )
            else:
                payments += self._unpaid(
                    [account], "its transaction was executed and did not pay it"
                )
        return payments

    def _done(self, payments: list[Payment], row: OutgoingTransaction | None = None) -> None:
        mined = row is not None and row.mined_hash is not None
        self.pushes.append(
            Push(payments, "0x" + row.mined_hash.hex(), row.gas_used) if mined else Push(payments)
        )
        self._progress(len(payments))
