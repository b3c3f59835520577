"""Posting proven batches: the signed transaction is stored, ready for broadcast.

Proven batches of one program go together (company.py says which). A post that reverted, is lost or
passed over the batch is followed by another in the same envelope, as long as the envelope stands:
digest, signatures and proof are still good. From then on the batch goes alone, so that it holds up
no other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.batch import repository as batches
from backend.batch.models import Batch, BatchState
from backend.batch.states import log_fields, transition
from backend.chain import calldata
from backend.chain.models import OutgoingTransaction
from backend.chain.sender import SimulationReverted
from backend.context import Context
from backend.errors import GuerdonError, Invalid, NotYet
from backend.kit.failpoint import failpoint
from backend.program.models import Program
from backend.settlement import company
from backend.settlement.blame import Blame, can_change, suspects
from backend.settlement.daily_limit import left_for
from backend.settlement.models import BatchPost
from backend.settlement.post_rows import (
    as_post,
    attested,
    faults,
    post_calldata,
    posts_of,
    purpose_alone,
    purpose_of_all,
    quorum_of,
    record_faults,
)
from backend.settlement.quorum import Faults, Quorum, all_tried, choose

log = structlog.get_logger()
T = TypeVar("T")

SIGNATURE_GAS = 510_000
"""Most gas that the contract spends on one attestor's code (Signatures.sol), and what it asks to
have left for that. A post of several has it to spare, so that an attestor that burns it costs its
own batch alone."""
SIMULATIONS_MAX = 8
"""Most quorums that one look simulates where the simulation does not say who is at fault."""


def is_signers_fault(error: GuerdonError) -> bool:
    """Whether a post that `enqueue` refused may be accepted with other signatures."""
    if isinstance(error, SimulationReverted):
        return not error.data or error.data[:4] == calldata.INVALID_ATTESTATION
    return isinstance(error, Invalid) and error.field == "data"


def enqueue(context: Context, program: Program, batch_id: int, threshold: int) -> bool:
    """Store the signed transaction that posts a proven batch, perhaps with others of its program,
    and mark all that it posts as posted. Nothing is broadcast.

    A signature that the contract no longer accepts (an attestor that is a contract has changed its
    answer) is left out while enough others are valid. Attestors that made a post revert go along
    last. Another batch goes along if a simulation accepts it alone: that is the check of its proof
    and signatures before it can cost the others anything.

    Returns:
        False if another process stores a post of this program at this moment.

    Raises: as `Sender.enqueue`, for this batch. Nothing is reserved then.
    """
    doubtful: list[Quorum] = []
    # One at a time: two that began together would share the batches out between them.
    with context.database.advisory_lock(f"post {program.id}") as mine:
        if not mine:
            return False
        try:
            chosen = _choose_several(context, program, batch_id, threshold, doubtful)
            with context.database.transaction() as session:
                batch = batches.locked(session, batch_id, BatchState.PROVEN)
                if batch is None:
                    return True
                held = _store(context, session, program, batch, chosen, threshold, doubtful)
                failpoint("post.before_commit")
        finally:
            for quorum in doubtful:
                found = suspects(context.node, sorted(quorum))
                with context.database.transaction() as session:
                    record_faults(
                        session, program.id, Blame((), found, "it could not be simulated")
                    )
    failpoint("post.stored")
    if held > 1:
        failpoint("post.set_stored")
    return True


class _Chosen(NamedTuple):
    """A batch that a post of several may hold, by its id and the digest that was simulated."""

    batch_id: int
    digest: bytes
    post: calldata.Post


def _choose_several(
    context: Context, program: Program, batch_id: int, threshold: int, doubtful: list[Quorum]
) -> list[_Chosen]:
    """The batch and those that go along, each simulated alone; empty if it goes alone. Raises what
    the simulation says of the batch itself."""
    with context.database.transaction() as session:
        batch = session.get_one(Batch, batch_id)
        most = context.settings.post_batches_max
        found = [batch, *company.candidates(session, program.id, batch, most - 1)]
        signed = {one.id: attested(session, one) for one in found}
        blamed = faults(session, program.id)
    if len(found) == 1:
        return []

    def simulated(one: Batch, attestations: Sequence[calldata.Attestation]) -> _Chosen:
        what = f"bucket {one.bucket} sequence {one.sequence}"
        data = post_calldata(one, attestations)
        context.poster.simulate(what, program.distributor, data)
        return _Chosen(one.id, one.envelope().digest, as_post(one, attestations))

    own = _with_quorum(
        signed[batch_id], threshold, blamed, [], doubtful, lambda some: simulated(batch, some)
    )
    chosen, now = [own], company.standing(context, program)
    room = min(now.room, left_for(context, program, found)) - batch.total
    size = len(calldata.post_batches([own.post]))
    for one in found[1:]:
        quorum = choose((each.attestor for each in signed[one.id]), threshold, blamed)
        if quorum is None or not now.takes(one.envelope()):
            continue
        if one.total > room:
            # One that waits for the daily limit is left its room by those closed after it.
            room -= one.total if one.fits_at is not None else 0
            continue
        try:
            also = simulated(one, [each for each in signed[one.id] if each.attestor in quorum])
        except SimulationReverted as error:
            log.info("post_left_out", **log_fields(one), reason=error.message)
            continue
        bytes_more = len(calldata.post_batches([also.post]))
        if size + bytes_more > company.CALLDATA_BYTES_MAX:
            continue
        chosen.append(also)
        room, size = room - one.total, size + bytes_more
    return chosen


def _store(
    context: Context,
    session: Session,
    program: Program,
    batch: Batch,
    chosen: Sequence[_Chosen],
    threshold: int,
    doubtful: list[Quorum],
) -> int:
    """Store the post, and move what it holds. `batch` is locked. Returns how many it holds."""
    several = _still_there(session, chosen)
    if several and several[0][0] is not batch:
        several = []
    stored = _enqueue_several(context, session, program, several) if several else None
    if stored is None:
        stored = _enqueue(context, session, program, batch, threshold, doubtful), [batch]
    row, posted = stored
    for one in posted:
        session.add(BatchPost(outgoing_id=row.id, batch_id=one.id, digest=one.envelope().digest))
        one.transaction_id = row.id
        if one is not batch:
            one.retry_at = None  # Its worker waits for others no longer.
        transition(one, BatchState.POSTED)
    if len(posted) > 1:
        log.info("posted_together", program=program.id, batches=len(posted), purpose=row.purpose)
        failpoint("post.set_before_commit")
    return len(posted)


def _still_there(session: Session, chosen: Sequence[_Chosen]) -> list[tuple[Batch, calldata.Post]]:
    """The chosen batches that are still proven in that envelope, locked. A row that another process
    holds is left to it: nothing waits for it with this batch locked."""
    query = (
        select(Batch)
        .where(Batch.id.in_([one.batch_id for one in chosen]), Batch.state == BatchState.PROVEN)
        .with_for_update(key_share=True, skip_locked=True)
    )
    rows = {row.id: row for row in session.scalars(query)}
    return [
        (rows[one.batch_id], one.post)
        for one in chosen
        if one.batch_id in rows and rows[one.batch_id].digest == one.digest
    ]


def _enqueue_several(
    context: Context,
    session: Session,
    program: Program,
    several: Sequence[tuple[Batch, calldata.Post]],
) -> tuple[OutgoingTransaction, list[Batch]] | None:
    """The row of a post of several batches, the first among them, and which it holds. Half of them
    as long as the whole is refused, most often because of its gas or its price; None if that leaves
    one."""
    while len(several) > 1:
        held = [batch for batch, _ in several]
        data = calldata.post_batches([post for _, post in several])
        names = [one.attestor for _, post in several for one in post.attestations]
        changeable = set(can_change(context.node, sorted(set(names))))
        spare_gas = SIGNATURE_GAS * sum(name in changeable for name in names)
        try:
            purpose = purpose_of_all(program, held)
            return (
                context.poster.enqueue(
                    session, purpose, program.distributor, data, spare_gas=spare_gas
                ),
                held,
            )
        except (SimulationReverted, Invalid, NotYet) as error:
            log.info("post_halved", program=program.id, batches=len(held), reason=error.message)
            several = several[: len(several) // 2]
    return None


def _enqueue(
    context: Context,
    session: Session,
    program: Program,
    batch: Batch,
    threshold: int,
    doubtful: list[Quorum],
) -> OutgoingTransaction:
    """Store the first post of the batch alone that the simulation accepts."""
    posts = posts_of(session, batch)
    purpose = purpose_alone(program, batch, len(posts) + 1)
    return _with_quorum(
        attested(session, batch),
        threshold,
        faults(session, program.id),
        [quorum_of(row, batch) for row in posts],
        doubtful,
        lambda some: context.poster.enqueue(
            session, purpose, program.distributor, post_calldata(batch, some)
        ),
    )


def _with_quorum(
    signed: Sequence[calldata.Attestation],
    threshold: int,
    blamed: Mapping[str, Faults],
    tried: list[Quorum],
    doubtful: list[Quorum],
    attempt: Callable[[Sequence[calldata.Attestation]], T],
) -> T:
    """What `attempt` returns for the first quorum that it does not refuse. Quorums that it refuses
    without a name are added to `doubtful`."""
    valid = {one.attestor: one for one in signed}
    refusals = 0
    while True:
        quorum = choose(valid, threshold, blamed, tried) or Quorum(valid)
        try:
            return attempt([one for name, one in valid.items() if name in quorum])
        except (SimulationReverted, Invalid) as error:
            if not is_signers_fault(error):
                raise
            named = _refused(error, quorum)
            if named is None:
                doubtful.append(quorum)
                tried.append(quorum)
                refusals += 1
                if refusals >= SIMULATIONS_MAX or all_tried(valid, threshold, tried):
                    raise
            elif len(valid) <= threshold:
                raise
            else:
                del valid[named]


def _refused(error: GuerdonError, quorum: Quorum) -> str | None:
    """The attestor whose signature the simulation refused; None if it names none."""
    data = error.data if isinstance(error, SimulationReverted) else b""
    return next((one for one in quorum if calldata.invalid_attestation(one) == data), None)
