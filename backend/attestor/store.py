"""What an attestor must not forget: what it signed, and the leaves behind it.

The store is a SQLite file, durable at every commit. A digest is reserved and committed before the
key signs it, and its signature is committed before it leaves the process. So after any crash the
same question gets the same answer and no other. What came from the chain (`landed`, `progress`) is
kept only to start quickly; it can be forgotten and read again.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.attestor.errors import OtherDigestSigned, Refused
from backend.kit.failpoint import failpoint
from backend.kit.files import make_private
from prover.eip712 import BatchEnvelope, TypedInteraction

SCHEMA_VERSION = 1
BUSY_TIMEOUT_SECONDS = 30
RESERVED = b""
"""In place of a signature: the digest may be signed, and no other for its bucket and sequence."""
_SCHEMA = """
CREATE TABLE signed (
  program TEXT NOT NULL, bucket INTEGER NOT NULL, sequence INTEGER NOT NULL, digest BLOB NOT NULL,
  interactions_root BLOB NOT NULL, attestor_epoch INTEGER NOT NULL, valid_until INTEGER NOT NULL,
    signature BLOB NOT NULL,
  signed_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (program, bucket, sequence, digest)
) STRICT;
CREATE TABLE leaf (
  program TEXT NOT NULL, bucket INTEGER NOT NULL, sequence INTEGER NOT NULL,
    interactions_root BLOB NOT NULL, item_index INTEGER NOT NULL,
  partner BLOB NOT NULL, event_id BLOB NOT NULL, account TEXT NOT NULL, amount TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
  evidence BLOB NOT NULL, item_amount TEXT NOT NULL,
  PRIMARY KEY (program, bucket, sequence, interactions_root, item_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX leaf_event ON leaf (program, event_id, partner);
CREATE TABLE landed (
  program TEXT NOT NULL, bucket INTEGER NOT NULL, sequence INTEGER NOT NULL,
    block_number INTEGER NOT NULL, log_index INTEGER NOT NULL,
  new_root BLOB NOT NULL, interactions_root BLOB NOT NULL, deltas BLOB NOT NULL,
  PRIMARY KEY (program, bucket, sequence)
) STRICT;
CREATE TABLE progress (program TEXT PRIMARY KEY, block_number INTEGER NOT NULL,
  block_hash BLOB NOT NULL) STRICT;
"""


class StoreError(Exception):
    """The file is not a store of this version, or cannot be opened."""


@dataclass(frozen=True)
class Landed:
    """One BatchPosted log of the final chain: roots as an integer and 32 bytes, `deltas` as
    emitted."""

    bucket: int
    sequence: int
    block_number: int
    log_index: int
    new_root: int
    interactions_root: bytes
    deltas: bytes


@dataclass(frozen=True)
class StoredLeaf:
    """One item of a batch as it is remembered: hashes of partner, event and evidence, amounts in
    base units."""

    partner: bytes
    event_id: bytes
    account: str
    amount: int
    occurred_at: int
    evidence: bytes
    item_amount: int

    def interaction(self, program: bytes) -> TypedInteraction:
        """The interaction behind it; `program` is the Distributor's address in 32 bytes."""
        return TypedInteraction(
            program,
            self.partner,
            self.event_id,
            self.account,
            self.amount,
            self.occurred_at,
            self.evidence,
        )


@dataclass(frozen=True)
class Moment:
    """The final chain at the time of a question: a signature is alive while its batch could still
    be posted after it."""

    timestamp: int
    attestor_epoch: int


class Store:
    """The file at `path`. Safe for several threads, and for several processes should that
    happen."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError."""
        self._lock = threading.RLock()
        try:
            # SQLite gives its two other files the mode of the first.
            for end in ("", "-wal", "-shm"):
                file = path.with_name(path.name + end)
                if not end or file.exists():
                    make_private(file)
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            with self._transaction() as db:
                self._migrate(db)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: {error}") from error

    @staticmethod
    def _migrate(db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"the store has version {version}, this program has version {SCHEMA_VERSION}"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # IMMEDIATE: what is read decides what is written, so no other writer may come between.
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def sign_once(
        self,
        program: str,
        envelope: BatchEnvelope,
        digest: bytes,
        leaves: Sequence[StoredLeaf],
        moment: Moment,
        sign: Callable[[], bytes],
        predecessors: Sequence[str] = (),
    ) -> bytes:
        """Return the signature over `digest`: the recorded one, or that of `sign()`, then recorded.

        The digest is reserved with its leaves and committed before `sign()` is called, and no lock
        is held meanwhile: a slow signer delays no other user of the store. A reservation refuses
        other digests as a signature does. After a crash between reservation and record the same
        digest can be signed again.

        `predecessors` are programs in which nothing more can land.

        Raises:
            Refused: an event of the leaves is in a batch that landed, there or in a predecessor, or
            in another that was signed and can still land.
            OtherDigestSigned: another digest for this bucket and sequence can still land.
        """
        place = (program, envelope.bucket, envelope.sequence)
        with self._transaction() as db:
            for before in predecessors:
                self._require_unpaid(db, before, leaves)
            recorded = self._reserve(db, place, envelope, digest, leaves, moment)
            failpoint("attestor.reserved")
        if recorded:
            return recorded
        failpoint("attestor.reserved.committed")
        signature = sign()
        with self._transaction() as db:
            # Another caller of the same digest may have recorded its signature first.
            db.execute(
                "UPDATE signed SET signature = ? WHERE program = ? AND bucket = ? AND "
                "sequence = ? AND digest = ? AND signature = ?",
                (signature, *place, digest, RESERVED),
            )
            found: tuple[bytes] = db.execute(
                "SELECT signature FROM signed WHERE program = ? AND bucket = ? AND sequence = ? "
                "AND digest = ?",
                (*place, digest),
            ).fetchone()
            failpoint("attestor.signed")
        failpoint("attestor.signed.committed")
        return found[0]

    def _reserve(
        self,
        db: sqlite3.Connection,
        place: tuple[str, int, int],
        envelope: BatchEnvelope,
        digest: bytes,
        leaves: Sequence[StoredLeaf],
        moment: Moment,
    ) -> bytes:
        """Reserve the digest and keep its leaves. Returns its signature, RESERVED if it has none.

        Raises Refused, OtherDigestSigned.
        """
        rows: list[tuple[bytes, bytes, int, int]] = db.execute(
            "SELECT digest, signature, attestor_epoch, valid_until FROM signed WHERE "
            "program = ? AND bucket = ? AND sequence = ?",
            place,
        ).fetchall()
        own = {other: signature for other, signature, _, _ in rows}.get(digest)
        if own:
            return own
        for other, _, epoch, valid_until in rows:
            alive = epoch >= moment.attestor_epoch and valid_until >= moment.timestamp
            if other != digest and alive:
                raise OtherDigestSigned(
                    f"another digest was signed that is valid until {valid_until}; the "
                    f"final chain is at {moment.timestamp}",
                    field="sequence",
                )
        self._require_unseen(db, (*place, envelope.interactions_root), leaves, moment)
        db.execute(
            "INSERT OR IGNORE INTO signed (program, bucket, sequence, digest, interactions_root, "
            "attestor_epoch, valid_until, signature)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *place,
                digest,
                envelope.interactions_root,
                envelope.attestor_epoch,
                envelope.valid_until,
                RESERVED,
            ),
        )
        self._put_leaves(db, place, envelope.interactions_root, leaves)
        return RESERVED

    @staticmethod
    def _require_unseen(
        db: sqlite3.Connection,
        own: tuple[str, int, int, bytes],
        leaves: Sequence[StoredLeaf],
        moment: Moment,
    ) -> None:
        """No event of the leaves is in a landed batch, nor in another that can still land.

        `own` is the candidate itself, whose leaves a reservation may have kept before.
        """
        # A candidate whose place another batch has taken cannot land. Another candidate for the
        # asked place is dead, or `_reserve` would have stopped.
        program = own[0]
        for j, leaf in enumerate(leaves):
            seen = db.execute(
                "SELECT l.bucket, l.sequence, l.interactions_root, d.interactions_root FROM leaf l"
                " LEFT JOIN landed d ON d.program = l.program AND d.bucket = l.bucket AND "
                "d.sequence = l.sequence"
                " WHERE l.program = ? AND l.event_id = ? AND l.partner = ?",
                (program, leaf.event_id, leaf.partner),
            ).fetchall()
            for at_bucket, at_sequence, root, landed_root in seen:
                if root == landed_root:
                    raise Refused(
                        "paid_event",
                        f"the event was paid in bucket {at_bucket}, sequence {at_sequence}",
                        item=j,
                    )
                candidate = (program, at_bucket, at_sequence, root)
                if landed_root is None and candidate != own and _alive(db, candidate, moment):
                    message = (
                        f"the event is in a signed batch that can still land, bucket {at_bucket}, "
                        f"sequence {at_sequence}"
                    )
                    raise Refused("signed_event", message, item=j)

    @staticmethod
    def _require_unpaid(
        db: sqlite3.Connection, predecessor: str, leaves: Sequence[StoredLeaf]
    ) -> None:
        """No event of the leaves is in a batch that landed in the predecessor."""
        for j, leaf in enumerate(leaves):
            paid = db.execute(
                "SELECT l.bucket, l.sequence FROM leaf l JOIN landed d ON d.program = l.program "
                "AND d.bucket = l.bucket AND d.sequence = l.sequence AND d.interactions_root = "
                "l.interactions_root WHERE l.program = ? AND l.event_id = ? AND l.partner = ?",
                (predecessor, leaf.event_id, leaf.partner),
            ).fetchone()
            if paid:
                raise Refused(
                    "paid_event",
                    f"the event was paid in {predecessor}, bucket {paid[0]}, sequence {paid[1]}",
                    item=j,
                )

    @staticmethod
    def _put_leaves(
        db: sqlite3.Connection,
        place: tuple[str, int, int],
        root: bytes,
        leaves: Sequence[StoredLeaf],
    ) -> None:
        db.executemany(
            "INSERT OR IGNORE INTO leaf (program, bucket, sequence, interactions_root, "
            "item_index, partner, event_id, account, amount,"
            " occurred_at, evidence, item_amount) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *place,
                    root,
                    j,
                    leaf.partner,
                    leaf.event_id,
                    leaf.account,
                    str(leaf.amount),
                    leaf.occurred_at,
                    leaf.evidence,
                    str(leaf.item_amount),
                )
                for j, leaf in enumerate(leaves)
            ],
        )

    def put_landed_leaves(self, program: str, landed: Landed, leaves: Sequence[StoredLeaf]) -> None:
        """Keep the leaves of a landed batch; the caller has checked that their root is the
        batch's."""
        with self._transaction() as db:
            self._put_leaves(
                db, (program, landed.bucket, landed.sequence), landed.interactions_root, leaves
            )

    def leaves(self, program: str, bucket: int, sequence: int, root: bytes) -> list[StoredLeaf]:
        """The leaves that are held behind a root, in item order; empty if they are not."""
        rows = self._rows(
            "SELECT partner, event_id, account, amount, occurred_at, evidence, item_amount "
            "FROM leaf"
            " WHERE program = ? AND bucket = ? AND sequence = ? AND interactions_root = ? "
            "ORDER BY item_index",
            program,
            bucket,
            sequence,
            root,
        )
        return [
            StoredLeaf(p, e, account, int(a), at, evidence, int(i))
            for p, e, account, a, at, evidence, i in rows
        ]

    def missing_leaves(self, program: str) -> list[tuple[int, int]]:
        """(bucket, sequence) of the landed batches whose leaves are not held."""
        return self._rows(
            "SELECT bucket, sequence FROM landed d WHERE program = ? AND NOT EXISTS (SELECT 1 "
            "FROM leaf l WHERE l.program = d.program"
            " AND l.bucket = d.bucket AND l.sequence = d.sequence AND l.interactions_root = "
            "d.interactions_root AND l.item_index = 0)"
            " ORDER BY bucket, sequence",
            program,
        )

    def has_begun(self, program: str) -> bool:
        """Whether a batch of the program was signed here, or has landed."""
        return any(
            self._rows(f"SELECT 1 FROM {table} WHERE program = ? LIMIT 1", program)
            for table in ("signed", "landed")
        )

    def landed(self, program: str) -> list[Landed]:
        """All landed batches, in chain order."""
        return [
            _landed(row)
            for row in self._rows(f"{_LANDED} ORDER BY block_number, log_index", program)
        ]

    def landed_at(self, program: str, bucket: int, sequence: int) -> Landed | None:
        """The landed batch at a place."""
        rows = self._rows(f"{_LANDED} AND bucket = ? AND sequence = ?", program, bucket, sequence)
        return _landed(rows[0]) if rows else None

    def progress(self, program: str) -> tuple[int, bytes] | None:
        """Number and hash of the block up to which the chain has been read."""
        rows = self._rows(
            "SELECT block_number, block_hash FROM progress WHERE program = ?", program
        )
        return rows[0] if rows else None

    def advance(
        self, program: str, batches: Sequence[Landed], block_number: int, block_hash: bytes
    ) -> None:
        """Book landed batches and the block read up to, at once; drop what was sent for their
        places and did not land. What was signed stays: a reorg may free the place again."""
        with self._transaction() as db:
            for batch in batches:
                db.execute(
                    "INSERT INTO landed (program, bucket, sequence, block_number, log_index, "
                    "new_root, interactions_root, deltas)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        program,
                        batch.bucket,
                        batch.sequence,
                        batch.block_number,
                        batch.log_index,
                        batch.new_root.to_bytes(32, "big"),
                        batch.interactions_root,
                        batch.deltas,
                    ),
                )
                db.execute(
                    "DELETE FROM leaf WHERE program = ? AND bucket = ? AND sequence = ? AND "
                    "interactions_root != ? AND NOT EXISTS (SELECT 1 FROM signed s WHERE "
                    "s.program = leaf.program AND s.bucket = leaf.bucket AND s.sequence = "
                    "leaf.sequence AND s.interactions_root = leaf.interactions_root)",
                    (program, batch.bucket, batch.sequence, batch.interactions_root),
                )
            db.execute(
                "INSERT OR REPLACE INTO progress VALUES (?, ?, ?)",
                (program, block_number, block_hash),
            )

    def forget_chain(self, program: str) -> None:
        """Drop what was read from the chain, so that it is read anew. Signatures and leaves
        stay."""
        with self._transaction() as db:
            db.execute("DELETE FROM landed WHERE program = ?", (program,))
            db.execute("DELETE FROM progress WHERE program = ?", (program,))


_LANDED = (
    "SELECT bucket, sequence, block_number, log_index, new_root, interactions_root, deltas FROM "
    "landed WHERE program = ?"
)


def _landed(row: tuple[int, int, int, int, bytes, bytes, bytes]) -> Landed:
    bucket, sequence, block_number, log_index, new_root, interactions_root, deltas = row
    return Landed(
        bucket,
        sequence,
        block_number,
        log_index,
        int.from_bytes(new_root, "big"),
        interactions_root,
        deltas,
    )


def _alive(db: sqlite3.Connection, candidate: tuple[str, int, int, bytes], moment: Moment) -> bool:
    """Whether a candidate was signed in an envelope that has not expired."""
    row = db.execute(
        "SELECT EXISTS (SELECT 1 FROM signed WHERE program = ? AND bucket = ? AND sequence = "
        "? AND interactions_root = ?"
        " AND attestor_epoch >= ? AND valid_until >= ?)",
        (*candidate, moment.attestor_epoch, moment.timestamp),
    ).fetchone()
    return bool(row[0])
