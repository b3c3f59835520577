"""A real chain, a real database and a sender between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests
from eth_utils import to_checksum_address
from sqlalchemy import select
from web3 import Web3
from web3.types import RPCEndpoint, RPCResponse

from backend.chain.fees import FeePolicy
from backend.chain.models import OutgoingTransaction, SenderAccount, State, TransactionAttempt
from backend.chain.node import Node
from backend.chain.sender import Sender
from backend.kit.db import Base, Database
from backend.signer.keystore import KeystoreSigner
from tests.support.anvil import Anvil, anvil
from tests.support.postgres import postgres

GWEI = 10**9
CHAIN_ID = 31337
FEES = FeePolicy(max_fee_cap=100 * GWEI)

COUNTER, COUNTER_CODE = to_checksum_address(b"\xc0" * 20), "0x5f546001015f5500"
"""Adds one to its slot 0 at each call."""
ONCE, ONCE_CODE = (
    to_checksum_address(b"\x0c" * 20),
    "0x5f54600a5760015f55005b63deadbeef5f526004601cfd",
)
"""Sets its slot 0 at the first call; reverts with 0xdeadbeef at every later one."""


@dataclass
class Bench:
    """One test's stack."""

    chain: Anvil
    url: str
    database: Database

    def sender(self, node: Node | None = None, fees: FeePolicy = FEES, **options: float) -> Sender:
        return Sender(
            node or self.chain.node, KeystoreSigner(self.chain.key(0)), fees, CHAIN_ID, **options
        )

    @property
    def address(self) -> str:
        return self.chain.key(0).address

    def enqueue(
        self, sender: Sender, purpose: str, to: str = COUNTER, data: bytes = b"", value: int = 0
    ) -> OutgoingTransaction:
        with self.database.transaction() as session:
            return sender.enqueue(session, purpose, to, data, value)

    def do(self, sender: Sender, step: str, transaction_id: int, *arguments: object) -> State:
        """One of the sender's steps in a transaction of its own.

        What it sends is mined after it, if the chain mines at once.
        """
        with self.database.transaction() as session:
            state: State = getattr(sender, step)(session, transaction_id, *arguments)
        self.chain.settle_pool()
        return state

    def row(self, transaction_id: int) -> OutgoingTransaction:
        with self.database.transaction() as session:
            return session.get_one(OutgoingTransaction, transaction_id)

    def rows(self) -> list[OutgoingTransaction]:
        with self.database.transaction() as session:
            return list(
                session.scalars(select(OutgoingTransaction).order_by(OutgoingTransaction.nonce))
            )

    def attempts(self, transaction_id: int) -> list[TransactionAttempt]:
        with self.database.transaction() as session:
            query = (
                select(TransactionAttempt)
                .where(TransactionAttempt.outgoing_id == transaction_id)
                .order_by(TransactionAttempt.id)
            )
            return list(session.scalars(query))

    def next_nonce(self) -> int | None:
        with self.database.transaction() as session:
            return session.scalar(select(SenderAccount.next_nonce))

    def mine(self, blocks: int = 1) -> None:
        self.chain.rpc("anvil_mine", hex(blocks))

    def chain_nonce(self) -> int:
        return self.chain.w3.eth.get_transaction_count(self.address)

    def pool(self) -> dict[int, str]:
        """Nonce to hash of our transactions that wait in the node."""
        pending = self.chain.rpc("txpool_content")["pending"]
        return {
            int(nonce): tx["hash"]
            for address, of in pending.items()
            if address == self.address.lower()
            for nonce, tx in of.items()
        }

    def calls(self) -> int:
        """How often the counter was called."""
        return int.from_bytes(self.chain.w3.eth.get_storage_at(COUNTER, 0))


@contextmanager
def bench(**options: object) -> Iterator[Bench]:
    """Anvil with `options`, the two contracts in place, and an empty database with the tables."""
    with anvil(**options) as chain, postgres() as url:
        chain.rpc("anvil_setCode", COUNTER, COUNTER_CODE)
        chain.rpc("anvil_setCode", ONCE, ONCE_CODE)
        database = Database(url)
        tables = [
            model.__table__ for model in (SenderAccount, OutgoingTransaction, TransactionAttempt)
        ]
        Base.metadata.create_all(database.engine, tables=tables)
        try:
            yield Bench(chain, url, database)
        finally:
            database.dispose()


class LossyProvider(Web3.HTTPProvider):
    """A link that loses broadcasts: the question itself, or (`delivers`) only the answer."""

    def __init__(self, url: str, *, delivers: bool) -> None:
        super().__init__(url)
        self.delivers = delivers

    def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
        if method != "eth_sendRawTransaction":
            return super().make_request(method, params)
        if self.delivers:
            super().make_request(method, params)
        raise requests.Timeout("https://node.example/v2/SECRET timed out")
