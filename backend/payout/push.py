"""Pushing claims for accounts: the operator pays the gas, the Distributor pays the account.

A push is rows before it is anything else (payout/models.py): first the payouts, then, in the
transaction that stores the signed bytes, an attempt for each payout of the call. What can go wrong,
and what follows:
- The process dies before a call is stored: its payouts are open without an attempt. The next push
  sends them.
- It dies later: the worker sends what is stored (settlement/post_track.py). The next push
  joins attempts that are under way, and records those that are settled.
- Two runs push the same account at once: the payout's row is locked while a call is stored, and a
  payout has one open attempt. The second run joins the first run's transaction.

Failpoints: push.opened (the payouts are stored), push.stored (a call is), push.sent (a node has
it), push.settled (its transaction is settled, nothing is recorded of it).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import structlog
from eth_utils import keccak
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.chain import calldata
from backend.chain.events import Claimed, PayoutSkipped
from backend.chain.models import OPEN, OutgoingTransaction, State
from backend.chain.reverts import explain_revert
from backend.chain.sender import SimulationReverted
from backend.context import Context
from backend.errors import Invalid, NotYet, Unavailable
from backend.kit.failpoint import failpoint
from backend.payout import repository as payouts
from backend.payout import service
from backend.payout.models import AttemptState
from backend.payout.repository import Outcome, Owed
from backend.program.models import Program

log = structlog.get_logger()

POLL_SECONDS = 0.1
ALREADY_PAID = 0
"""The contract's SkipReason for a payout that was paid before. The other reason is a transfer that
the token refused."""


class Result(StrEnum):
    """What became of one account's push."""

    PAID = "paid"
    ALREADY_PAID = "already_paid"
    """The chain owes it nothing any more: another transaction was first."""
    SKIPPED = "skipped"
    """The token refused the transfer. The other accounts of the call are paid; this one is owed."""
    REFUSED = "refused"
    """The call would revert or did revert, or its nonce was used elsewhere. It is still owed."""
    WAITING = "waiting"
    """Not sent yet, or not settled yet. Push again to go on."""


_SETTLED = {
    Result.PAID: AttemptState.PAID,
    Result.ALREADY_PAID: AttemptState.ALREADY_PAID,
    Result.SKIPPED: AttemptState.SKIPPED,
    Result.REFUSED: AttemptState.REFUSED,
}


@dataclass(frozen=True)
class Payment:
    """One account's outcome.

    `amount` in base units is what the transaction paid it. `reason` says why it paid nothing.
    """

    account: str
    result: Result
    amount: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Push:
    """The outcomes of one call. A call that never became a transaction has no hash."""

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
    """Push everything that the chain owes to `addresses`, and wait until it is settled.

    A call names up to `together` accounts; with 1 each is a plain claim. A push joins what is under
    way for the same claims. What has settled and left the chain owing is sent once more under a
    numbered purpose, each account that the token refused by itself and only if a simulation pays
    it. `progress` is told how many accounts are done.

    Raises:
        Conflict: the program is on another chain than the node.
        Unavailable: the node does not answer; push again to go on.
    """
    context.require_chain(program)
    run = _Run(context, program, together, progress)
    run.finish_earlier()
    run.start(addresses)
    deadline = time.monotonic() + settle_seconds
    for owed, transaction_id in run.sent:
        run.track(owed, transaction_id, deadline)
    return run.pushes


class _Run:
    """One run of `push_claims`."""

    def __init__(
        self, context: Context, program: Program, together: int, progress: Callable[[int], None]
    ) -> None:
        self._context, self._program, self._together = context, program, together
        self._progress = progress
        self._distributor = context.distributor(program)
        self._stopped: str | None = None
        self.sent: list[tuple[list[Owed], int]] = []
        self.pushes: list[Push] = []

    def finish_earlier(self) -> None:
        """Record the settled transactions of runs that died, and the payouts paid elsewhere."""
        with self._context.database.snapshot() as session:
            left = payouts.left_over(session, self._program.id)
        for transaction_id, attempts in groupby(left, key=lambda attempt: attempt.transaction_id):
            with self._context.database.snapshot() as session:
                row = session.get_one(OutgoingTransaction, transaction_id)
            try:
                payments = self._payments([attempt.owed for attempt in attempts], row)
            except Unavailable as error:
                # A node without this receipt must not stop the pushes of the whole program.
                log.warning(
                    "payout_attempt_unread", transaction=transaction_id, error=error.message
                )
                continue
            self._record(row, payments)
        with self._context.database.transaction() as session:
            payouts.close_covered(session, self._program.id)

    def start(self, addresses: list[str]) -> list[Owed]:
        """Join what is under way for `addresses`, and send calls for the others; returns what the
        chain owes them."""
        with self._context.database.snapshot() as session:
            owed = service.owed(session, self._program, addresses)
            under_way = payouts.under_way(session, owed)
            calls = self._calls(session, [one for one in owed if one.account_id not in under_way])
        if owed:
            with self._context.database.transaction() as session:
                payouts.open_payouts(session, self._program.id, owed)
            failpoint("push.opened")
        self._join(owed, under_way)
        for part, data in calls:
            self._send(part, data)
        return owed

    def track(self, owed: list[Owed], transaction_id: int, deadline_seconds: float) -> None:
        """Wait until the transaction is settled, and write down what it did for `owed`."""
        while True:
            with self._context.database.transaction() as session:
                state = self._context.payer.advance(session, transaction_id, self._program.finality)
                row = session.get_one(OutgoingTransaction, transaction_id)
            if state not in OPEN:
                break
            if time.monotonic() > deadline_seconds:
                reason = f"its transaction is still {state}: {row.note or 'waiting for a block'}"
                return self._wait(owed, reason)
            time.sleep(POLL_SECONDS)
        failpoint("push.settled")
        payments = self._payments(owed, row)
        self._record(row, payments)
        return self._done(payments, row)

    # Sending

    def _calls(self, session: Session, owed: list[Owed]) -> list[tuple[list[Owed], bytes]]:
        if self._together == 1:
            return [
                ([one], service.claim_call(session, self._program, one.address).calldata)
                for one in owed
            ]
        known = {one.address: one for one in owed}
        calls = service.claim_many_calls(session, self._program, list(known), self._together)
        return [([known[address] for address in part], data) for part, data in calls]

    def _join(self, owed: Sequence[Owed], under_way: Mapping[int, int]) -> None:
        """Follow the transactions that pay some of `owed` already. `under_way`: by account id."""
        groups: dict[int, list[Owed]] = {}
        for one in owed:
            if one.account_id in under_way:
                groups.setdefault(under_way[one.account_id], []).append(one)
        self.sent += [(group, transaction_id) for transaction_id, group in groups.items()]

    def _send(self, owed: list[Owed], data: bytes) -> None:
        """Store and send the call, or join the transaction that makes it already, or write down why
        there is none."""
        if self._stopped is not None:
            return self._wait(owed, self._stopped)
        purpose, settled = self._purpose(data)
        if settled is not None:
            owing = self._still_owed(owed)
            if len(owing) < len(owed):
                self.sent.append(([one for one in owed if one not in owing], settled.id))
            if settled.state == State.FINAL and data[:4] == calldata.CLAIM_MANY:
                # The token refused these accounts. A call for many would spend gas to be refused
                # again. A plain claim is seen to revert.
                for one in owing:
                    self._send_alone(one.address)
                return None
            owed = owing
        elif len(owing := self._still_owed(owed)) < len(owed):
            # Paid by another call whose events are not recorded yet: its claim would buy nothing.
            self._done(
                [Payment(one.address, Result.ALREADY_PAID) for one in owed if one not in owing]
            )
            if owing:
                self.start([one.address for one in owing])
            return None
        return self._enqueue(owed, data, purpose) if owed else None

    def _purpose(self, data: bytes) -> tuple[str, OutgoingTransaction | None]:
        """The purpose of the call's first attempt that can still land or is not stored yet.

        Beside it, the attempt before, if that one has settled without paying everybody. Two runs
        that look at the same time find the same purpose, and the database gives it to one of them.
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

    def _enqueue(self, owed: list[Owed], data: bytes, purpose: str) -> None:
        transaction_id: int | None = None
        try:
            with self._context.database.transaction() as session:
                ids = payouts.lock(session, owed)
                taken = payouts.under_way(session, owed)
                if not taken:
                    transaction_id = self._context.payer.enqueue(
                        session, purpose, self._program.distributor, data
                    ).id
                    payouts.add_attempts(session, ids, transaction_id)
        except SimulationReverted as error:
            return self._refuse(owed, f"it would revert with {explain_revert(error.data)}")
        except Invalid as error:
            return self._refuse(owed, error.message)
        except NotYet as error:
            # The calls that follow need the same fees and funds.
            self._stopped = error.message
            return self._wait(owed, error.message)
        if transaction_id is None:
            return self._start_without(owed, taken)
        failpoint("push.stored")
        log.info(
            "payouts_stored",
            transaction=transaction_id,
            program=self._program.id,
            accounts=len(owed),
        )
        with self._context.database.transaction() as session:
            self._context.payer.broadcast(session, transaction_id)
        failpoint("push.sent")
        self.sent.append((owed, transaction_id))
        return None

    def _start_without(self, owed: list[Owed], taken: Mapping[int, int]) -> None:
        """Another run has stored a call for some of `owed` meanwhile: join it, and go on with the
        others."""
        self._join(owed, taken)
        rest = [one for one in owed if one.account_id not in taken]
        if rest:
            still = {one.account_id for one in self.start([one.address for one in rest])}
            if gone := [one for one in rest if one.account_id not in still]:
                self._done([Payment(one.address, Result.ALREADY_PAID) for one in gone])

    def _send_alone(self, address: str) -> None:
        """Send a plain claim of what is owed to the account. What is owed may have grown since the
        run began: the payout is of the cumulative that the claim names."""
        with self._context.database.snapshot() as session:
            owed = service.owed(session, self._program, [address])
            data = b""
            if owed:
                data = service.claim_call(session, self._program, address).calldata
        if not owed:
            return self._done([Payment(address, Result.ALREADY_PAID)])
        with self._context.database.transaction() as session:
            payouts.open_payouts(session, self._program.id, owed)
        return self._send(owed, data)

    # Outcomes

    def _payments(self, owed: Sequence[Owed], row: OutgoingTransaction) -> list[Payment]:
        """What a settled transaction did for `owed`."""
        if row.state == State.FINAL:
            return self._read(owed, row)
        return self._unpaid(owed, f"its transaction is {row.state}: {row.note}")

    def _read(self, owed: Sequence[Owed], row: OutgoingTransaction) -> list[Payment]:
        """What the events of an executed transaction say of each account."""
        if row.mined_hash is None:
            raise AssertionError(f"outgoing transaction {row.id} is final without a hash")
        said = {
            event.account: event
            for event in self._distributor.events_of(row.mined_hash)
            if isinstance(event, Claimed | PayoutSkipped)
        }
        payments = []
        for one in owed:
            event = said.get(one.address)
            if isinstance(event, Claimed):
                payments.append(Payment(one.address, Result.PAID, event.amount))
            elif event is not None and event.reason != ALREADY_PAID:
                payments.append(
                    Payment(one.address, Result.SKIPPED, reason="the token refused the transfer")
                )
            else:
                payments += self._unpaid([one], "its transaction was executed and did not pay it")
        return payments

    def _still_owed(self, owed: Sequence[Owed]) -> list[Owed]:
        """Those whom the chain owes now what it owed at the start."""
        return [
            one for one in owed if self._distributor.claimed(one.bucket, one.slot) < one.cumulative
        ]

    def _unpaid(self, owed: Sequence[Owed], reason: str) -> list[Payment]:
        owing = self._still_owed(owed)
        return [
            Payment(one.address, Result.REFUSED, reason=reason)
            if one in owing
            else Payment(one.address, Result.ALREADY_PAID)
            for one in owed
        ]

    def _refuse(self, owed: Sequence[Owed], reason: str) -> None:
        """No call was sent, for a reason that sending again does not change."""
        self._note(owed, reason)
        self._done(self._unpaid(owed, reason))

    def _wait(self, owed: Sequence[Owed], reason: str) -> None:
        self._note(owed, reason)
        self._done([Payment(one.address, Result.WAITING, reason=reason) for one in owed])

    def _note(self, owed: Sequence[Owed], reason: str) -> None:
        with self._context.database.transaction() as session:
            payouts.note(session, owed, reason)

    def _record(self, row: OutgoingTransaction, payments: Sequence[Payment]) -> None:
        """Close the attempts of a settled transaction."""
        outcomes = [
            Outcome(
                payment.account,
                _SETTLED[payment.result],
                payment.amount if payment.result is Result.PAID else None,
                payment.reason,
            )
            for payment in payments
        ]
        with self._context.database.transaction() as session:
            payouts.record(session, row.id, outcomes)
        for one in outcomes:
            log.info(
                "payout_attempt_settled",
                transaction=row.id,
                program=self._program.id,
                account=one.address,
                state=str(one.state),
                amount=one.amount,
            )

    def _done(self, payments: list[Payment], row: OutgoingTransaction | None = None) -> None:
        if row is None or row.mined_hash is None or row.gas_used is None:
            self.pushes.append(Push(payments))
        else:
            self.pushes.append(Push(payments, "0x" + row.mined_hash.hex(), row.gas_used))
        self._progress(len(payments))
