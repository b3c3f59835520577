"""Batches: the next state of one bucket, from closing to its final event on chain."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.interaction.models import QUARANTINE_GROUP, QuarantineGroup, quarantine_group
from backend.kit.db import Base, Bytes, CreatedAt, Id, Money, Time


class BatchState(StrEnum):
    """The states in order, then the two ends of a batch that never lands.

    `backend.batch.states` holds the transitions; docs/ARCHITECTURE.md says who makes them.
    """

    CLOSED = "closed"
    ATTESTED = "attested"
    PROVEN = "proven"
    POSTED = "posted"
    FINAL = "final"
    QUARANTINED = "quarantined"
    """It cannot be proven; `reason` says why."""
    SUPERSEDED = "superseded"
    """It was built on a quarantined batch; its interactions are batched again."""


INACTIVE = (BatchState.QUARANTINED, BatchState.SUPERSEDED)
"""States of batches that never land. Two other batches of one bucket never have the same
sequence."""
ACTIVE = "state NOT IN ('quarantined', 'superseded')"


@dataclass(frozen=True)
class Envelope:
    """What attestors sign beside a batch's content, and the digest of both."""

    attestor_epoch: int
    valid_until: int
    """The last second, by the chain's clock, in which the batch can be posted."""
    digest: bytes


class NotStored(AssertionError):
    """A step relies on a value that the batch does not hold in its state."""


class Batch(Base):
    """The claim about a bucket's next state, what attestors have signed, and how far it got."""

    __tablename__ = "batch"
    __table_args__ = (
        Index(
            "uq_batch_active",
            "program_id",
            "bucket",
            "sequence",
            unique=True,
            postgresql_where=text(ACTIVE),
        ),
        Index("ix_batch_listed", "program_id", "id"),
        CheckConstraint("sequence > 0", name="sequence"),
        CheckConstraint("total > 0", name="total"),
        CheckConstraint(QUARANTINE_GROUP, name="quarantine_group"),
        Index(
            "ix_batch_open",
            "program_id",
            "bucket",
            "sequence",
            postgresql_where=text("state NOT IN ('final', 'quarantined', 'superseded')"),
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

    # The envelope. It is fixed again when it has expired before the batch was posted, or when the
    # set of attestors has changed.
    attestor_epoch: Mapped[int | None]
    valid_until: Mapped[int | None] = mapped_column(BigInteger)
    digest: Mapped[bytes | None]

    proof: Mapped[bytes | None]
    prove_ms: Mapped[int | None]
    prove_attempts: Mapped[int] = mapped_column(default=0)
    """How many proofs were begun since the last one succeeded. An attempt is counted before it
    begins, so that a crash counts too."""
    landable_until: Mapped[int | None] = mapped_column(BigInteger)
    """The latest `valid_until` under which the batch was both signed and proven. Until the chain is
    past that time, anybody can post the batch."""
    quarantine_batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"))
    quarantine_half: Mapped[int | None]
    """All interactions of the batch are of this quarantine group (`Interaction`)."""
    transaction_id: Mapped[int | None] = mapped_column(BigInteger)
    """The outgoing transaction that posts it, perhaps with other batches."""
    tx_hash: Mapped[str | None] = mapped_column(String(66))
    """Of the transaction whose BatchPosted event is final; anybody may have sent it."""
    gas_used: Mapped[int | None]
    """Its part of that transaction's gas: the batches of one transaction share it in equal
    parts."""
    batches_in_tx: Mapped[int | None]
    """How many batches of the program that transaction posted."""
    block_number: Mapped[int | None]

    fits_at: Mapped[int | None] = mapped_column(BigInteger)
    """Unix seconds at which the daily limit is expected to have room for it, by the chain's clock;
    set where a look found none. Batches that were closed later leave it that room."""

    note: Mapped[str | None]
    """What it waits for, or why the last step failed."""
    retry_at: Mapped[Time | None]
    """When it is looked at next, by the database's clock; at once if not set."""
    failures: Mapped[int] = mapped_column(default=0)
    """Looks in a row that failed."""
    waits: Mapped[int] = mapped_column(default=0)
    """Looks in a row that found the batch waiting in its state."""
    looked_at: Mapped[Time | None]
    """When a worker last took the batch up: those that wait longest are next."""
    proving_at: Mapped[Time | None]
    """When a worker last began to prove it."""
    proven_at: Mapped[Time | None]
    """When it last became proven: signed, with its proof."""
    reason: Mapped[str | None]
    """Why the batch was quarantined or superseded. Public."""
    created_at: Mapped[CreatedAt]

    def envelope(self) -> Envelope:
        """The envelope. Raises NotStored if none is fixed."""
        if self.attestor_epoch is None or self.valid_until is None or self.digest is None:
            raise NotStored(f"batch {self.id}: no envelope is fixed")
        return Envelope(self.attestor_epoch, self.valid_until, self.digest)

    def stored_proof(self) -> bytes:
        """The proof. Raises NotStored if none is made."""
        if self.proof is None:
            raise NotStored(f"batch {self.id}: no proof is stored")
        return self.proof

    def posting_transaction(self) -> int:
        """Id of the outgoing transaction that posts it. Raises NotStored if there is none."""
        if self.transaction_id is None:
            raise NotStored(f"batch {self.id}: no transaction posts it")
        return self.transaction_id

    @property
    def quarantine_group(self) -> QuarantineGroup | None:
        """The quarantine group that the batch holds; None for an ordinary batch."""
        return quarantine_group(self.quarantine_batch_id, self.quarantine_half)


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
