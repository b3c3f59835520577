"""A Deployer whose transactions go through the outbox, like all others of its key."""

import time
import uuid

from backend.chain.deploy import CONFIRMATION_SECONDS, POLL_SECONDS, Deployer, DeploymentError
from backend.chain.models import OutgoingTransaction, State
from backend.chain.node import Node, Receipt
from backend.chain.outbox import CREATES
from backend.chain.sender import Sender, SimulationReverted
from backend.errors import Unavailable
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

        Raises DeploymentError if the chain refuses it, Unavailable, NotYet (fees, funds).
        """
        try:
            with self._database.transaction() as session:
                row = self._sender.enqueue(
                    session, f"{self._command}:{what}", CREATES if to is None else to, data
                )
                transaction_id, nonce = row.id, row.nonce
        except SimulationReverted as error:
            raise DeploymentError(f"{what}: refused by the chain: {error.message}") from error
        self._broadcast_before(nonce)
        deadline = time.monotonic() + CONFIRMATION_SECONDS
        while time.monotonic() < deadline:
            if receipt := self._receipt(what, transaction_id):
                return receipt
            time.sleep(POLL_SECONDS)
        raise Unavailable(
            f"{what}: outgoing transaction {transaction_id} is not in a block after "
            f"{CONFIRMATION_SECONDS} s"
        )

    def _broadcast_before(self, nonce: int) -> None:
        """Send the stored bytes of earlier nonces: without them no block takes ours."""
        with self._database.transaction() as session:
            open_ids = self._sender.open_ids(session)
        for transaction_id in open_ids:
            with self._database.transaction() as session:
                row = session.get_one(OutgoingTransaction, transaction_id)
                if row.nonce < nonce and row.state == State.STORED:
                    self._sender.broadcast(session, transaction_id)

    def _receipt(self, what: str, transaction_id: int) -> Receipt | None:
        with self._database.transaction() as session:
            state = self._sender.advance(session, transaction_id, self._finality)
            row = session.get_one(OutgoingTransaction, transaction_id)
            mined_hash, status, note = row.mined_hash, row.status, row.note
        if state == State.LOST or status == 0:
            raise DeploymentError(f"{what}: {note or 'the transaction was reverted'}")
        return None if mined_hash is None else self.node.receipt(mined_hash)
