"""The hash chain over the ledger: blocks sealed after the fact, so that booking never waits for it.

A block's hash is sha256 over the previous hash and, for each of its transactions in order, id, kind, reference and legs, each part
behind its length. Whoever holds a later hash (attestors sign the newest into every batch) can tell if an entry was changed or removed.
"""

import hashlib

from sqlalchemy.orm import Session

from backend.ledger import repository
from backend.ledger.models import LedgerAccount, LedgerBlock, LedgerEntry, LedgerTransaction

GENESIS = b"\0" * 32

Transactions = list[tuple[LedgerTransaction, list[tuple[LedgerEntry, LedgerAccount]]]]


def _part(value: bytes | str | int) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode()
    return len(data).to_bytes(4, "big") + data


def block_hash(previous: bytes, height: int, transactions: Transactions) -> bytes:
    """32 bytes."""
    digest = hashlib.sha256(_part(previous) + _part(height) + _part(len(transactions)))
    for transaction, legs in transactions:
        digest.update(_part(transaction.id) + _part(transaction.kind) + _part(transaction.reference) + _part(len(legs)))
        for entry, account in legs:
            digest.update(_part(account.kind) + _part(account.holder) + _part(entry.amount) + _part(entry.interaction_id or 0))
    return digest.digest()


def seal(session: Session, program_id: int) -> bytes:
    """Seal whatever is booked and not sealed; returns the newest block's hash (zeros before the first).

    The caller holds the program's row lock, so blocks are sealed one after another.
    """
    newest = repository.head(session, program_id)
    previous, height = (newest.hash, newest.height + 1) if newest else (GENESIS, 1)
    ids = repository.unsealed(session, program_id)
    if not ids:
        return previous
    hash_ = block_hash(previous, height, repository.transactions_with_entries(session, ids))
    block = LedgerBlock(program_id=program_id, height=height, previous_hash=previous, hash=hash_)
    session.add(block)
    session.flush()
    repository.insert_block_transactions(session, block.id, ids)
    return hash_


def verify(session: Session, program_id: int) -> int:
    """Recompute every block; returns how many hold. Raises AssertionError naming the first that does not."""
    previous = GENESIS
    blocks = repository.blocks(session, program_id)
    for height, block in enumerate(blocks, start=1):
        ids = repository.block_transaction_ids(session, block.id)
        transactions = {
            transaction.id: (transaction, legs) for transaction, legs in repository.transactions_with_entries(session, ids)
        }
        # One that is gone is left out, and the hash no longer agrees.
        ordered = [transactions[id_] for id_ in ids if id_ in transactions]
        if (block.height, block.previous_hash, block.hash) != (height, previous, block_hash(previous, height, ordered)):
            raise AssertionError(f"ledger block {block.height} of program {program_id} does not follow from its entries")
        previous = block.hash
    return len(blocks)
