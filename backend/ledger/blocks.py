"""The hash chain over the ledger. Blocks are sealed later, so that booking never waits for them.

A block's hash is sha256 over the previous hash, the height, the number of transactions and, for
each transaction in order, its id, kind, reference, number of legs and legs. Each part follows its
length. A later hash therefore shows whether an entry was changed or removed, and attestors sign the
newest hash into every batch.
"""

import hashlib
from collections.abc import Sequence

from sqlalchemy.orm import Session

from backend.ledger import repository
from backend.ledger.models import LedgerBlock, LedgerTransactionKind
from backend.ledger.repository import Movement

GENESIS = b"\0" * 32
BLOCK_TRANSACTIONS_MAX = 1000
BLOCK_LEGS_MAX = 20_000
"""A block ends before it has more legs than this, unless one transaction has more: little is hashed
at once."""
BLOCKS_PER_READ = 1000


def _part(value: bytes | str | int) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode()
    return len(data).to_bytes(4, "big") + data


def block_hash(previous: bytes, height: int, movements: Sequence[Movement]) -> bytes:
    """The block's hash, 32 bytes."""
    digest = hashlib.sha256(_part(previous) + _part(height) + _part(len(movements)))
    for movement in movements:
        digest.update(
            _part(movement.id)
            + _part(movement.kind)
            + _part(movement.reference)
            + _part(len(movement.legs))
        )
        for leg in movement.legs:
            digest.update(
                _part(leg.kind)
                + _part(leg.holder)
                + _part(leg.amount)
                + _part(leg.interaction_id or 0)
            )
            # Only here: the hashes of transactions of the other kinds stay what they were.
            if movement.kind == LedgerTransactionKind.REVERSAL:
                digest.update(_part(leg.reverses_id or 0))
    return digest.digest()


def seal(session: Session, program_id: int) -> bytes:
    """Seal everything that is booked and not sealed; returns the newest block's hash.

    Before the first block the hash is zeros. The caller holds the program's row lock, so blocks are
    sealed one after another.
    """
    while ids := _next_block(session, program_id)[0]:
        _seal_block(session, program_id, ids)
    newest = repository.head(session, program_id)
    return newest.hash if newest else GENESIS


def seal_full(session: Session, program_id: int) -> bool:
    """Seal one block if more is queued than it holds; returns whether it did.

    The queue of a program that closes no batch then stays short. The caller holds the program's row
    lock.
    """
    ids, more = _next_block(session, program_id)
    if more:
        _seal_block(session, program_id, ids)
    return more


def _next_block(session: Session, program_id: int) -> tuple[list[int], bool]:
    """Ids of the next block's transactions, and whether more are queued behind them."""
    queued = repository.unsealed(session, program_id, BLOCK_TRANSACTIONS_MAX + 1)
    counts = repository.entry_counts(session, queued)
    taken, legs = 0, 0
    for id_ in queued[:BLOCK_TRANSACTIONS_MAX]:
        legs += counts.get(id_, 0)
        if taken and legs > BLOCK_LEGS_MAX:
            break
        taken += 1
    return queued[:taken], taken < len(queued)


def _seal_block(session: Session, program_id: int, ids: list[int]) -> None:
    newest = repository.head(session, program_id)
    previous, height = (newest.hash, newest.height + 1) if newest else (GENESIS, 1)
    hash_ = block_hash(previous, height, repository.movements(session, ids))
    block = LedgerBlock(program_id=program_id, height=height, previous_hash=previous, hash=hash_)
    session.add(block)
    session.flush()
    repository.insert_block_transactions(session, block.id, ids)


def verify(session: Session, program_id: int, after: int = 0) -> int:
    """Recompute every block above height `after`, which was verified before; returns the height
    of the newest block.

    Raises AssertionError that names the first block that does not follow.
    """
    below = repository.blocks(session, program_id, after - 1, 1) if after else []
    if after and [block.height for block in below] != [after]:
        raise AssertionError(f"ledger block {after} of program {program_id} was there and is gone")
    previous = below[0].hash if below else GENESIS
    while blocks := repository.blocks(session, program_id, after, BLOCKS_PER_READ):
        for block in blocks:
            after += 1
            _require_follows(session, block, after, previous)
            previous = block.hash
    return after


def _require_follows(session: Session, block: LedgerBlock, height: int, previous: bytes) -> None:
    ids = repository.block_transaction_ids(session, block.id)
    movements = {movement.id: movement for movement in repository.movements(session, ids)}
    # A transaction that is gone is left out, and the hash no longer agrees.
    ordered = [movements[id_] for id_ in ids if id_ in movements]
    if (block.height, block.previous_hash, block.hash) != (
        height,
        previous,
        block_hash(previous, height, ordered),
    ):
        raise AssertionError(
            f"ledger block {block.height} of program {block.program_id} does not follow from "
            "its entries"
        )
