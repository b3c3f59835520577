"""A Deployer whose transactions go through the outbox, like all others of its key."""

import time
import uuid

from backend.chain.deploy import CONFIRMATION_SECONDS, POLL_SECONDS, Deployer, DeploymentError
from backend.chain.models import OutgoingTransaction, State
from backend.chain.node import Node, Receipt
from backend.chain.outbox import CREATES
from backend.chain.sender import Sender, SimulationReverted
from backend.errors import Conflict, NotYet, Unavailable
from backend.kit.db import Database


class OutboxDeployer(Deployer):
    """Sends one command's transactions and waits for each.

    `command` (`deploy:NAME`, `fund:NAME`) begins their purposes, which are new for each deployer:
    an operator who repeats a command means it.
    """

    def __init__(
        self, database: Database, node: Node, sender: Sender, command: str, finality: str
    ) -> None:
        super().__init__(node, sender.signer)
        self._database, self._sender, self._finality = database, sender, finality
        self._command = f"{command}:{uuid.uuid4().hex}"

    def send(self, what: str, to: str | None, data: bytes) -> Receipt:
        """Store, sign, broadcast and wait for a block. The row stays open until it is final.

        Raises DeploymentError if the chain refuses it, Unavailable, NotYet (fees, funds). After the
        row is stored, a node that does not answer is asked again until the time is over: the error
        names the row, because the transaction may still be mined.
        """
        self.require_none_under_way()
        try:
            with self._database.transaction() as session:
                row = self._sender.enqueue(
                    session, f"{self._command}:{what}", CREATES if to is None else to, data
                )
                transaction_id, nonce = row.id, row.nonce
        except SimulationReverted as error:
            raise DeploymentError(
                f"{what}: refused by the chain for {self.signer.address}: {error.message}"
            ) from error
        deadline = time.monotonic() + CONFIRMATION_SECONDS
        problem = ""
        while time.monotonic() < deadline:
            try:
                self._advance_before(nonce)
                if receipt := self._receipt(what, transaction_id):
                    return receipt
            except (NotYet, Unavailable) as error:
                problem = f" ({error.message})"
            time.sleep(POLL_SECONDS)
        raise Unavailable(
            f"{what}: outgoing transaction {transaction_id} is not in a block after "
            f"{CONFIRMATION_SECONDS} s and may still be mined: look at it before you repeat the "
            f"command{problem}"
        )

    def require_none_under_way(self) -> None:
        """Refuse to repeat a command whose earlier transaction has an unknown outcome: it is
        settled first, as far as that goes.

        Raises Conflict.
        """
        kind = self._command.rpartition(":")[0] + ":"
        with self._database.transaction() as session:
            rows = [
                session.get_one(OutgoingTransaction, one) for one in self._sender.open_ids(session)
            ]
            waiting = [
                row
                for row in rows
                if row.purpose.startswith(kind)
                and not row.purpose.startswith(self._command)
                and row.state in (State.STORED, State.SENT)
            ]
        if not waiting:
            return
        deadline = time.monotonic() + CONFIRMATION_SECONDS
        while time.monotonic() < deadline:
            self._advance_before(waiting[-1].nonce + 1)
            with self._database.transaction() as session:
                states = [session.get_one(OutgoingTransaction, row.id).state for row in waiting]
            if not any(state in (State.STORED, State.SENT) for state in states):
                raise Conflict(
                    f"outgoing transaction {waiting[0].id} of the same command was settled only "
                    "now: repeat the command if you mean it again"
                )
            time.sleep(POLL_SECONDS)
        raise Conflict(
            f"outgoing transaction {waiting[0].id} of the same command may still be mined: wait "
            "for it, then repeat the command if it is still needed"
        )

    def _advance_before(self, nonce: int) -> None:
        """Move on this key's earlier nonces: without them no block takes ours."""
        with self._database.transaction() as session:
            open_ids = self._sender.open_ids(session)
        for transaction_id in open_ids:
            with self._database.transaction() as session:
                row = session.get_one(OutgoingTransaction, transaction_id)
                if row.nonce < nonce and row.state in (State.STORED, State.SENT):
                    self._sender.advance(session, transaction_id, self._finality)

    def _receipt(self, what: str, transaction_id: int) -> Receipt | None:
        with self._database.transaction() as session:
            state = self._sender.advance(session, transaction_id, self._finality)
            row = session.get_one(OutgoingTransaction, transaction_id)
            mined_hash, status, note = row.mined_hash, row.status, row.note
        if state == State.LOST or status == 0:
            raise DeploymentError(f"{what}: {note or 'the transaction was reverted'}")
        return None if mined_hash is None else self.node.receipt(mined_hash)
