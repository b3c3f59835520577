"""Collecting attestations: asking the attestors of a program until m of them have signed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.attestation.client import AskAgain, Attested, AttestorOutcome, Refusal, open_client
from backend.attestation.conversation import Question, ask, check_signature, encode
from backend.attestation.envelope import batch_envelope
from backend.attestation.models import Attestation
from backend.attestation.request import DeliveryEvidence, ItemSource, build_leaves, build_request
from backend.batch import repository as batches
from backend.batch.close import items_of
from backend.batch.models import Batch, BatchState
from backend.batch.states import log_fields, mark_proven, transition
from backend.context import Context
from backend.errors import Conflict, NotYet
from backend.interaction import repository as interactions
from backend.interaction.models import DeliverySalt, StoredDelivery
from backend.kit.failpoint import failpoint
from backend.kit.metrics import ATTESTATION_ANSWERS, ATTESTATION_SECONDS
from backend.partner.models import Partner
from backend.program import repository as programs
from backend.program.models import Program
from prover.eip712 import Domain

log = structlog.get_logger()

LATE_SECONDS = 1
"""How long the other attestors still have once m have signed. Nobody needs their signatures, but
they need the leaves: an attestor that is never heard would lack every batch on the day that another
attestor is down."""


class AttestationRefused(Conflict):
    """Attestors refuse the batch for good: it cannot collect m signatures.

    An operator must look.
    """

    code = "attestation_refused"


def collect(context: Context, program: Program, batch_id: int) -> None:
    """Ask the attestors, all at once, until m have signed.

    The batch is then attested; with a proof, it is also proven.

    Raises:
        NotYet: too few have signed so far, and more may; or the batch got another envelope
        meanwhile.
        AttestationRefused: too many have refused.
    """
    with context.database.transaction() as session:
        batch = batches.locked(session, batch_id, BatchState.CLOSED)
        if batch is None:
            return
        payload = _payload(session, program, batch)
        signed = _signed(session, batch)
    addresses, threshold, _ = context.distributor(program).attestors("latest")
    members, outcomes = frozenset(addresses), list[AttestorOutcome]()
    if len(signed & members) < threshold:
        collection = _Collection(context, program, batch, payload, members, threshold)
        with ATTESTATION_SECONDS.time():
            outcomes = collection.ask_all(signed & members)
        for outcome in outcomes:
            ATTESTATION_ANSWERS.labels(type(outcome).__name__).inc()
        failpoint("attest.signed")
    with context.database.transaction() as session:
        if row := _in_envelope(session, batch):
            _require_enough(_signed(session, row) & members, threshold, outcomes)
            transition(row, BatchState.ATTESTED)
            row.note = None
            if row.proof is not None:
                mark_proven(row)
    failpoint("attest.after_commit")


def collect_more(context: Context, program: Program, batch_id: int) -> int:
    """Ask for the signatures that a proven batch does not have, in the envelope that it has: those
    it has were not enough for a post. All attestors are asked, and waited for.

    Returns:
        How many more attestors have signed.
    """
    with context.database.transaction() as session:
        batch = batches.locked(session, batch_id, BatchState.PROVEN)
        if batch is None:
            return 0
        payload, before = _payload(session, program, batch), _signed(session, batch)
    members = frozenset(context.distributor(program).attestors("latest")[0])
    if members <= before:
        return 0
    collection = _Collection(context, program, batch, payload, members, len(members))
    for outcome in collection.ask_all(before & members):
        ATTESTATION_ANSWERS.labels(type(outcome).__name__).inc()
    with context.database.transaction() as session:
        return len(_signed(session, batch) - before)


def _in_envelope(session: Session, batch: Batch) -> Batch | None:
    """The batch's row, locked, if its state is still that of `batch`. Raises NotYet if it has got
    another envelope since `batch` was read.

    A worker holds the advisory lock of its batch, but a worker whose connection breaks loses the
    lock and is not told.
    """
    row = batches.locked(session, batch.id, batch.state)
    if row is not None and row.digest != batch.digest:
        raise NotYet("the batch got another envelope while its signatures were collected")
    return row


def _signed(session: Session, batch: Batch) -> set[str]:
    query = select(Attestation.attestor).where(
        Attestation.batch_id == batch.id, Attestation.digest == batch.digest
    )
    return set(session.scalars(query))


@dataclass(frozen=True)
class _Collection:
    """One collection of signatures: whom to ask what, and how many signatures are enough."""

    context: Context
    program: Program
    batch: Batch
    payload: dict[str, object]
    members: frozenset[str]
    threshold: int

    def question(self) -> Question:
        """What each attestor is asked."""
        node = self.context.node
        return Question(
            encode(self.payload),
            self.batch.envelope().digest,
            self.context.settings.attestor_timeout_seconds,
            leaves=self._leaves,
            check=lambda found: check_signature(node, self.members, found),
        )

    def _leaves(
        self, distributor: str | None, bucket: int, sequence: int
    ) -> dict[str, object] | None:
        """The leaves of a batch of the program, or of one that has ended: a predecessor's."""
        if distributor in (None, self.program.distributor):
            return _leaves(self.context, self.program, bucket, sequence)
        with self.context.database.transaction() as session:
            found = programs.at(session, self.program.chain_id, distributor)
        if found is None or self.context.distributor(found).attestors("latest")[0] != (
            found.distributor,
        ):
            return None
        return _leaves(self.context, found, bucket, sequence)

    def ask_all(self, signed: set[str]) -> list[AttestorOutcome]:
        """Ask every attestor at once, and store each signature as it comes.

        Returns:
            The outcomes of the attestors that were waited for.
        """
        # Not asyncio.run: it would wait for threads that nobody needs any more, such as a thread
        # that resolves a name.
        loop = asyncio.new_event_loop()
        # Enough threads for all attestors: what one attestor's name or contract holds up must not
        # keep another attestor's signature from being stored.
        threads = 2 * len(self.program.attestors) + 1
        loop.set_default_executor(ThreadPoolExecutor(threads, "attestation"))
        try:
            return loop.run_until_complete(self._ask_until_enough(set(signed)))
        finally:
            loop.close()

    async def _ask_until_enough(self, signed: set[str]) -> list[AttestorOutcome]:
        outcomes: list[AttestorOutcome] = []
        question = self.question()
        token = self.context.settings.attestor_token.get_secret_value() or None
        async with open_client(token, self.program.attestors) as http:
            tasks = {
                asyncio.create_task(ask(http, url, question)) for url in self.program.attestors
            }
            pending, clock, end = tasks, asyncio.get_running_loop().time, None
            try:
                while pending:
                    if end is None and len(signed) >= self.threshold:
                        end = clock() + LATE_SECONDS
                    seconds = None if end is None else end - clock()
                    done, pending = await asyncio.wait(
                        pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
                    )
                    if not done:
                        break
                    outcomes += (came := [task.result() for task in done])
                    found = [outcome for outcome in came if isinstance(outcome, Attested)]
                    await asyncio.to_thread(self._store, found)
                    signed |= {attested.attestor for attested in found}
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Refusal):
                log.error(
                    "attestor_refused",
                    **log_fields(self.batch),
                    code=outcome.code,
                    reason=outcome.reason,
                    item=outcome.item,
                )
        return outcomes

    def _store(self, found: list[Attested]) -> None:
        """Keep signatures of the batch's envelope. Raises NotYet if the batch has another one."""
        with self.context.database.transaction() as session:
            if _in_envelope(session, self.batch) is None:
                return
            for attested in found:
                values = {"digest": attested.digest, "signature": attested.signature}
                row = insert(Attestation).values(
                    batch_id=self.batch.id, attestor=attested.attestor, **values
                )
                session.execute(
                    row.on_conflict_do_update(index_elements=["batch_id", "attestor"], set_=values)
                )


def _require_enough(signed: set[str], threshold: int, outcomes: list[AttestorOutcome]) -> None:
    if len(signed) >= threshold:
        return
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    waiting = [outcome for outcome in outcomes if isinstance(outcome, AskAgain)]
    said = {f"{refused.code}: {refused.message}" for refused in refusals}
    said |= {f"{later.code}: {later.message}" for later in waiting}
    reasons = "; ".join(sorted(said))
    message = f"{len(signed)} of {threshold} attestations: {reasons}"
    if len(signed) + len(waiting) < threshold:
        raise AttestationRefused(message)
    raise NotYet(message)


def _payload(session: Session, program: Program, batch: Batch) -> dict[str, object]:
    envelope = batch.envelope()
    rows = interactions.of_batch(session, batch.id)
    ids = sorted({row.delivery_id for row in rows})
    query = (
        select(StoredDelivery, DeliverySalt.salt, Partner.name)
        .join(DeliverySalt, DeliverySalt.delivery_id == StoredDelivery.id)
        .join(Partner, Partner.id == StoredDelivery.partner_id)
        .where(StoredDelivery.id.in_(ids))
        .order_by(StoredDelivery.id)
    )
    deliveries = [
        DeliveryEvidence(name, row.delivery, salt) for row, salt, name in session.execute(query)
    ]
    number = {id_: i for i, id_ in enumerate(ids)}
    items = [ItemSource(number[row.delivery_id], row.position, row.amount) for row in rows]
    return build_request(
        Domain(program.chain_id, program.distributor),
        batch_envelope(batch, envelope.attestor_epoch, envelope.valid_until),
        batch.deltas,
        deliveries,
        items,
    )


def _leaves(
    context: Context, program: Program, bucket: int, sequence: int
) -> dict[str, object] | None:
    domain = Domain(program.chain_id, program.distributor)
    with context.database.transaction() as session:
        batch = batches.get(session, program.id, bucket, sequence)
        if batch is None:
            return None
        items = items_of(session, interactions.of_batch(session, batch.id))
    return build_leaves(
        domain, bucket, sequence, [(item.interaction(domain), item.amount) for item in items]
    )
