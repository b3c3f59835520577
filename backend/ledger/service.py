"""Booking: each function books one cause once, under its unique reference, inside the caller's
transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from backend.ledger import repository
from backend.ledger.models import LedgerAccountKind as Account
from backend.ledger.models import LedgerTransactionKind as Kind


@dataclass(frozen=True, slots=True)
class Reward:
    """One accepted interaction: its row's id, the checksummed address and the amount in base
    units."""

    interaction_id: int
    address: str
    amount: int


def book_funding(session: Session, program_id: int, reference: str, amount: int) -> bool:
    """Tokens have reached the Distributor. False if this reference (transaction and log index) is
    booked already."""
    return _book_two(
        session,
        program_id,
        Kind.FUND,
        reference,
        (Account.RESERVE, "", amount),
        (Account.BUDGET, "", -amount),
    )


def book_withdrawal(session: Session, program_id: int, reference: str, amount: int) -> bool:
    """The owner has withdrawn uncommitted tokens, which may leave the budget in deficit. False if
    booked already."""
    return _book_two(
        session,
        program_id,
        Kind.WITHDRAW,
        reference,
        (Account.BUDGET, "", amount),
        (Account.RESERVE, "", -amount),
    )


def book_claim(
    session: Session, program_id: int, reference: str, address: str, amount: int
) -> bool:
    """The Distributor has paid an account. False if booked already."""
    return _book_two(
        session,
        program_id,
        Kind.CLAIM,
        reference,
        (Account.ACCOUNT, address, amount),
        (Account.RESERVE, "", -amount),
    )


def _book_two(
    session: Session,
    program_id: int,
    kind: Kind,
    reference: str,
    debit: tuple[Account, str, int],
    credit: tuple[Account, str, int],
) -> bool:
    transaction_id = repository.insert_transaction(session, program_id, kind, reference)
    if transaction_id is None:
        return False
    legs = []
    for account, holder, amount in (debit, credit):
        if (account is Account.RESERVE) == (amount > 0):
            account_id = repository.grow_balances(session, program_id, account, {holder: amount})[
                holder
            ]
        else:
            account_id = repository.shrink_balance(session, program_id, account, holder, amount)
        legs.append((account_id, amount, None))
    repository.insert_entries(session, transaction_id, legs)
    return True


def book_rewards(
    session: Session, program_id: int, reference: str, rewards: Sequence[Reward]
) -> None:
    """Move the sum of the rewards from the budget to their accounts, one transaction with a leg a
    reward.

    The caller has locked the budget's row and made sure that it covers them; the database refuses a
    reward that leaves a deficit.
    """
    transaction_id = repository.insert_transaction(session, program_id, Kind.REWARD, reference)
    if transaction_id is None:
        raise AssertionError(f"rewards of {reference} are booked already")
    changes: dict[str, int] = {}
    for reward in rewards:
        changes[reward.address] = changes.get(reward.address, 0) - reward.amount
    ids = repository.grow_balances(session, program_id, Account.ACCOUNT, changes)
    total = sum(reward.amount for reward in rewards)
    budget = repository.shrink_balance(session, program_id, Account.BUDGET, "", total)
    legs: list[tuple[int, int, int | None]] = [
        (ids[reward.address], -reward.amount, reward.interaction_id) for reward in rewards
    ]
    repository.insert_entries(session, transaction_id, [*legs, (budget, total, None)])


def available_budget(session: Session, program_id: int, lock: bool = False) -> int:
    """Funded and not promised yet, in base units. Below zero it is a deficit: the owner has
    withdrawn what was promised.

    Whoever locks it does so before any account or interaction, so that two who need the same rows
    cannot end in a deadlock.
    """
    return -repository.balance(session, program_id, Account.BUDGET, lock=lock)


def owed(session: Session, program_id: int, address: str) -> int:
    """Earned and not yet paid by the chain, in base units."""
    return -repository.balance(session, program_id, Account.ACCOUNT, address)


def reserve(session: Session, program_id: int) -> int:
    """What the Distributor holds by the ledger, in base units."""
    return repository.balance(session, program_id, Account.RESERVE)
