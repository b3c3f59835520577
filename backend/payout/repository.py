"""All SQL of payouts. Each function is one statement for any number of accounts."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, Numeric, String, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.chain.models import OPEN, OutgoingTransaction
from backend.payout.models import AttemptState, Payout, PayoutAttempt


class Owed(NamedTuple):
    """What the chain owes to an account: everything up to `cumulative`, which is `amount` now."""

    account_id: int
    address: str
    bucket: int
    slot: int
    cumulative: int
    amount: int


class Attempt(NamedTuple):
    """An open attempt, and what it is to pay."""

    transaction_id: int
    owed: Owed


class Outcome(NamedTuple):
    """What a settled transaction did for an account. `amount` only if it paid."""

    address: str
    state: AttemptState
    amount: int | None
    note: str | None


_ACCOUNTS = bindparam("accounts", type_=ARRAY(BigInteger))
_CUMULATIVES = bindparam("cumulatives", type_=ARRAY(Numeric(78, 0)))

# Sorted: two runs that push the same accounts then lock them in the same order.
_OPEN = text("""
    INSERT INTO payout (program_id, account_id, cumulative, amount, state)
    SELECT :program_id, account_id, cumulative, amount, 'open'
      FROM unnest(:accounts, :cumulatives, :amounts) AS owed (account_id, cumulative, amount)
      ORDER BY account_id
    ON CONFLICT (account_id, cumulative) DO NOTHING
""").bindparams(_ACCOUNTS, _CUMULATIVES, bindparam("amounts", type_=ARRAY(Numeric(78, 0))))

_LOCK = text("""
    SELECT payout.id FROM payout
    JOIN unnest(:accounts, :cumulatives) AS owed (account_id, cumulative)
      ON owed.account_id = payout.account_id AND owed.cumulative = payout.cumulative
    ORDER BY payout.account_id FOR UPDATE OF payout
""").bindparams(_ACCOUNTS, _CUMULATIVES)

_UNDER_WAY = text("""
    SELECT payout.account_id, attempt.transaction_id FROM payout
    JOIN unnest(:accounts, :cumulatives) AS owed (account_id, cumulative)
      ON owed.account_id = payout.account_id AND owed.cumulative = payout.cumulative
    JOIN payout_attempt AS attempt ON attempt.payout_id = payout.id AND attempt.state = 'open'
""").bindparams(_ACCOUNTS, _CUMULATIVES)

_ADD = text("""
    INSERT INTO payout_attempt (payout_id, transaction_id, state)
    SELECT id, :transaction_id, 'open' FROM unnest(:payouts) AS id
    ON CONFLICT (payout_id, transaction_id) DO NOTHING
""").bindparams(bindparam("payouts", type_=ARRAY(BigInteger)))

_NOTE = text("""
    UPDATE payout SET note = :note, updated_at = now()
      FROM unnest(:accounts, :cumulatives) AS owed (account_id, cumulative)
    WHERE owed.account_id = payout.account_id AND owed.cumulative = payout.cumulative
""").bindparams(_ACCOUNTS, _CUMULATIVES)

_RECORD = text("""
    WITH outcome AS (
        SELECT * FROM unnest(:addresses, :states, :amounts, :notes)
          AS said (address, state, amount, note)
    ), settled AS (
        UPDATE payout_attempt AS attempt
          SET state = outcome.state, amount = outcome.amount, note = outcome.note,
            updated_at = now()
        FROM outcome, payout, account
        WHERE attempt.transaction_id = :transaction_id AND attempt.state = 'open'
          AND payout.id = attempt.payout_id AND account.id = payout.account_id
          AND account.address = outcome.address
        RETURNING attempt.payout_id, attempt.state, attempt.note
    )
    UPDATE payout SET
        state = CASE settled.state WHEN 'paid' THEN 'paid' ELSE payout.state END,
        note = settled.note, updated_at = now()
    FROM settled WHERE payout.id = settled.payout_id
""").bindparams(
    bindparam("addresses", type_=ARRAY(String)),
    bindparam("states", type_=ARRAY(String)),
    bindparam("amounts", type_=ARRAY(Numeric(78, 0))),
    bindparam("notes", type_=ARRAY(String)),
)

_CLOSE_COVERED = text("""
    UPDATE payout SET state = 'paid_elsewhere', updated_at = now() FROM account
    WHERE payout.program_id = :program_id AND payout.state = 'open'
      AND account.id = payout.account_id AND account.claimed >= payout.cumulative
      AND NOT EXISTS (SELECT FROM payout_attempt AS attempt
        WHERE attempt.payout_id = payout.id AND attempt.state = 'open')
""")


def _keys(owed: Sequence[Owed]) -> dict[str, list[int]]:
    return {
        "accounts": [one.account_id for one in owed],
        "cumulatives": [one.cumulative for one in owed],
    }


def open_payouts(session: Session, program_id: int, owed: Sequence[Owed]) -> None:
    """Make the payouts that do not exist yet."""
    amounts = [one.amount for one in owed]
    session.execute(_OPEN, _keys(owed) | {"program_id": program_id, "amounts": amounts})


def lock(session: Session, owed: Sequence[Owed]) -> list[int]:
    """Ids of the payouts, their rows locked until the transaction ends."""
    return list(session.scalars(_LOCK, _keys(owed)))


def under_way(session: Session, owed: Sequence[Owed]) -> dict[int, int]:
    """account id -> the transaction of its open attempt, for those that have one."""
    return {row.account_id: row.transaction_id for row in session.execute(_UNDER_WAY, _keys(owed))}


def add_attempts(session: Session, payout_ids: Sequence[int], transaction_id: int) -> None:
    """The transaction is to pay these payouts. Raises IntegrityError if one has an open attempt."""
    session.execute(_ADD, {"payouts": list(payout_ids), "transaction_id": transaction_id})


def note(session: Session, owed: Sequence[Owed], reason: str) -> None:
    """Write down why no call was sent."""
    session.execute(_NOTE, _keys(owed) | {"note": reason})


def record(session: Session, transaction_id: int, outcomes: Sequence[Outcome]) -> None:
    """Close the open attempts of a settled transaction. Recording again changes nothing."""
    parameters = {
        "transaction_id": transaction_id,
        "addresses": [one.address for one in outcomes],
        "states": [str(one.state) for one in outcomes],
        "amounts": [one.amount for one in outcomes],
        "notes": [one.note for one in outcomes],
    }
    session.execute(_RECORD, parameters)


def left_over(session: Session, program_id: int) -> list[Attempt]:
    """Open attempts whose transaction is settled: the run that sent it has not recorded it."""
    query = (
        select(
            PayoutAttempt.transaction_id,
            Account.id,
            Account.address,
            Account.bucket,
            Account.slot,
            Payout.cumulative,
            Payout.amount,
        )
        .join(Payout, Payout.id == PayoutAttempt.payout_id)
        .join(Account, Account.id == Payout.account_id)
        .join(OutgoingTransaction, OutgoingTransaction.id == PayoutAttempt.transaction_id)
        .where(
            Payout.program_id == program_id,
            PayoutAttempt.state == AttemptState.OPEN,
            OutgoingTransaction.state.not_in(OPEN),
        )
        .order_by(OutgoingTransaction.nonce, Account.bucket, Account.slot)
    )
    return [
        Attempt(transaction_id, Owed(id_, address, bucket, slot, cumulative, amount))
        for transaction_id, id_, address, bucket, slot, cumulative, amount in session.execute(query)
    ]


def close_covered(session: Session, program_id: int) -> None:
    """Close the open payouts that recorded claims cover, unless an attempt is open."""
    session.execute(_CLOSE_COVERED, {"program_id": program_id})
