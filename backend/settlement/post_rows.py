"""What a post says of a batch, and the memory of the posts that were made of it.

Each post is a transaction of its own, whose purpose names its digests; `batch_post` has which
batches it holds.
"""

from collections.abc import Sequence

from eth_utils.crypto import keccak
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.attestation.envelope import batch_envelope
from backend.attestation.models import Attestation, AttestorFault
from backend.batch.models import Batch
from backend.chain import calldata
from backend.chain.models import OutgoingTransaction
from backend.program.models import Program
from backend.settlement.blame import Blame
from backend.settlement.models import BatchPost
from backend.settlement.quorum import Faults, Quorum, all_tried
from prover.wire import Proof


def attested(session: Session, batch: Batch) -> list[calldata.Attestation]:
    """The attestations of the batch's digest, in ascending order of attestor."""
    query = select(Attestation).where(
        Attestation.batch_id == batch.id, Attestation.digest == batch.digest
    )
    rows = sorted(session.scalars(query), key=lambda row: int(row.attestor, 16))
    return [calldata.Attestation(row.attestor, row.signature) for row in rows]


def post_calldata(batch: Batch, attestations: Sequence[calldata.Attestation]) -> bytes:
    """The postBatch call of a proven batch."""
    return calldata.post_batch(_header(batch), batch.deltas, _proof_words(batch), attestations)


def as_post(batch: Batch, attestations: Sequence[calldata.Attestation]) -> calldata.Post:
    """A proven batch as one of several."""
    envelope = batch.envelope()
    signed = batch_envelope(batch, envelope.attestor_epoch, envelope.valid_until)
    return calldata.Post(
        _header(batch),
        signed.struct_hash,
        batch.deltas,
        tuple(_proof_words(batch)),
        tuple(attestations),
    )


def _header(batch: Batch) -> calldata.Batch:
    return calldata.Batch(
        batch.bucket,
        batch.sequence,
        batch.new_root,
        batch.items_root,
        batch.interactions_root,
        batch.ledger_head,
        batch.envelope().valid_until,
    )


def _proof_words(batch: Batch) -> list[int]:
    return Proof.from_bytes(batch.stored_proof()).to_words()


def posts_of(session: Session, batch: Batch) -> list[OutgoingTransaction]:
    """The posts of the batch in its envelope, oldest first, those with other batches too."""
    query = (
        select(OutgoingTransaction)
        .join(BatchPost, BatchPost.outgoing_id == OutgoingTransaction.id)
        .where(BatchPost.batch_id == batch.id, BatchPost.digest == batch.digest)
    )
    return list(session.scalars(query.order_by(OutgoingTransaction.id)))


def purpose_alone(program: Program, batch: Batch, number: int) -> str:
    """Of the batch's post so often in its envelope, if it goes alone."""
    # The digest names the envelope: a batch that is signed again is another transaction.
    base = (
        f"post {program.chain_id} {program.distributor} {batch.bucket} {batch.sequence} "
        f"{batch.envelope().digest.hex()}"
    )
    return base if number == 1 else f"{base} {number}"


def purpose_of_all(program: Program, several: Sequence[Batch]) -> str:
    """Of a post of several batches."""
    # A batch goes with others once in its envelope at most: no number is needed.
    digests = b"".join(batch.envelope().digest for batch in several)
    return (
        f"post {program.chain_id} {program.distributor} {len(several)} batches "
        f"{keccak(digests).hex()}"
    )


def is_of_several(row: OutgoingTransaction) -> bool:
    """Whether a post holds several batches."""
    return row.data[:4] == calldata.POST_BATCHES


def attestations_in(row: OutgoingTransaction, batch: Batch) -> tuple[calldata.Attestation, ...]:
    """The signatures of the batch that a post holds."""
    if not is_of_several(row):
        return calldata.decode_post_batch(row.data).attestations
    place = batch.bucket, batch.sequence
    posts = calldata.decode_post_batches(row.data)
    [own] = [post for post in posts if (post.batch.bucket, post.batch.sequence) == place]
    return own.attestations


def quorum_of(row: OutgoingTransaction, batch: Batch) -> Quorum:
    """Whose signatures of the batch a post holds."""
    return Quorum(one.attestor for one in attestations_in(row, batch))


def faults(session: Session, program_id: int) -> dict[str, Faults]:
    """attestor -> what it is blamed for."""
    rows = session.scalars(select(AttestorFault).where(AttestorFault.program_id == program_id))
    return {row.attestor: Faults(row.refused, row.suspected) for row in rows}


def needs_signatures(session: Session, batch: Batch, threshold: int) -> bool:
    """Whether every quorum of those who have signed was tried, and a post failed."""
    posts = posts_of(session, batch)
    signers = [one.attestor for one in attested(session, batch)]
    tried = [quorum_of(row, batch) for row in posts]
    return bool(posts) and all_tried(signers, threshold, tried)


def record_faults(session: Session, program_id: int, found: Blame) -> None:
    """Remember whose signature failed a post."""
    for attestor in sorted({*found.refused, *found.suspected}):
        one = int(attestor in found.refused)
        made = insert(AttestorFault).values(
            program_id=program_id,
            attestor=attestor,
            refused=one,
            suspected=1 - one,
            reason=found.reason,
        )
        session.execute(
            made.on_conflict_do_update(
                index_elements=["program_id", "attestor"],
                set_={
                    "refused": AttestorFault.refused + made.excluded.refused,
                    "suspected": AttestorFault.suspected + made.excluded.suspected,
                    "reason": made.excluded.reason,
                    "updated_at": func.now(),
                },
            )
        )
