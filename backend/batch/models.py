"""Batches: the next state of one bucket, from closing to its final event on chain."""

from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Bytes, CreatedAt, Id, Money, Time


class BatchState(StrEnum):
    """In order, then the two ways out; docs/ARCHITECTURE.md says who moves a batch on."""

    CLOSED = "closed"
    ATTESTED = "attested"
    PROVEN = "proven"
    POSTED = "posted"
    FINAL = "final"
    SET_ASIDE = "set_aside"
    """It cannot be proven; `reason` says why."""
    WITHDRAWN = "withdrawn"
    """It stood on a batch that was set aside; its interactions are batched anew."""


GONE = (BatchState.SET_ASIDE, BatchState.WITHDRAWN)
"""States of batches that never land. The others stand: no two of one bucket have the same
sequence."""
STANDS = "state NOT IN ('set_aside', 'withdrawn')"


class Batch(Base):
    """What is claimed of a bucket's next state, what was signed of it, and how far it got."""

    __tablename__ = "batch"
    __table_args__ = (
        Index(
            "uq_batch_standing",
            "program_id",
            "bucket",
            "sequence",
            unique=True,
            postgresql_where=text(STANDS),
        ),
        Index("ix_batch_listed", "program_id", "id"),
        CheckConstraint("sequence > 0", name="sequence"),
        CheckConstraint("total > 0", name="total"),
        Index(
            "ix_batch_open",
            "program_id",
            "bucket",
            "sequence",
            postgresql_where=text("state NOT IN ('final', 'set_aside', 'withdrawn')"),
        ),
    )

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    bucket: Mapped[int]
    sequence: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    items: Mapped[int]
    accounts_touched: Mapped[int]
    total: Mapped[Money]
    old_root: Mapped[Money]
    new_root: Mapped[Money]
    items_root: Mapped[Money]
    interactions_root: Mapped[Bytes]
    ledger_head: Mapped[Bytes]
    deltas: Mapped[Bytes]

    # The envelope: what the attestors sign beside the content. Made anew when it has expired
    # unposted or the epoch moved.
    attestor_epoch: Mapped[int | None]
    valid_until: Mapped[int | None] = mapped_column(BigInteger)
    digest: Mapped[bytes | None]

    proof: Mapped[bytes | None]
    prove_ms: Mapped[int | None]
    prove_attempts: Mapped[int] = mapped_column(default=0)
    """Proofs begun since the last one that was made, counted before each begins: a crash counts
    too."""
    landable_until: Mapped[int | None] = mapped_column(BigInteger)
    """Latest `valid_until` under which it was ever both signed and proven: until the chain is past
    it, anybody may post it."""
    isolation: Mapped[int | None] = mapped_column(BigInteger)
    """It holds suspects only, of this group (`Interaction.isolation`)."""
    transaction_id: Mapped[int | None] = mapped_column(BigInteger)
    """The outgoing transaction that posts it."""
    tx_hash: Mapped[str | None] = mapped_column(String(66))
    """Of the transaction whose BatchPosted event is final, whoever sent it."""
    gas_used: Mapped[int | None]
    block_number: Mapped[int | None]

    note: Mapped[str | None]
    """What it waits for, or why the last step failed."""
    retry_at: Mapped[Time | None]
    failures: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None]
    """Why it was set aside or withdrawn. Public."""
    created_at: Mapped[CreatedAt]


class BatchAccount(Base):
    """One touched slot of a batch: what it gained, and its cumulative after the batch."""

    __tablename__ = "batch_account"
    __table_args__ = (
        Index("ix_batch_account_history", "program_id", "bucket", "slot", "sequence"),
    )

    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    bucket: Mapped[int]
    sequence: Mapped[int]
    address: Mapped[str] = mapped_column(String(42))
    delta: Mapped[Money]
    cumulative: Mapped[Money]
