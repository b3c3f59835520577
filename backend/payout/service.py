"""What an account can claim now, and the call that claims it."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.orm import Session

from backend.account import repository as accounts
from backend.batch import repository as batches
from backend.batch.content import as_pairs, bucket_tree
from backend.batch.models import Batch
from backend.chain import calldata
from backend.errors import Conflict, NotFound
from backend.interaction.models import ABOVE_DAILY_LIMIT, Interaction, InteractionState
from backend.kit.cache import SingleFlightCache
from backend.ledger import service as ledger
from backend.payout.repository import Owed
from backend.program.models import Program
from prover.circuit import load_instance
from prover.tree import Tree
from prover.wire import UINT96_MAX


@dataclass(frozen=True)
class Standing:
    """An account's money in base units: earned = pending + claimable + claimed."""

    address: str
    earned: int
    pending: dict[str, int]
    """reason -> amount: `accepted` (waits for a batch), `batched` (its batch is not final yet),
    `above_daily_limit` (alone it is more than the program may commit in a day: it waits for a
    higher limit), `unprovable` (waits for the operator)."""
    held: dict[str, int]
    """reason -> amount of what is reported and not earned yet."""
    claimable: int
    claimed: int
    bucket: int | None
    slot: int | None


@dataclass(frozen=True)
class ClaimCall:
    """All that a claim needs: send `calldata` to `to` on chain `chain_id`."""

    chain_id: int
    to: str
    bucket: int
    slot: int
    sequence: int
    account: str
    cumulative: int
    claimable: int
    siblings: list[int]
    calldata: bytes


_trees: SingleFlightCache[tuple[str, int], Tree] = SingleFlightCache(256)
"""Bucket trees by (instance, root). A root names one tree, so an entry is never stale."""


def _tree(session: Session, program: Program, batch: Batch) -> Tree:
    """The bucket's tree after the batch. Raises AssertionError if its root is not the batch's."""

    def make() -> Tree:
        pairs = as_pairs(batches.pairs_after(session, program.id, batch.bucket, batch.sequence))
        tree = bucket_tree(load_instance(program.instance), pairs)
        if tree.root != batch.new_root:
            raise AssertionError(
                f"bucket {batch.bucket}: its accounts do not give the root of batch "
                f"{batch.sequence}"
            )
        return tree

    return _trees.get((program.instance, batch.new_root), make)


def standing(session: Session, program: Program, address: str) -> Standing:
    """An account's money; all zeros for an address that has earned nothing."""
    account = accounts.by_address(session, program.id, address)
    posted, claimed = (account.posted, account.claimed) if account else (0, 0)
    earned = ledger.owed(session, program.id, address) + claimed
    # A literal: PostgreSQL must see the same expression twice.
    limit: ColumnElement[int] = literal_column(str(program.daily_limit or UINT96_MAX))
    above: ColumnElement[bool] = Interaction.amount > limit
    rows = session.execute(
        select(Interaction.state, Interaction.held_reason, above, func.sum(Interaction.amount))
        .where(
            Interaction.program_id == program.id,
            Interaction.account == address,
            Interaction.batch_id.is_(None),
        )
        .group_by(Interaction.state, Interaction.held_reason, above)
    ).all()
    held: Counter[str] = Counter()
    pending: Counter[str] = Counter()
    for state, reason, is_above, amount in rows:
        if state == InteractionState.HELD:
            held[str(reason)] += int(amount)
        elif state in (InteractionState.ACCEPTED, InteractionState.UNPROVABLE):
            waits_for_limit = is_above and state == InteractionState.ACCEPTED
            pending[ABOVE_DAILY_LIMIT if waits_for_limit else state] += int(amount)
    pending["batched"] = earned - posted - sum(pending.values())
    return Standing(
        address,
        earned,
        {reason: amount for reason, amount in pending.items() if amount},
        dict(held),
        posted - claimed,
        claimed,
        account.bucket if account else None,
        account.slot if account else None,
    )


def claim_call(session: Session, program: Program, address: str) -> ClaimCall:
    """The claim of everything that the chain owes the account now.

    Raises:
        NotFound: no final batch holds the account.
        Conflict: the account has claimed everything.
    """
    account = accounts.by_address(session, program.id, address)
    if account is None or not account.posted:
        raise NotFound(f"{address} has nothing on chain yet", "address", "nothing_posted")
    if account.posted == account.claimed:
        raise Conflict(
            f"{address} has claimed everything that is on chain", "address", "nothing_to_claim"
        )
    batch = _newest_final(session, program, account.bucket)
    siblings = _tree(session, program, batch).siblings(account.slot)
    data = calldata.claim(
        account.bucket, account.slot, batch.sequence, account.address, account.posted, siblings
    )
    return ClaimCall(
        program.chain_id,
        program.distributor,
        account.bucket,
        account.slot,
        batch.sequence,
        account.address,
        account.posted,
        account.posted - account.claimed,
        siblings,
        data,
    )


def owed(session: Session, program: Program, addresses: list[str]) -> list[Owed]:
    """What the chain owes to those of `addresses` whom it owes something, by bucket and slot."""
    return [
        Owed(row.id, row.address, row.bucket, row.slot, row.posted, row.posted - row.claimed)
        for row in accounts.owed(session, program.id, addresses)
    ]


def claim_many_calls(
    session: Session, program: Program, addresses: list[str], payouts_max: int = 64
) -> list[tuple[list[str], bytes]]:
    """Calls that push what the chain owes to `addresses`, by bucket: (accounts, calldata).

    Each call names at most `payouts_max` accounts.
    """
    rows = owed(session, program, addresses)
    calls = []
    for bucket in sorted({row.bucket for row in rows}):
        batch = _newest_final(session, program, bucket)
        tree = _tree(session, program, batch)
        in_bucket = [row for row in rows if row.bucket == bucket]
        for start in range(0, len(in_bucket), payouts_max):
            part = in_bucket[start : start + payouts_max]
            payouts = [calldata.SlotPayout(row.slot, row.address, row.cumulative) for row in part]
            siblings = tree.multi_siblings([row.slot for row in part])
            calls.append(
                (
                    [row.address for row in part],
                    calldata.claim_many(bucket, batch.sequence, payouts, siblings),
                )
            )
    return calls


def _newest_final(session: Session, program: Program, bucket: int) -> Batch:
    """The bucket's newest final batch. An account with something posted has one."""
    sequence = batches.newest_final(session, program.id, bucket)
    batch = batches.get(session, program.id, bucket, sequence)
    if batch is None:
        raise AssertionError(f"bucket {bucket}: an account is posted, and no batch is final")
    return batch
