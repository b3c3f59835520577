"""Booking: each function books one cause once, under its unique reference.

All functions work in the caller's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from backend.errors import Conflict, NotFound
from backend.ledger import repository
from backend.ledger.models import LedgerAccountKind as Account
from backend.ledger.models import LedgerTransactionKind as Kind
from backend.ledger.repository import NewEntry


@dataclass(frozen=True, slots=True)
class Reward:
    """One accepted interaction: the id of its row, the checksummed address, and base units."""

    interaction_id: int
    address: str
    amount: int


def book_funding(session: Session, program_id: int, reference: str, amount: int) -> bool:
    """Tokens have reached the Distributor. False if this reference is booked already."""
    return _book_two(
        session,
        program_id,
        Kind.FUND,
        reference,
        (Account.RESERVE, "", amount),
        (Account.BUDGET, "", -amount),
    )


def book_withdrawal(session: Session, program_id: int, reference: str, amount: int) -> bool:
    """The owner has withdrawn uncommitted tokens. False if this reference is booked already.

    A withdrawal may leave the budget in deficit.
    """
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
    """The Distributor has paid an account. False if this reference is booked already."""
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
    entries = []
    for account, holder, amount in (debit, credit):
        if (account is Account.RESERVE) == (amount > 0):
            account_id = repository.grow_balances(session, program_id, account, {holder: amount})[
                holder
            ]
        else:
            account_id = repository.shrink_balance(session, program_id, account, holder, amount)
        entries.append(NewEntry(account_id, amount))
    repository.insert_entries(session, transaction_id, entries)
    return True


def book_rewards(
    session: Session, program_id: int, reference: str, rewards: Sequence[Reward]
) -> None:
    """Move rewards from the budget to their accounts: one transaction, one leg a reward.

    The caller has locked the budget's row and made sure that it covers the rewards. The database
    refuses a reward that leaves a deficit.
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
    entries = [
        NewEntry(ids[reward.address], -reward.amount, reward.interaction_id) for reward in rewards
    ]
    repository.insert_entries(session, transaction_id, [*entries, NewEntry(budget, total)])


def book_reversal(session: Session, program_id: int, reference: str, interaction_id: int) -> bool:
    """Book the exact opposite of one interaction's reward. False if `reference` is booked already.

    A seam: no endpoint and no command uses it yet. The caller locks the budget's row
    (`available_budget`), then marks the interaction as reversed
    (`interaction.repository.mark_reversed`, which no batch can then take), then books, all in one
    transaction. What the budget gains may cover held interactions: the caller releases them.

    Raises:
        NotFound: the interaction has no reward in this program.
        Conflict: the reference reversed another interaction.
        IntegrityError: the interaction is not marked as reversed, a batch holds it, or its reward
        is reversed already under another reference.
    """
    reward = repository.reward_entry(session, program_id, interaction_id)
    if reward is None:
        raise NotFound(f"interaction {interaction_id}: no reward is booked for it", "interaction")
    transaction_id = repository.insert_transaction(session, program_id, Kind.REVERSAL, reference)
    if transaction_id is None:
        if repository.reversed_entry(session, program_id, reference) != reward.id:
            raise Conflict(f"reference {reference}: it reversed another interaction", "reference")
        return False
    budget = repository.grow_balances(session, program_id, Account.BUDGET, {"": -reward.amount})
    account = repository.shrink_balance(
        session, program_id, Account.ACCOUNT, reward.holder, reward.amount
    )
    entries = [
        NewEntry(account, reward.amount, reverses_id=reward.id),
        NewEntry(budget[""], -reward.amount),
    ]
    repository.insert_entries(session, transaction_id, entries)
    return True


def available_budget(session: Session, program_id: int, lock: bool = False) -> int:
    """Funded and not promised yet, in base units.

    Below zero it is a deficit: the owner has withdrawn promised funds. A caller that locks the
    budget does so before it locks any account or interaction: two transactions that need the same
    rows then cannot end in a deadlock.
    """
    return -repository.balance(session, program_id, Account.BUDGET, lock=lock)


def owed(session: Session, program_id: int, address: str) -> int:
    """Earned and not yet paid by the chain, in base units."""
    return -repository.balance(session, program_id, Account.ACCOUNT, address)


def reserve(session: Session, program_id: int) -> int:
    """What the Distributor holds according to the ledger, in base units."""
    return repository.balance(session, program_id, Account.RESERVE)
