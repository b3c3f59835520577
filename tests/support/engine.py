"""The engine without a chain: a migrated PostgreSQL, programs that stand beside each other in it,
and the real API over it.

What the chain would say (funding, a batch that is final, a claim) is booked through the functions
by which the watcher books it.
"""

import base64
import functools
import hashlib
import hmac
import itertools
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import uvicorn
from eth_utils import keccak, to_checksum_address
from psycopg.conninfo import make_conninfo
from sqlalchemy import select
from starlette.testclient import TestClient

from backend.account.models import Account
from backend.api.app import create_app
from backend.batch.close import close_batches
from backend.batch.models import Batch
from backend.chain.events import BatchPosted, Claimed
from backend.config import Settings
from backend.interaction.service import ingest, release_held
from backend.kit.body import Bodies, BodyBounds
from backend.kit.db import Database
from backend.kit.server import ConnectionBounds, options
from backend.ledger import service as ledger
from backend.migrations import upgrade
from backend.partner import repository as partners
from backend.partner.report import ItemResult, Report
from backend.partner.schemes.standard_webhooks import make_delivery
from backend.program import repository as programs
from backend.program.models import Program
from backend.settlement import indexer
from prover.state import family
from tests.support.postgres import postgres

OPERATOR_KEY = "operator-key-of-the-tests"
RICH = 2**120
"""Base units with which a test program is funded unless the test says otherwise."""
_numbers = itertools.count(1)


@functools.cache
def _template() -> str:
    """The URL of a migrated, empty database that lives as long as the test process."""
    holder = postgres()
    url = holder.__enter__()  # dropped with the whole server
    _template_holder.append(holder)
    database = Database(url)
    upgrade(database)
    database.dispose()
    return url


_template_holder: list[Any] = []


@contextmanager
def migrated() -> Iterator[str]:
    """The URL of a fresh migrated database."""
    template = psycopg.conninfo.conninfo_to_dict(_template())
    server = make_conninfo(**template | {"dbname": "postgres"})
    name = f"engine_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template['dbname']}")
    try:
        yield f"postgresql://postgres@/{name}?host={template['host']}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def address(name: object) -> str:
    """A checksummed address that follows from a name."""
    return to_checksum_address(keccak(text=f"address {name}")[12:])


def apart(families: int) -> list[str]:
    """A name for each family, in order: accounts that are opened in different buckets."""
    found: dict[int, str] = {}
    for number in itertools.count():
        if len(found) == families:
            break
        name = f"person {number}"
        found.setdefault(family(int(address(name), 16), families), name)
    return [found[one] for one in range(families)]


def now() -> int:
    return int(time.time())


def report(
    event: object, account: object = "alice", amount: int = 1000, occurred_at: int | None = None
) -> Report:
    """A well-formed report; `account` is a name or an address."""
    where = account if str(account).startswith("0x") else address(account)
    return Report(str(event), where, amount, occurred_at or now() - 60)


def item(
    event: object, account: object = "alice", amount: Any = 1000, **changes: Any
) -> dict[str, Any]:
    """The JSON of one reported interaction."""
    made = report(event, account)
    return {
        "event_id": made.event_id,
        "account": made.account,
        "amount": str(amount),
        "occurred_at": made.occurred_at,
    } | changes


@dataclass
class Engine:
    """A database with the engine's tables, and what the tests do to it."""

    url: str
    database: Database
    secrets: dict[tuple[int, str], str] = field(default_factory=dict)

    def program(
        self,
        *,
        families: int = 1,
        items_max: int = 32,
        age_seconds: int = 3600,
        funded: int = RICH,
        symbol: str | None = "TRW",
        decimals: int | None = 18,
        daily_limit: int = 0,
    ) -> Program:
        """A new program on a Distributor of its own, funded, with the partner `adnet`."""
        number = next(_numbers)
        row = Program(
            name=f"program-{number}",
            chain_id=31337,
            distributor=address(f"distributor {number}"),
            token=address("token"),
            token_symbol=symbol,
            token_decimals=decimals,
            verifier=address("verifier"),
            instance="dev",
            families=families,
            families_first=families,
            attestors=[],
            finality="latest",
            batch_items_max=items_max,
            batch_age_max_seconds=age_seconds,
            daily_limit=daily_limit,
            last_indexed_block=0,
            last_indexed_block_hash=b"\0" * 32,
        )
        with self.database.transaction() as session:
            session.add(row)
        self.partner(row, "adnet")
        if funded:
            self.fund(row, funded)
        return row

    def partner(self, program: Program, name: str) -> str:
        """A new partner's secret, which `secrets` keeps."""
        secret = (
            "whsec_"
            + base64.b64encode(hashlib.sha256(f"{program.id} {name}".encode()).digest()).decode()
        )
        with self.database.transaction() as session:
            partners.add(session, program.id, name, secret)
        self.secrets[program.id, name] = secret
        return secret

    def fund(self, program: Program, amount: int) -> int:
        """Funding arrives, as the watcher books it; returns how many held interactions it
        released."""
        with self.database.transaction() as session:
            programs.lock(session, program.id)
            ledger.book_funding(session, program.id, f"{next(_numbers)}:0", amount)
            return release_held(session, program.id)

    def take_in(
        self, program: Program, reports: Sequence[Report], partner: str = "adnet"
    ) -> list[ItemResult]:
        """Intake behind the signature check."""
        delivery = make_delivery(f"msg_{next(_numbers)}", str(now()), "v1,not-under-test", b"{}")
        with self.database.transaction() as session:
            return ingest(
                session,
                program.id,
                partners.get(session, program.id, partner).id,
                delivery,
                reports,
            )

    def close(self, program: Program, force: bool = True) -> list[Batch]:
        with self.database.transaction() as session:
            return close_batches(session, programs.lock(session, program.id), force)

    def finalize(self, program: Program, batch: Batch) -> None:
        """The batch's event is final, as the watcher books it."""
        event = BatchPosted(
            block_number=next(_numbers),
            block_hash=os.urandom(32),
            tx_hash=os.urandom(32),
            log_index=0,
            bucket=batch.bucket,
            sequence=batch.sequence,
            new_root=batch.new_root,
            items_root=batch.items_root,
            interactions_root=batch.interactions_root,
            ledger_head=batch.ledger_head,
            total=batch.total,
            deltas=batch.deltas,
        )
        with self.database.transaction() as session:
            row, times = programs.lock(session, program.id), {event.block_number: now()}
            indexer.record_events(session, row, [event], {event.tx_hash: 300_000}, times)

    def settle(self, program: Program) -> list[Batch]:
        """Close everything and make it final."""
        closed = []
        while batches := self.close(program):
            for batch in batches:
                self.finalize(program, batch)
            closed += batches
        return closed

    def claim(
        self, program: Program, account: str, amount: int, recipient: str | None = None
    ) -> None:
        """The Distributor has paid, as the watcher books it."""
        with self.database.transaction() as session:
            programs.lock(session, program.id)
            row = session.scalars(
                select(Account).where(Account.program_id == program.id, Account.address == account)
            ).one()
            event = Claimed(
                block_number=next(_numbers),
                block_hash=os.urandom(32),
                tx_hash=os.urandom(32),
                log_index=0,
                bucket=row.bucket,
                slot=row.slot,
                account=account,
                recipient=recipient or account,
                amount=amount,
            )
            indexer.record_events(session, program, [event], {}, {})

    def owed(self, program: Program, account: str) -> int:
        with self.database.transaction() as session:
            return ledger.owed(session, program.id, account)

    def budget(self, program: Program) -> int:
        with self.database.transaction() as session:
            return ledger.available_budget(session, program.id)


@dataclass
class Api:
    """The real API, and a partner's server that signs by a second implementation of Standard
    Webhooks."""

    engine: Engine
    http: httpx.Client

    def post(
        self, program: Program, items: Sequence[Any], partner: str = "adnet", **changes: Any
    ) -> httpx.Response:
        """Report items, signed; `changes` as for `send`."""
        return self.send(
            program, json.dumps({"interactions": list(items)}).encode(), partner, **changes
        )

    def send(
        self,
        program: Program | str,
        body: bytes,
        partner: str = "adnet",
        *,
        secret: str | None = None,
        message_id: str = "msg_1",
        timestamp: str | None = None,
        headers: dict[str, str | bytes | None] | None = None,
    ) -> httpx.Response:
        """One signed request. `headers` replace headers after signing; None removes one."""
        name = program if isinstance(program, str) else program.name
        if secret is None:
            secret = self.engine.secrets.get(
                (getattr(program, "id", 0), partner), "whsec_" + "A" * 44
            )
        stamp = str(now()) if timestamp is None else timestamp
        values: dict[str, Any] = {
            "content-type": "application/json",
            "guerdon-partner": partner,
            "webhook-id": message_id,
            "webhook-timestamp": stamp,
            "webhook-signature": signature(secret, message_id, stamp, body),
        } | (headers or {})
        sent = {key: value for key, value in values.items() if value is not None}
        return self.http.post(f"/v1/programs/{name}/interactions", content=body, headers=sent)

    def get(self, program: Program | str, path: str, **options: Any) -> httpx.Response:
        name = program if isinstance(program, str) else program.name
        return self.http.get(f"/v1/programs/{name}{path}", **options)


def signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Standard Webhooks, from its specification: HMAC-SHA256 over id.timestamp.body, in base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


@contextmanager
def fresh_engine() -> Iterator[Engine]:
    with migrated() as url:
        database = Database(url)
        try:
            yield Engine(url, database)
        finally:
            database.dispose()


def settings(url: str, **changes: Any) -> Settings:
    """Settings of the API over a database; Redis and a node are not there, nor needed."""
    return Settings(
        **{
            "database_url": url,
            "redis_url": "redis://127.0.0.1:1/0",
            "rpc_url": "http://127.0.0.1:1",
            "operator_api_key": OPERATOR_KEY,
        }
        | changes
    )


@contextmanager
def serve(
    engine: Engine, bounds: ConnectionBounds | None = None, bodies: BodyBounds | None = None
) -> Iterator[Api]:
    """The real application behind the real server, with settings of its own."""
    app = create_app(settings(engine.url))
    if bodies is not None:
        app.state.resources.bodies = Bodies(bodies)
    server = uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=0, log_config=None, **options(bounds or ConnectionBounds())
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    # uvicorn closes the connection after an error of the application: each request gets its own.
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60) as http:
            yield Api(engine, http)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def in_process(engine: Engine) -> Iterator[Api]:
    """The real application over a database, without a socket. What it does not expect becomes a
    500, as under a server."""
    app = create_app(settings(engine.url))
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Api(engine, http)
    app.state.resources.database.dispose()
