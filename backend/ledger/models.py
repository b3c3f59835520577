"""The append-only double-entry ledger and its hash-chained blocks.

Amounts of entries are signed: positive is a debit, negative a credit. `reserve` (what the
Distributor holds) is an asset. `budget` (funded, not yet promised) and each `account` (owed to an
address) are liabilities. Every transaction sums to zero. Triggers in the database check the sum,
and refuse every UPDATE, DELETE and TRUNCATE of rows that are written once.

    fund      reserve +x, budget  -x        claim     account +x, reserve -x
    reward    budget  +x, account -x        withdraw  budget  +x, reserve -x
    reversal  account +x, budget  -x

A reversal is the exact opposite of one earlier reward. It names that reward's entry, a unique
column admits one reversal an entry, and a trigger admits it only for an interaction that is marked
as reversed, so that no batch can hold it.

The Distributor's owner may withdraw everything that no final batch has committed, which includes
rewards that are booked here and not posted yet. The ledger books what the chain did: a withdrawal
may leave the budget as a debit, the *deficit*. No reward may be booked that leaves a deficit.
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
    REVERSAL = "reversal"


class LedgerAccount(Base):
    """One balance. `holder` is the checksummed address for kind `account`, else empty.

    `balance` is the sum of the account's entries. Each booking updates it.
    """

    __tablename__ = "ledger_account"
    __table_args__ = (
        UniqueConstraint("program_id", "kind", "holder"),
        # An asset cannot be credited below zero, and an account cannot be debited above zero. For
        # the budget, the trigger on entries looks at the cause.
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
    """One booking. (program, kind, reference) is unique, so each cause is booked once."""

    __tablename__ = "ledger_transaction"
    __table_args__ = (UniqueConstraint("program_id", "kind", "reference"),)

    id: Mapped[Id]
    program_id: Mapped[int] = mapped_column(ForeignKey("program.id"))
    kind: Mapped[str] = mapped_column(String(16))
    reference: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[CreatedAt]


class LedgerEntry(Base):
    """One leg of a transaction.

    A reward's leg on an account names its interaction. A reversal's leg on an account names the
    entry that it reverses.
    """

    __tablename__ = "ledger_entry"

    id: Mapped[Id]
    transaction_id: Mapped[int] = mapped_column(ForeignKey("ledger_transaction.id"), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("ledger_account.id"), index=True)
    amount: Mapped[Money]
    interaction_id: Mapped[int | None] = mapped_column(ForeignKey("interaction.id"), unique=True)
    reverses_id: Mapped[int | None] = mapped_column(ForeignKey("ledger_entry.id"), unique=True)


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
    """The place of a transaction in a block."""

    __tablename__ = "ledger_block_transaction"
    __table_args__ = (UniqueConstraint("block_id", "position"),)

    transaction_id: Mapped[int] = mapped_column(
        ForeignKey("ledger_transaction.id"), primary_key=True
    )
    block_id: Mapped[int] = mapped_column(ForeignKey("ledger_block.id"))
    position: Mapped[int]
