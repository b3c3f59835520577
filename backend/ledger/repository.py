"""All SQL of the ledger. Bulk work is one statement a table, with arrays as parameters."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Numeric,
    String,
    any_,
    bindparam,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import CollectionAggregate

from backend.ledger.models import (
    LedgerAccount,
    LedgerAccountKind,
    LedgerBlock,
    LedgerEntry,
    LedgerTransaction,
    LedgerTransactionKind,
)

# Sorted: two requests that touch the same accounts then lock them in the same order.
_UPSERT_ACCOUNTS = text("""
    INSERT INTO ledger_account AS account (program_id, kind, holder, balance)
    SELECT :program_id, :kind, holder, amount
      FROM unnest(:holders, :amounts) AS new (holder, amount) ORDER BY holder
    ON CONFLICT (program_id, kind, holder)
      DO UPDATE SET balance = account.balance + excluded.balance
    RETURNING id, holder
""").bindparams(
    bindparam("holders", type_=ARRAY(String)), bindparam("amounts", type_=ARRAY(Numeric(78, 0)))
)

_INSERT_ENTRIES = text("""
    INSERT INTO ledger_entry (transaction_id, account_id, amount, interaction_id, reverses_id)
    SELECT :transaction_id, * FROM unnest(:accounts, :amounts, :interactions, :reversed)
""").bindparams(
    bindparam("accounts", type_=ARRAY(BigInteger)),
    bindparam("amounts", type_=ARRAY(Numeric(78, 0))),
    bindparam("interactions", type_=ARRAY(BigInteger)),
    bindparam("reversed", type_=ARRAY(BigInteger)),
)


class NewEntry(NamedTuple):
    """One leg to be inserted; `account_id` is a ledger account's id, `amount` is signed."""

    account_id: int
    amount: int
    interaction_id: int | None = None
    reverses_id: int | None = None


class RewardEntry(NamedTuple):
    """The entry that rewards an interaction: `amount`, above zero, is owed to `holder`."""

    id: int
    holder: str
    amount: int


class Leg(NamedTuple):
    """One entry as it is hashed: `kind` and `holder` name its ledger account."""

    kind: str
    holder: str
    amount: int
    interaction_id: int | None
    reverses_id: int | None


class Movement(NamedTuple):
    """One transaction as it is hashed."""

    id: int
    kind: str
    reference: str
    legs: list[Leg]


def insert_transaction(
    session: Session, program_id: int, kind: LedgerTransactionKind, reference: str
) -> int | None:
    """A new transaction's id, queued for sealing; None if this reference is booked already."""
    id_: int | None = session.execute(
        text("""
            INSERT INTO ledger_transaction (program_id, kind, reference)
              VALUES (:program_id, :kind, :reference)
            ON CONFLICT (program_id, kind, reference) DO NOTHING RETURNING id
        """),
        {"program_id": program_id, "kind": kind, "reference": reference},
    ).scalar()
    if id_ is not None:
        session.execute(
            text(
                "INSERT INTO ledger_unsealed (transaction_id, program_id) VALUES (:id, :program_id)"
            ),
            {"id": id_, "program_id": program_id},
        )
    return id_


def grow_balances(
    session: Session, program_id: int, kind: LedgerAccountKind, changes: Mapping[str, int]
) -> dict[str, int]:
    """Grow balances: debit `reserve`, or credit the other kinds. Accounts that are new are made.

    `changes`: holder -> signed amount. Returns holder -> ledger account id.
    """
    parameters = {
        "program_id": program_id,
        "kind": kind,
        "holders": list(changes),
        "amounts": list(changes.values()),
    }
    return {holder: id_ for id_, holder in session.execute(_UPSERT_ACCOUNTS, parameters)}


def shrink_balance(
    session: Session, program_id: int, kind: LedgerAccountKind, holder: str, change: int
) -> int:
    """Take from a balance; returns the ledger account's id.

    Raises IntegrityError for an overdraft, LookupError if the account does not exist.
    """
    query = (
        update(LedgerAccount)
        .where(
            LedgerAccount.program_id == program_id,
            LedgerAccount.kind == kind,
            LedgerAccount.holder == holder,
        )
        .values(balance=LedgerAccount.balance + change)
        .returning(LedgerAccount.id)
    )
    account_id = session.scalar(query)
    if account_id is None:
        raise LookupError(f"no ledger account {kind} {holder}")
    return account_id


def insert_entries(session: Session, transaction_id: int, entries: Sequence[NewEntry]) -> None:
    """All legs of a transaction in one statement: the trigger checks that they sum to zero."""
    parameters = {
        "transaction_id": transaction_id,
        "accounts": [entry.account_id for entry in entries],
        "amounts": [entry.amount for entry in entries],
        "interactions": [entry.interaction_id for entry in entries],
        "reversed": [entry.reverses_id for entry in entries],
    }
    session.execute(_INSERT_ENTRIES, parameters)


def balance(
    session: Session, program_id: int, kind: LedgerAccountKind, holder: str = "", lock: bool = False
) -> int:
    """The signed balance, 0 for an account that does not exist.

    `lock` keeps others from booking on the account until the transaction ends.
    """
    query = select(LedgerAccount.balance).where(
        LedgerAccount.program_id == program_id,
        LedgerAccount.kind == kind,
        LedgerAccount.holder == holder,
    )
    return session.scalar(query.with_for_update(key_share=True) if lock else query) or 0


def reward_entry(session: Session, program_id: int, interaction_id: int) -> RewardEntry | None:
    """The entry that rewards an interaction of this program; None if the interaction has none."""
    query = (
        select(LedgerEntry.id, LedgerAccount.holder, LedgerEntry.amount)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .where(LedgerEntry.interaction_id == interaction_id, LedgerAccount.program_id == program_id)
    )
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    id_, holder, amount = row
    return RewardEntry(id_, holder, -amount)


def reversed_entry(session: Session, program_id: int, reference: str) -> int | None:
    """Id of the entry that the reversal under `reference` reversed; None without one."""
    query = (
        select(LedgerEntry.reverses_id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(
            LedgerTransaction.program_id == program_id,
            LedgerTransaction.kind == LedgerTransactionKind.REVERSAL,
            LedgerTransaction.reference == reference,
            LedgerEntry.reverses_id.is_not(None),
        )
    )
    return session.scalar(query)


def head(session: Session, program_id: int) -> LedgerBlock | None:
    """The newest sealed block."""
    query = (
        select(LedgerBlock)
        .where(LedgerBlock.program_id == program_id)
        .order_by(LedgerBlock.height.desc())
        .limit(1)
    )
    return session.scalar(query)


def unsealed(session: Session, program_id: int, limit: int | None = None) -> list[int]:
    """Ids of the committed transactions that no block holds, ascending, at most `limit`."""
    query = text(
        "SELECT transaction_id FROM ledger_unsealed WHERE program_id = :program_id ORDER BY "
        "transaction_id LIMIT :limit"
    )
    return list(session.scalars(query, {"program_id": program_id, "limit": limit}))


def entry_counts(session: Session, ids: Sequence[int]) -> dict[int, int]:
    """transaction id -> how many legs it has."""
    query = select(LedgerEntry.transaction_id, func.count()).where(
        LedgerEntry.transaction_id == any_id(ids)
    )
    rows = session.execute(query.group_by(LedgerEntry.transaction_id))
    return dict(rows.all())


def any_id(ids: Sequence[int]) -> CollectionAggregate[bool]:
    """The right side of `column == any_id(ids)`, one parameter for any number of ids.

    IN takes one parameter an id, and PostgreSQL takes 65,535 in all.
    """
    return any_(literal(list(ids), ARRAY(BigInteger)))


def movements(session: Session, ids: Sequence[int]) -> list[Movement]:
    """The transactions under these ids with their legs, each in order of id."""
    transactions = (
        select(LedgerTransaction.id, LedgerTransaction.kind, LedgerTransaction.reference)
        .where(LedgerTransaction.id == any_id(ids))
        .order_by(LedgerTransaction.id)
    )
    found = {
        id_: Movement(id_, kind, reference, [])
        for id_, kind, reference in session.execute(transactions)
    }
    entries = (
        select(
            LedgerEntry.transaction_id,
            LedgerAccount.kind,
            LedgerAccount.holder,
            LedgerEntry.amount,
            LedgerEntry.interaction_id,
            LedgerEntry.reverses_id,
        )
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .where(LedgerEntry.transaction_id == any_id(ids))
        .order_by(LedgerEntry.id)
    )
    for transaction_id, kind, holder, amount, interaction_id, reverses_id in session.execute(
        entries
    ):
        if transaction_id in found:
            found[transaction_id].legs.append(
                Leg(kind, holder, amount, interaction_id, reverses_id)
            )
    return list(found.values())


def insert_block_transactions(session: Session, block_id: int, ids: Sequence[int]) -> None:
    """Put transactions into a block and take them off the queue."""
    session.execute(
        text("""
            INSERT INTO ledger_block_transaction (transaction_id, block_id, position)
            SELECT id, :block_id, position - 1
              FROM unnest(:ids) WITH ORDINALITY AS sealed (id, position)
        """).bindparams(bindparam("ids", type_=ARRAY(BigInteger))),
        {"block_id": block_id, "ids": list(ids)},
    )
    session.execute(
        text("DELETE FROM ledger_unsealed WHERE transaction_id = ANY(:ids)").bindparams(
            bindparam("ids", type_=ARRAY(BigInteger))
        ),
        {"ids": list(ids)},
    )


def block_transaction_ids(session: Session, block_id: int) -> list[int]:
    """Ids of a block's transactions in their order."""
    query = text(
        "SELECT transaction_id FROM ledger_block_transaction WHERE block_id = :id ORDER BY position"
    )
    return list(session.scalars(query, {"id": block_id}))


def blocks(
    session: Session, program_id: int, after: int = 0, limit: int | None = None
) -> list[LedgerBlock]:
    """Blocks above height `after`, oldest first, at most `limit`."""
    query = select(LedgerBlock).where(
        LedgerBlock.program_id == program_id, LedgerBlock.height > after
    )
    return list(session.scalars(query.order_by(LedgerBlock.height).limit(limit)))


def unbalanced_accounts(session: Session, program_id: int) -> list[int]:
    """Ids of ledger accounts whose balance is not the sum of their entries."""
    entries = (
        select(LedgerEntry.account_id, func.sum(LedgerEntry.amount).label("total"))
        .group_by(LedgerEntry.account_id)
        .subquery()
    )
    query = (
        select(LedgerAccount.id)
        .outerjoin(entries, entries.c.account_id == LedgerAccount.id)
        .where(
            LedgerAccount.program_id == program_id,
            LedgerAccount.balance != func.coalesce(entries.c.total, 0),
        )
    )
    return list(session.scalars(query))
