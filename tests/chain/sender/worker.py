"""A worker as a process of its own, for the kill tests: python -m tests.chain.sender.worker
DATABASE_URL RPC_URL KEYSTORE PURPOSE...

Enqueues each purpose and polls until all are final. Safe to kill anywhere, and to start again with
the same arguments. BUMP_AFTER_SECONDS in the environment: how long an attempt may wait for a block.
"""

import os
import sys
import time
from pathlib import Path

from backend.chain.models import State
from backend.chain.sender import Sender
from backend.chain.web3_node import connect
from backend.kit.db import Database
from backend.kit.failpoint import failpoint
from backend.signer import keystore
from tests.chain.sender.support import CHAIN_ID, COUNTER, FEES

PASSWORD = "test"


def main(database_url: str, rpc_url: str, key: str, purposes: list[str]) -> None:
    database = Database(database_url)
    bump_after = int(os.environ.get("BUMP_AFTER_SECONDS", "60"))
    sender = Sender(
        connect(rpc_url),
        keystore.load(Path(key), PASSWORD),
        FEES,
        CHAIN_ID,
        bump_after_seconds=bump_after,
    )
    for purpose in purposes:
        with database.transaction() as session:
            transaction_id = sender.enqueue(session, purpose, COUNTER, b"").id
        failpoint("worker.enqueued")
        with database.transaction() as session:
            sender.broadcast(session, transaction_id)
        failpoint("worker.broadcast")
        state = State.SENT
        while state != State.FINAL:
            with database.transaction() as session:
                state = sender.advance(session, transaction_id, "latest")
            failpoint("worker.settled")
            time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
