"""Rows of outgoing transactions: a key's nonces, what each is for, and every signed attempt.

Works in the caller's transaction (READ COMMITTED) and never commits. Nothing here signs or
broadcasts; sender.py does.
"""

from dataclasses import dataclass

import structlog
from eth_utils.address import is_address, to_checksum_address
from sqlalchemy import event, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, SessionTransaction

from backend.chain.fees import Fees
from backend.chain.models import OPEN, OutgoingTransaction, SenderAccount, State, TransactionAttempt
from backend.chain.node import Node
from backend.errors import Conflict, Invalid, NotFound, NotYet
from backend.signer.base import SignedTransaction

CREATES = ""
"""`to_address` of a transaction that creates a contract, as in its RLP: an empty field."""

_UNCOMMITTED = "chain.uncommitted_attempts"
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction does: never changes once it is stored. `to` is CREATES for a creation."""

    purpose: str
    to: str
    data: bytes
    value: int


def checked_call(purpose: object, to: object, data: object, value: object) -> Call:
    """The call, its address checksummed; `to` is CREATES for a creation. Raises Invalid."""
    if not isinstance(purpose, str) or not 1 <= len(purpose) <= 200:
        raise Invalid("purpose: expected 1 to 200 characters", field="purpose")
    if not isinstance(to, str) or not (to == CREATES or is_address(to)):
        raise Invalid("to: expected a 0x-prefixed address of 20 bytes", field="to")
    if not isinstance(data, bytes):
        raise Invalid(f"data: expected bytes, got {type(data).__name__}", field="data")
    if type(value) is not int or not 0 <= value < 2**256:
        raise Invalid("value: expected an int in wei, 0 or more", field="value")
    return Call(purpose, to if to == CREATES else to_checksum_address(to), data, value)


class Outbox:
    """The rows of one key on one chain."""

    def __init__(self, chain_id: int, address: str) -> None:
        self.chain_id, self.address = chain_id, address

    def find(self, session: Session, call: Call) -> OutgoingTransaction | None:
        """The row stored for the call's purpose. Raises Conflict if it is of another call."""
        row = session.scalar(
            select(OutgoingTransaction).where(OutgoingTransaction.purpose == call.purpose)
        )
        if row is None:
            return None
        stored = (row.chain_id, row.to_address, row.data, row.value)
        if stored != (self.chain_id, call.to, call.data, call.value):
            raise Conflict(
                f"{call.purpose}: stands for another transaction (id {row.id})", field="purpose"
            )
        return row

    def locked(self, session: Session, transaction_id: int) -> OutgoingTransaction:
        """The row, locked until the transaction ends. Raises NotFound, Conflict (another chain)."""
        query = (
            select(OutgoingTransaction)
            .where(OutgoingTransaction.id == transaction_id)
            .with_for_update()
        )
        row = session.scalar(query.execution_options(populate_existing=True))
        if row is None:
            raise NotFound(f"outgoing transaction {transaction_id}: not found")
        if row.chain_id != self.chain_id:
            raise Conflict(
                f"{row.purpose}: on chain {row.chain_id}, this sender is on {self.chain_id}"
            )
        return row

    def open_ids(self, session: Session) -> list[int]:
        """Ids of this key's transactions that can still change, lowest nonce first."""
        table = OutgoingTransaction
        mine = select(table.id).where(
            table.chain_id == self.chain_id, table.sender == self.address, table.state.in_(OPEN)
        )
        return list(session.scalars(mine.order_by(table.nonce)))

    def attempts(self, session: Session, row: OutgoingTransaction) -> list[TransactionAttempt]:
        """All signed attempts of the row, oldest first."""
        query = (
            select(TransactionAttempt)
            .where(TransactionAttempt.outgoing_id == row.id)
            .order_by(TransactionAttempt.id)
        )
        return list(session.scalars(query.execution_options(populate_existing=True)))

    def lock_account(self, session: Session) -> SenderAccount:
        """The key's row, locked until the transaction (or savepoint) ends: nonces are given out
        under it."""
        key = {"chain_id": self.chain_id, "address": self.address}
        session.execute(insert(SenderAccount).values(**key, next_nonce=0).on_conflict_do_nothing())
        query = select(SenderAccount).filter_by(**key).with_for_update()
        return session.scalars(query.execution_options(populate_existing=True)).one()

    def given_out(self, session: Session) -> int:
        """The key's next nonce by our rows, read without a lock; 0 before the first."""
        query = select(SenderAccount.next_nonce).filter_by(
            chain_id=self.chain_id, address=self.address
        )
        return session.scalar(query) or 0

    def next_nonce(self, session: Session, node: Node, given_out: int) -> int:
        """The lowest nonce that neither we (up to `given_out`) nor the chain has used.

        The chain's count is taken at the newest block, not with the mempool: a stranger's waiting
        transaction may never be mined, and a nonce after it would wait for good, while a collision
        with it ends in a clear state. Raises NotYet, Unavailable.
        """
        table = OutgoingTransaction
        # Read before the chain is: what is mined in between only makes the chain's count larger.
        mine = select(table.nonce).where(
            table.chain_id == self.chain_id, table.sender == self.address, table.state.in_(OPEN)
        )
        waiting = set(session.scalars(mine))
        count = node.transaction_count(self.address, "latest")
        if count > given_out > 0:
            log.warning(
                "nonces_used_elsewhere", sender=self.address, expected=given_out, found=count
            )
        gap = next((nonce for nonce in range(count, given_out) if nonce not in waiting), None)
        if gap is not None:
            raise NotYet(
                f"{self.address}: nonce {gap} was settled, but the node counts {count}: it is "
                "behind, or the chain was reset"
            )
        return max(count, given_out)

    def add(
        self, session: Session, account: SenderAccount, call: Call, nonce: int, gas_limit: int
    ) -> OutgoingTransaction:
        """A new row under `nonce`. Called under the account's lock."""
        row = OutgoingTransaction(
            chain_id=self.chain_id,
            sender=self.address,
            nonce=nonce,
            purpose=call.purpose,
            to_address=call.to,
            data=call.data,
            value=call.value,
            gas_limit=gas_limit,
            state=State.STORED,
        )
        session.add(row)
        account.next_nonce = nonce + 1
        session.flush()
        return row

    def add_attempt(
        self, session: Session, row: OutgoingTransaction, signed: SignedTransaction, fees: Fees
    ) -> None:
        """Store signed bytes; they may leave after the commit."""
        session.add(
            TransactionAttempt(
                outgoing_id=row.id,
                tx_hash=signed.hash,
                raw=signed.raw,
                max_fee_per_gas=fees.max_fee,
                max_priority_fee_per_gas=fees.max_priority_fee,
            )
        )
        session.flush()
        session.info.setdefault(_UNCOMMITTED, set()).add(signed.hash)

    def seconds_waiting(self, session: Session, attempt: TransactionAttempt) -> int:
        """Whole seconds since the attempt was first sent, or else stored."""
        since = func.coalesce(TransactionAttempt.broadcast_at, TransactionAttempt.created_at)
        age = select(func.floor(func.extract("epoch", func.now() - since))).where(
            TransactionAttempt.id == attempt.id
        )
        return int(session.execute(age).scalar_one())


def is_uncommitted(session: Session, attempt: TransactionAttempt) -> bool:
    """Whether the attempt was stored in this very transaction."""
    return attempt.tx_hash in session.info.get(_UNCOMMITTED, ())


@event.listens_for(Session, "after_transaction_end")
def _forget_uncommitted(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_UNCOMMITTED, None)
