"""Transactions that leave from our keys: the nonces given out, what they are for, and every signed
attempt.

Written before anything is broadcast, and never deleted: these rows are the only memory of which
nonce belongs to which purpose.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    event,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Bytes, CreatedAt, Id, Money, Time
from backend.kit.metrics import TRANSACTION_TRANSITIONS


class State(StrEnum):
    """Of an outgoing transaction.

    stored → sent → mined → final     executed, in a block that is settled
                          ↘ failed    reverted, in a block that is settled: the nonce is used
    A reorg takes mined back to sent. A replacement takes sent back to stored until a node has its
    bytes.
    stored, sent → lost               a foreign transaction has used the nonce, in a settled block
    """

    STORED = "stored"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"
    FAILED = "failed"
    LOST = "lost"


OPEN = (State.STORED, State.SENT, State.MINED)
"""States that can still change."""


class SenderAccount(Base):
    """A key on a chain, and its next nonce to give out. Its row is the lock under which nonces are
    given out."""

    __tablename__ = "sender_account"
    __table_args__ = (
        UniqueConstraint("chain_id", "address"),
        CheckConstraint("next_nonce >= 0", name="next_nonce"),
    )

    id: Mapped[Id]
    chain_id: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[str] = mapped_column(String(42))
    next_nonce: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]


class OutgoingTransaction(Base):
    """One transaction, for one purpose, under one nonce, for ever. Its fees may be raised; what it
    does never changes.

    Addresses are checksummed (EIP-55), `value` is in wei. The facts of the receipt are of the block
    that was last seen to hold it: settled only in the states final and failed.
    """

    __tablename__ = "outgoing_transaction"
    __table_args__ = (
        UniqueConstraint("purpose"),
        UniqueConstraint("chain_id", "sender", "nonce"),
        ForeignKeyConstraint(
            ["chain_id", "sender"], ["sender_account.chain_id", "sender_account.address"]
        ),
        CheckConstraint(
            "state IN ('stored', 'sent', 'mined', 'final', 'failed', 'lost')", name="state"
        ),
        CheckConstraint("nonce >= 0 AND value >= 0 AND gas_limit > 0", name="amounts"),
        CheckConstraint(
            "num_nonnulls(block_number, block_hash, gas_used, status, mined_hash)"
            " = CASE WHEN state IN ('mined', 'final', 'failed') THEN 5 ELSE 0 END",
            name="receipt",
        ),
        CheckConstraint("state <> 'final' OR status = 1", name="final_executed"),
        CheckConstraint("state <> 'failed' OR status = 0", name="failed_reverted"),
        Index(
            "ix_outgoing_transaction_open",
            "chain_id",
            "sender",
            "nonce",
            postgresql_where=text("state IN ('stored', 'sent', 'mined')"),
        ),
    )

    # updated_at comes back with the UPDATE: a row is readable after its session has ended.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - SQLAlchemy reads it off the class

    id: Mapped[Id]
    chain_id: Mapped[int] = mapped_column(BigInteger)
    sender: Mapped[str] = mapped_column(String(42))
    nonce: Mapped[int] = mapped_column(BigInteger)
    purpose: Mapped[str] = mapped_column(String(200))
    """What it is for, in the caller's words: the same purpose never leads to a second
    transaction."""
    to_address: Mapped[str] = mapped_column(String(42))
    data: Mapped[Bytes]
    value: Mapped[Money]
    gas_limit: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    note: Mapped[str | None]
    """Why it waits, failed or is lost, for a person."""

    block_number: Mapped[int | None] = mapped_column(BigInteger)
    block_hash: Mapped[bytes | None]
    gas_used: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    """1 executed, 0 reverted."""
    mined_hash: Mapped[bytes | None]
    """Hash of the attempt that a block holds."""

    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Time] = mapped_column(server_default=func.now(), onupdate=func.now())


class TransactionAttempt(Base):
    """Signed bytes of an outgoing transaction. Each replacement adds one; any of them may be the
    one that is mined. Fees in wei per gas."""

    __tablename__ = "transaction_attempt"
    __table_args__ = (
        UniqueConstraint("tx_hash"),
        CheckConstraint("octet_length(tx_hash) = 32", name="tx_hash"),
        CheckConstraint(
            "max_priority_fee_per_gas >= 0 AND max_priority_fee_per_gas <= max_fee_per_gas",
            name="fees",
        ),
    )

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - as above

    id: Mapped[Id]
    outgoing_id: Mapped[int] = mapped_column(ForeignKey("outgoing_transaction.id"), index=True)
    tx_hash: Mapped[Bytes]
    raw: Mapped[Bytes]
    max_fee_per_gas: Mapped[Money]
    max_priority_fee_per_gas: Mapped[Money]
    created_at: Mapped[CreatedAt]
    broadcast_at: Mapped[Time | None]
    """When a node first took it, anew after a reorg."""


@event.listens_for(OutgoingTransaction.state, "set")
def _count_transition(_: OutgoingTransaction, state: str, before: object, __: object) -> None:
    """Counts before the commit: a transition that is rolled back counts too."""
    if state != before:
        TRANSACTION_TRANSITIONS.labels(str(state)).inc()
