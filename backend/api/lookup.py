"""Public reads about batches and the interactions in them."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.api.schemas.batch import BatchAccountOut, BatchDetailOut, BatchOut
from backend.api.schemas.interaction import BatchRef, InteractionFields, InteractionOut, Membership
from backend.api.schemas.token import token_fields
from backend.attestation.models import Attestation
from backend.batch import repository
from backend.batch.close import items_of
from backend.batch.content import interactions_tree, leaf
from backend.batch.models import Batch, BatchState
from backend.errors import NotFound
from backend.interaction import repository as interactions
from backend.interaction.models import ABOVE_DAILY_LIMIT, Interaction, InteractionState
from backend.kit.cache import SingleFlightCache
from backend.program.models import Program
from prover.eip712 import Domain
from prover.merkle import LEAF_TYPES, InteractionsTree, Leaf

_trees: SingleFlightCache[bytes, InteractionsTree] = SingleFlightCache(64)
"""Trees of final batches by root, so that no entry is ever stale. At most 400 kB each."""


def interaction_out(
    session: Session, program: Program, partner: str, row: Interaction
) -> InteractionOut:
    """An interaction's public facts, with the membership proof once its batch is final."""
    domain = Domain(program.chain_id, program.distributor)
    (item,) = items_of(session, [row])
    hashed = item.interaction(domain)
    batch = session.get(Batch, row.batch_id) if row.batch_id is not None else None
    reference, membership, state = None, None, row.state
    if batch is not None and row.item_index is not None:
        state = "batched"
        reference = BatchRef(
            bucket=batch.bucket,
            sequence=batch.sequence,
            item_index=row.item_index,
            state=batch.state,
            tx_hash=batch.tx_hash,
        )
        if batch.state == BatchState.FINAL:
            state = "posted"
            membership = _membership(session, domain, batch, leaf(domain, row.item_index, item))
    elif row.state == InteractionState.ACCEPTED and 0 < program.daily_limit < row.amount:
        state = ABOVE_DAILY_LIMIT
    return InteractionOut(
        partner=partner,
        event_id=row.event_id,
        account=row.account,
        amount=row.amount,
        occurred_at=row.occurred_at,
        state=state,
        held_reason=row.held_reason,
        batch=reference,
        interaction=InteractionFields(
            program=hashed.program,
            partner=hashed.partner,
            event_id=hashed.event_id,
            account=row.account,
            amount=row.amount,
            occurred_at=row.occurred_at,
            evidence=hashed.evidence,
            hash=hashed.hash,
        ),
        membership=membership,
        **token_fields(program).model_dump(),
    )


def _membership(session: Session, domain: Domain, batch: Batch, own: Leaf) -> Membership:
    def make() -> InteractionsTree:
        tree = interactions_tree(
            domain, items_of(session, interactions.of_batch(session, batch.id))
        )
        if tree.root != batch.interactions_root:
            raise AssertionError(
                f"batch {batch.id}: its interactions do not give its interactions_root"
            )
        return tree

    proof = _trees.get(batch.interactions_root, make).proof(own.item_index)
    values = [
        str(own.item_index),
        "0x" + own.interaction_hash.hex(),
        own.account,
        str(own.item_amount),
    ]
    return Membership(
        leaf_types=list(LEAF_TYPES),
        leaf=values,
        proof=proof,
        interactions_root=batch.interactions_root,
    )


def batch_detail(session: Session, program: Program, bucket: int, sequence: int) -> BatchDetailOut:
    """One batch with its touched slots and attestations. Raises NotFound."""
    batch = repository.get(session, program.id, bucket, sequence)
    if batch is None:
        raise NotFound(f"bucket {bucket} has no batch {sequence}", "sequence", "unknown_batch")
    signed = select(Attestation).where(
        Attestation.batch_id == batch.id, Attestation.digest == batch.digest
    )
    return BatchDetailOut(
        **BatchOut.model_validate(batch).model_dump(),
        attestor_epoch=batch.attestor_epoch,
        valid_until=batch.valid_until,
        digest=batch.digest,
        proof=batch.proof,
        attestors=[row.attestor for row in session.scalars(signed.order_by(Attestation.attestor))],
        accounts=[
            BatchAccountOut.model_validate(row) for row in repository.touched(session, batch.id)
        ],
        **token_fields(program).model_dump(),
    )
