"""The append-only double-entry ledger and its hash-chained blocks.

Amounts of entries are signed: positive is a debit, negative a credit. `reserve` (what the
Distributor holds) is an asset; `budget` (funded,
not yet promised) and each `account` (owed to an address) are liabilities. Every transaction sums to
zero; a trigger in the database checks that, and refuses every UPDATE, DELETE and TRUNCATE of what
is written once.

    fund      reserve +x, budget  -x        claim     account +x, reserve -x
    reward    budget  +x, account -x        withdraw  budget  +x, reserve -x

The Distributor lets its owner withdraw whatever no landed batch has committed, rewards included
that are booked here and not landed yet. What the chain did is booked: a withdrawal may leave the
budget as a debit, the *deficit*. No reward may be booked that leaves one.
"""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Bytes, CreatedAt, Id, Money


class LedgerAccountKind(StrEnum):
    RESERVE = "reserve"
    BUDGET = "budget"
    ACCOUNT = "account"


class LedgerTransactionKind(StrEnum):
    FUND = "fund"
    REWARD = "reward"
    CLAIM = "claim"
    WITHDRAW = "withdraw"


class LedgerAccount(Base):
    """`holder` is the checksummed address for kind `account`, else empty. `balance` is the sum of
    its entries, kept with each booking."""

    __tablename__ = "ledger_account"
    __table_args__ = (
        UniqueConstraint("program_id", "kind", "holder"),
        # An asset cannot be credited below zero, nor an account debited above it. For the budget,
        # the trigger on entries looks at the cause.
        CheckConstraint(
            "CASE kind WHEN 'reserve' THEN balance >= 0 WHEN 'account' THEN balance <= 0 ELSE "
            "true END",
            name="no_overdraft",
        ),
    )

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    kind: Mapped[str] = mapped_column(String(16))
    holder: Mapped[str] = mapped_column(String(42))
    balance: Mapped[Money]


class LedgerTransaction(Base):
    """One booking. (program, kind, reference) is unique: what caused it is booked once."""

    __tablename__ = "ledger_transaction"
    __table_args__ = (UniqueConstraint("program_id", "kind", "reference"),)

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    kind: Mapped[str] = mapped_column(String(16))
    reference: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[CreatedAt]


class LedgerEntry(Base):
    """One leg of a transaction. A reward's leg names its interaction."""

    __tablename__ = "ledger_entry"

    id: Mapped[Id]
    transaction_id: Mapped[int] = mapped_column(ForeignKey("ledger_transaction.id"), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("ledger_account.id"), index=True)
    amount: Mapped[Money]
    interaction_id: Mapped[int | None] = mapped_column(ForeignKey("interaction.id"), unique=True)


class LedgerUnsealed(Base):
    """Queue of the transactions that no block holds yet."""

    __tablename__ = "ledger_unsealed"

    transaction_id: Mapped[int] = mapped_column(
        ForeignKey("ledger_transaction.id"), primary_key=True
    )
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"), index=True)


class LedgerBlock(Base):
    """A sealed block: `hash` covers the previous hash and every transaction in it."""

    __tablename__ = "ledger_block"
    __table_args__ = (UniqueConstraint("program_id", "height"),)

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    height: Mapped[int]
    previous_hash: Mapped[Bytes]
    hash: Mapped[Bytes]
    created_at: Mapped[CreatedAt]


class LedgerBlockTransaction(Base):
    """Which transaction stands where in which block."""

    __tablename__ = "ledger_block_transaction"
    __table_args__ = (UniqueConstraint("block_id", "position"),)

    transaction_id: Mapped[int] = mapped_column(
        ForeignKey("ledger_transaction.id"), primary_key=True
    )
    block_id: Mapped[int] = mapped_column(ForeignKey("ledger_block.id"))
    position: Mapped[int]
