"""Sends transactions from one key, each exactly once, by several workers restarted at any moment.

A transaction is a row (outbox.py) before it is anything else. `enqueue` reserves the nonce and
stores the signed bytes in the caller's database transaction; nothing has left the process then, so
a rollback leaves no gap, and a commit means that this nonce belongs to this purpose from then on.
From there on a worker polls: `advance`, or `settle`, `broadcast` and `bump` one by one, each in a
transaction of its own.

    with database.transaction() as session:
        row = sender.enqueue(session, f"post:{batch.id}:{digest.hex()}", distributor, calldata)
        batch.transaction_id = row.id
    failpoint("batch.enqueued.committed")  # the caller's: enqueue cannot stand after the commit
    with database.transaction() as session:
        sender.broadcast(session, row.id)
    ...
    with database.transaction() as session:         # as often as wanted
        for transaction_id in sender.open_ids(session): ...
    with database.transaction() as session:
        state = sender.advance(session, transaction_id, finality)

What can go wrong, and what follows:
- The process dies before the commit: nothing happened. After it: the stored bytes go out at the
  next poll.
- The outcome of a broadcast is unknown (a timeout, a crash): the same bytes go out again. A new
  nonce is never taken for the same purpose.
- Fees rise: `bump` replaces the transaction under its nonce. Whichever attempt is mined counts,
  since all hashes are kept.
- A reorg drops it: it goes back to sent, and the same bytes go out again.
- Somebody else uses the key: the transaction becomes lost once that is settled, and a person or the
  caller decides.

A key service may take seconds to sign. `enqueue` therefore signs under the nonce that it expects
before it locks the key's row, and signs again if another worker was given that nonce meanwhile
(docs/adr/0009).

Failpoints: tx.stored (stored, not committed), tx.broadcast (a node has it, not committed),
tx.bumped, tx.settled (not committed).
"""

import structlog
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from sqlalchemy import func
from sqlalchemy.orm import Session

from backend.chain.fees import FeePolicy, Fees
from backend.chain.finality import final_block
from backend.chain.models import OPEN, OutgoingTransaction, State, TransactionAttempt
from backend.chain.node import CallReverted, Node, Receipt
from backend.chain.outbox import CREATES, Call, Outbox, checked_call, is_uncommitted
from backend.chain.reverts import explain_revert
from backend.errors import Conflict, GuerdonError, Invalid, NotYet, Unavailable
from backend.kit.failpoint import failpoint
from backend.signer.base import SignedTransaction, Signer

GAS_LIMIT_CAP = 2**24
"""Most gas that one transaction may have (EIP-7825)."""
GUESSES_MAX = 3
"""How often a transaction is signed under a nonce that is only expected."""

log = structlog.get_logger(__name__)


class SimulationReverted(Conflict):
    """The call would revert, so no nonce was taken. `data` is the revert data: a custom error's
    selector and arguments, or empty."""

    code = "simulation_reverted"

    def __init__(self, purpose: str, error: CallReverted) -> None:
        self.data = error.data
        reason = f" ({error.said})" if error.said and not error.data else ""
        super().__init__(f"{purpose}: would revert with {explain_revert(self.data)}{reason}")


class Sender:
    """Sends from `signer`'s key on one chain. Holds no state: any number of processes may have one
    for the same key.

    Each method works in the caller's transaction (READ COMMITTED) and never commits. All raise
    Unavailable, with nothing changed, when the node does not answer a question.
    """

    def __init__(
        self,
        node: Node,
        signer: Signer,
        fees: FeePolicy,
        chain_id: int,
        *,
        gas_limit_cap: int = GAS_LIMIT_CAP,
        bump_after_seconds: float = 60,
    ) -> None:
        """`bump_after_seconds`: how long `advance` lets an attempt wait for a block before it
        raises the fees."""
        found = node.chain_id()
        if found != chain_id:
            raise Invalid(
                f"chain_id: expected {chain_id}, the node is on {found}", field="chain_id"
            )
        self._node, self.signer, self._fees, self.chain_id = node, signer, fees, chain_id
        self._gas_limit_cap, self._bump_after_seconds = gas_limit_cap, bump_after_seconds
        self.address: str = to_checksum_address(signer.address)
        self._outbox = Outbox(chain_id, self.address)

    def simulate(self, what: str, to: str, data: bytes) -> None:
        """Raises SimulationReverted if the call from this key would revert now, and Unavailable."""
        try:
            self._node.call(to, data, sender=self.address)
        except CallReverted as error:
            raise SimulationReverted(what, error) from None

    def enqueue(
        self,
        session: Session,
        purpose: str,
        to: str,
        data: bytes,
        value: int = 0,
        spare_gas: int = 0,
    ) -> OutgoingTransaction:
        """The transaction for `purpose`: the stored row, in whatever state, or a new one.

        A new one is simulated, signed and stored under the next nonce; `to` CREATES (outbox.py)
        creates a contract. Its gas limit has `spare_gas` more than it seems to need, as far as the
        cap allows. Nothing is broadcast. A new row holds the key's nonce lock until the
        caller's transaction ends: commit soon. The simulation runs on the newest block, without
        transactions that are still waiting.

        Raises:
            Invalid: a malformed argument (`value` in wei), or more gas than the cap.
            Conflict: the purpose stands for another transaction.
            SimulationReverted: it would revert now.
            NotYet: the base fee is above the cap, the key cannot pay, or the node is behind.
            Nothing is reserved.
        """
        call = checked_call(purpose, to, data, value)
        if row := self._outbox.find(session, call):
            return row
        try:
            fees = self._fees.quote(self._node)
            gas_limit = min(self._simulate(call) + spare_gas, self._gas_limit_cap)
            self._check_balance(value + gas_limit * fees.max_fee)
        except GuerdonError:
            # Another worker may have stored it meanwhile, and its having been mined may be why this
            # one fails.
            if row := self._outbox.find(session, call):
                return row
            raise
        row = self._reserve(session, call, gas_limit, fees)
        failpoint("tx.stored")
        return row

    def broadcast(self, session: Session, transaction_id: int) -> State:
        """Send the bytes of the newest attempt, as often as wanted. Never raises for what the node
        says: `note` tells.

        Raises: NotFound, Conflict (another chain's), RuntimeError if the attempt is not committed
        yet.
        """
        row = self._outbox.locked(session, transaction_id)
        if row.state in (State.STORED, State.SENT):
            self._send(session, row, self._outbox.attempts(session, row))
        return State(row.state)

    def settle(self, session: Session, transaction_id: int, finality: str) -> State:
        """Look where the transaction is, and write it down. `finality` as for `final_block`.

        It is final (or failed, if it reverted) once its receipt's block is at or below the final
        block and is the chain's block at that height. A receipt that has vanished sends the same
        bytes again. Raises: NotFound, Conflict (another chain's).
        """
        row = self._outbox.locked(session, transaction_id)
        if row.state not in OPEN:
            return State(row.state)
        attempts = self._outbox.attempts(session, row)
        if receipt := self._receipt(attempts):
            self._book(row, receipt, finality)
        else:
            self._book_absence(session, row, attempts, finality)
        session.flush()
        failpoint("tx.settled")
        return State(row.state)

    def bump(self, session: Session, transaction_id: int) -> State:
        """Sign the transaction again under its nonce, with fees at least 12.5 % higher. Sent by the
        next `broadcast`, after the commit.

        Stored is the answer then. Otherwise nothing changes but the note, which says why: the cap
        is reached, the transaction is in a block, or it waits for an earlier nonce, which higher
        fees do not help. Raises: NotFound, Conflict (another chain's or key's).
        """
        row = self._outbox.locked(session, transaction_id)
        if row.state not in (State.STORED, State.SENT):
            return State(row.state)
        if row.sender != self.address:
            raise Conflict(f"{row.purpose}: {row.sender} sent it, {self.address} cannot replace it")
        count = self._node.transaction_count(row.sender, "latest")
        if count != row.nonce:
            waits = count < row.nonce
            row.note = (
                f"waits for nonce {count}"
                if waits
                else f"nonce {row.nonce} is used; not settled yet"
            )
        elif fees := self._raised_fees(session, row):
            call = Call(row.purpose, row.to_address, row.data, row.value)
            signed = self._sign(call, row.nonce, row.gas_limit, fees)
            self._outbox.add_attempt(session, row, signed, fees)
            row.state, row.note = State.STORED, None
            failpoint("tx.bumped")
        session.flush()
        return State(row.state)

    def advance(self, session: Session, transaction_id: int, finality: str) -> State:
        """One poll: settle; what no block holds goes out again, and gets higher fees if it has
        waited too long.

        Commit after each call: a replacement leaves with the next one. Raises: as `settle`.
        """
        state = self.settle(session, transaction_id, finality)
        if state not in (State.STORED, State.SENT):
            return state
        row = self._outbox.locked(session, transaction_id)
        found = row.note
        self.broadcast(session, transaction_id)
        if row.sender == self.address and self._is_overdue(session, row):
            self.bump(session, transaction_id)
        row.note = found or row.note
        session.flush()
        return State(row.state)

    def open_ids(self, session: Session) -> list[int]:
        """Ids of this key's transactions that can still change, lowest nonce first."""
        return self._outbox.open_ids(session)

    # Signing

    def _reserve(
        self, session: Session, call: Call, gas_limit: int, fees: Fees
    ) -> OutgoingTransaction:
        """The call's row with its first attempt, signed outside the nonce lock where that works."""
        for _ in range(GUESSES_MAX):
            given_out = self._outbox.given_out(session)
            expected = self._outbox.next_nonce(session, self._node, given_out)
            signed = self._sign(call, expected, gas_limit, fees)
            # Rolling the savepoint back frees the lock for the time of another signature.
            with session.begin_nested() as savepoint:
                row = self._store(session, call, gas_limit, fees, (expected, signed))
                if row is not None:
                    return row
                savepoint.rollback()
        # Other workers were faster each time; under the lock they wait.
        row = self._store(session, call, gas_limit, fees, None)
        assert row is not None
        return row

    def _store(
        self,
        session: Session,
        call: Call,
        gas_limit: int,
        fees: Fees,
        prepared: tuple[int, SignedTransaction] | None,
    ) -> OutgoingTransaction | None:
        """The call's row under the nonce lock; None if `prepared` is signed under another nonce."""
        account = self._outbox.lock_account(session)
        if row := self._outbox.find(session, call):
            return row
        nonce = self._outbox.next_nonce(session, self._node, account.next_nonce)
        if prepared is not None and prepared[0] != nonce:
            return None
        signed = prepared[1] if prepared else self._sign(call, nonce, gas_limit, fees)
        row = self._outbox.add(session, account, call, nonce, gas_limit)
        self._outbox.add_attempt(session, row, signed, fees)
        return row

    def _sign(self, call: Call, nonce: int, gas_limit: int, fees: Fees) -> SignedTransaction:
        transaction = {
            **fees.fields(),
            "chainId": self.chain_id,
            "nonce": nonce,
            "data": call.data,
            "value": call.value,
            "gas": gas_limit,
        }
        if call.to != CREATES:
            transaction["to"] = call.to
        signed = self.signer.sign_transaction(transaction)
        # A key service that signs with another key, or a wrong recovery bit, would spend another
        # account's nonce.
        signed_by = Account.recover_transaction(signed.raw)
        if signed_by != self.address or keccak(signed.raw) != signed.hash:
            raise GuerdonError(f"{call.purpose}: the signer's signature is not of {self.address}")
        return signed

    def _is_overdue(self, session: Session, row: OutgoingTransaction) -> bool:
        newest = self._outbox.attempts(session, row)[-1]
        return self._outbox.seconds_waiting(session, newest) >= self._bump_after_seconds

    # The chain

    def _simulate(self, call: Call) -> int:
        """The gas limit: a quarter more than the estimate, within the cap."""
        to, data, value = call.to or None, call.data, call.value
        try:
            self._node.call(to, data, sender=self.address, value=value)
            gas = self._node.estimate_gas(to, data, sender=self.address, value=value)
        except CallReverted as error:
            raise SimulationReverted(call.purpose, error) from None
        if gas > self._gas_limit_cap:
            raise Invalid(
                f"{call.purpose}: needs {gas} gas, the cap is {self._gas_limit_cap}", field="data"
            )
        return min(gas * 5 // 4, self._gas_limit_cap)

    def _check_balance(self, needed: int) -> None:
        balance = self._node.balance(self.address)
        if balance < needed:
            raise NotYet(
                f"{self.address} holds {balance} wei, the transaction may need {needed}: fund it"
            )

    def _raised_fees(self, session: Session, row: OutgoingTransaction) -> Fees | None:
        newest = self._outbox.attempts(session, row)[-1]
        try:
            fees = self._fees.replacement(
                self._node, Fees(newest.max_fee_per_gas, newest.max_priority_fee_per_gas)
            )
        except NotYet as error:
            row.note = error.message
            return None
        if fees is None:
            row.note = (
                f"bids {newest.max_fee_per_gas} wei per gas; a replacement would pass the cap of "
                f"{self._fees.max_fee_cap}"
            )
        return fees

    def _send(
        self, session: Session, row: OutgoingTransaction, attempts: list[TransactionAttempt]
    ) -> None:
        newest = attempts[-1]
        if is_uncommitted(session, newest):
            raise RuntimeError(f"{row.purpose}: broadcast before the commit that stores its bytes")
        try:
            self._node.send_raw(newest.raw)
        except Unavailable as error:
            if not self._is_with_node(attempts):
                row.note = f"{error.message}: the same bytes go out again"
                session.flush()
                return
        failpoint("tx.broadcast")
        if newest.broadcast_at is None:
            newest.broadcast_at = func.now()
            log.info(
                "transaction_sent",
                purpose=row.purpose,
                nonce=row.nonce,
                tx_hash="0x" + newest.tx_hash.hex(),
            )
        row.state, row.note = State.SENT, None
        session.flush()

    def _is_with_node(self, attempts: list[TransactionAttempt]) -> bool:
        """Whether a refusal ("already known", "nonce too low", in each node's own words) means that
        it has been sent before."""
        try:
            return (
                self._receipt(attempts) is not None
                or self._node.transaction(attempts[-1].tx_hash) is not None
            )
        except Unavailable:
            return False

    def _receipt(self, attempts: list[TransactionAttempt]) -> Receipt | None:
        """The receipt of whichever attempt is in a block."""
        receipts = (self._node.receipt(attempt.tx_hash) for attempt in reversed(attempts))
        return next((found for found in receipts if found is not None), None)

    # What settle finds

    def _book(self, row: OutgoingTransaction, receipt: Receipt, finality: str) -> None:
        row.state, row.note = State.MINED, None
        row.block_number, row.block_hash = receipt.block_number, receipt.block_hash
        row.gas_used, row.status, row.mined_hash = (
            receipt.gas_used,
            receipt.status,
            receipt.tx_hash,
        )
        if row.block_number > final_block(self._node, finality).number:
            return
        if self._node.block(row.block_number).hash != row.block_hash:
            row.note = f"block {row.block_number} is another one by now"
            return
        row.state = State.FINAL if row.status == 1 else State.FAILED
        if row.state == State.FAILED:
            row.note = f"reverted in block {row.block_number}"
            log.error(
                "transaction_reverted",
                purpose=row.purpose,
                nonce=row.nonce,
                tx_hash="0x" + row.mined_hash.hex(),
            )

    def _book_absence(
        self,
        session: Session,
        row: OutgoingTransaction,
        attempts: list[TransactionAttempt],
        finality: str,
    ) -> None:
        """No attempt is in a block: taken out by a reorg, still waiting, or pushed out by another
        transaction."""
        vanished, row.note = row.state == State.MINED, None
        if vanished:
            log.warning(
                "receipt_vanished", purpose=row.purpose, nonce=row.nonce, block=row.block_number
            )
            row.block_number = row.block_hash = row.gas_used = row.status = row.mined_hash = None
            row.state, row.note = State.SENT, "a reorg took its block away"
            attempts[-1].broadcast_at = None
        if self._node.transaction_count(row.sender, "latest") <= row.nonce:
            if vanished:
                self._send(session, row, attempts)
            return
        row.note = (
            f"nonce {row.nonce} is used by a transaction that is not ours, in a block that is not "
            "settled"
        )
        final = final_block(self._node, finality)
        if self._node.transaction_count(row.sender, final.number) <= row.nonce:
            return
        # Looked up again, for it may have been mined since the first look.
        if receipt := self._receipt(attempts):
            self._book(row, receipt, finality)
            return
        row.state = State.LOST
        row.note = (
            f"nonce {row.nonce} was used by a transaction that is not ours, at or before block "
            f"{final.number}"
        )
        log.error("transaction_lost", purpose=row.purpose, nonce=row.nonce, sender=row.sender)
