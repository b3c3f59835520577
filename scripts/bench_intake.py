"""Interactions a second through the API, counted as ledger entries whose balances add up.

The run uses a real PostgreSQL with its default durability, the API as one process, and clients that
sign every request.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import text

from backend.client.partner_client import PartnerClient, Reported
from backend.devstack.stack import Stack
from backend.kit.db import Database
from backend.ledger import service as ledger
from backend.migrations import upgrade
from backend.partner import repository as partners
from backend.partner.schemes.standard_webhooks import generate_secret
from backend.program.models import Program

ACCOUNTS = 5_000
BULK, REQUESTS, CLIENTS = 1_000, 40, 2
SINGLES = 400
AMOUNT = 10**15
BUDGET = 10**30


def measure() -> dict[str, float]:
    """Measure bulk requests of 1,000 against one interaction a request.

    The second is the load of a partner that posts each event as it happens.
    """
    with tempfile.TemporaryDirectory(prefix="guerdon-bench-") as folder:
        stack = Stack(Path(folder))
        try:
            url = stack.start_postgres()
            stack.environment |= {
                "GUERDON_DATABASE_URL": url,
                "GUERDON_REDIS_URL": stack.start_redis(),
            }
            database = Database(url)
            program_id, secret = _prepare(database)
            api = stack.start_api()
            clients = [PartnerClient(api, "bench", "adnet", secret) for _ in range(CLIENTS)]
            _send(clients, "warm-up", 4, BULK)
            bulk = _rate(database, program_id, lambda: _send(clients, "bulk", REQUESTS, BULK))
            single = _rate(database, program_id, lambda: _send(clients, "single", SINGLES, 1))
            for client in clients:
                client.close()
            database.dispose()
        finally:
            stack.close()
    return {
        "intake_bulk_per_second": round(bulk),
        "intake_single_per_second": round(single),
        "intake_bulk_over_single_ratio": round(bulk / single, 1),
    }


def _prepare(database: Database) -> tuple[int, str]:
    upgrade(database)
    secret = generate_secret()
    with database.transaction() as session:
        program = Program(
            name="bench",
            chain_id=31337,
            distributor="0x" + "11" * 20,
            token="0x" + "22" * 20,
            verifier="0x" + "33" * 20,
            instance="standard",
            families=1,
            attestors=[],
            finality="latest",
            batch_items_max=1926,
            batch_age_max_seconds=3600,
            last_indexed_block=0,
            last_indexed_block_hash=b"\0" * 32,
        )
        session.add(program)
        session.flush()
        partners.add(session, program.id, "adnet", secret)
        ledger.book_funding(session, program.id, "bench", BUDGET)
        return program.id, secret


def _send(clients: list[PartnerClient], label: str, requests: int, size: int) -> None:
    now = int(time.time())

    def request(n: int) -> None:
        rows = [
            Reported(
                f"{label}-{n}-{i}", f"0x{1 + (n * size + i) * 7919 % ACCOUNTS:040x}", AMOUNT, now
            )
            for i in range(size)
        ]
        outcomes = clients[n % len(clients)].report(rows)
        if outcomes["accepted"] != size:
            raise SystemExit(f"of {size} interactions the API took in {dict(outcomes)}")

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(request, range(requests)))


def _rate(database: Database, program_id: int, send: Callable[[], None]) -> float:
    before = _booked(database, program_id)
    start = time.monotonic()
    send()
    return (_booked(database, program_id) - before) / (time.monotonic() - start)


def _booked(database: Database, program_id: int) -> int:
    """Return the number of reward entries in the ledger, once the balances add up to them."""
    with database.transaction() as session:
        row = session.execute(
            text("SELECT count(*), -sum(amount) FROM ledger_entry WHERE interaction_id IS NOT NULL")
        ).one()
        count, total = int(row[0]), int(row[1] or 0)
        owed = session.scalar(
            text(
                "SELECT -sum(balance) FROM ledger_account WHERE kind = 'account' AND "
                "program_id = :id"
            ),
            {"id": program_id},
        )
        if total != (owed or 0) or BUDGET - ledger.available_budget(session, program_id) != (total):
            raise SystemExit(f"entries add up to {total}, balances to {owed}")
    return count
