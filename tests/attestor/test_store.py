"""What is signed is committed first, once for a place, whatever happens to the process."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event

import pytest

from backend.attestor.errors import OtherDigestSigned, Refused
from backend.attestor.store import Moment, Store, StoredLeaf, StoreError
from prover.eip712 import BatchEnvelope
from tests.attestor.world import CHAIN_ID, DISTRIBUTOR, NOW, account, report

PROGRAM = f"{CHAIN_ID}:{DISTRIBUTOR}"
MOMENT = Moment(NOW, 1)
ENVELOPE = BatchEnvelope(0, 1, 1, 2, 3, b"\4" * 32, b"\5" * 32, b"\6" * 32, 1, NOW + 60)
LEAF = StoredLeaf(b"\1" * 32, b"\2" * 32, "0x" + "11" * 20, 2**95, NOW, b"\3" * 32, 2**95)

# Another process on the same file: signs one digest and prints the signature, or the code of the
# refusal.
SIGN = """
import sys
from pathlib import Path
from backend.errors import GuerdonError
from backend.attestor.store import Store
from tests.attestor.test_store import ENVELOPE, LEAF, MOMENT, PROGRAM
digest = bytes.fromhex(sys.argv[2])
try:
    sign = lambda: digest + digest + b"\\x1b"
    print(Store(Path(sys.argv[1])).sign_once(PROGRAM, ENVELOPE, digest, [LEAF], MOMENT, sign).hex())
except GuerdonError as error:
    print(error.code)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "attestor.sqlite"


@pytest.fixture
def store(path):
    opened = Store(path)
    yield opened
    opened.close()


def sign_elsewhere(path, digest, **environment):
    """Ask another process; (exit code, what it printed)."""
    command = [sys.executable, "-c", SIGN, str(path), digest.hex()]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode <= 0, done.stderr
    return done.returncode, done.stdout.strip()


def test_not_a_store(path):
    """Another file is not taken for a store."""
    path.write_bytes(b"x" * 4096)
    with pytest.raises(StoreError):
        Store(path)


def test_store_of_another_version(path, store):
    """A store of a later version is not touched."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99"):
        Store(path)


def test_durability_settings(store):
    """Every commit reaches the disk."""
    assert store._rows("PRAGMA synchronous") == [(2,)]
    assert store._rows("PRAGMA journal_mode") == [("wal",)]


def test_failed_signing_leaves_a_reservation(store):
    """A signer that fails leaves no lock: the same digest can be signed, another one cannot."""

    def fail():
        raise RuntimeError("no key")

    with pytest.raises(RuntimeError):
        store.sign_once(PROGRAM, ENVELOPE, b"\7" * 32, [LEAF], MOMENT, fail)
    with pytest.raises(OtherDigestSigned):
        store.sign_once(PROGRAM, ENVELOPE, b"\x08" * 32, [LEAF], MOMENT, lambda: b"t")
    elsewhere = replace(ENVELOPE, bucket=1, interactions_root=b"\x09" * 32)
    with pytest.raises(Refused, match="can still land"):
        store.sign_once(PROGRAM, elsewhere, b"\x08" * 32, [LEAF], MOMENT, lambda: b"t")
    assert store.sign_once(PROGRAM, ENVELOPE, b"\7" * 32, [LEAF], MOMENT, lambda: b"s") == b"s"
    assert store.leaves(PROGRAM, 0, 1, b"\4" * 32) == [LEAF]


def test_reservation_expires(store):
    """A reservation whose envelope is dead refuses no other digest."""
    with pytest.raises(ZeroDivisionError):
        store.sign_once(PROGRAM, ENVELOPE, b"\7" * 32, [LEAF], MOMENT, lambda: bytes(1 // 0))
    later = Moment(NOW + 61, 1)
    assert store.sign_once(PROGRAM, ENVELOPE, b"\x08" * 32, [LEAF], later, lambda: b"t") == b"t"


def test_store_answers_while_a_signer_signs(store):
    """No lock is held while a signer signs: the store is read and written meanwhile."""
    signing, done = Event(), Event()

    def slow():
        signing.set()
        assert done.wait(30)
        return b"s"

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(store.sign_once, PROGRAM, ENVELOPE, b"\7" * 32, [LEAF], MOMENT, slow)
        try:
            assert signing.wait(30)
            assert store.missing_leaves(PROGRAM) == []
            store.advance(PROGRAM, [], 1, b"\1" * 32)
            with pytest.raises(OtherDigestSigned):
                store.sign_once(PROGRAM, ENVELOPE, b"\x08" * 32, [LEAF], MOMENT, lambda: b"t")
        finally:
            done.set()
        assert asked.result(30) == b"s"


def test_one_signature_for_one_digest(path):
    """Of many that sign one digest at once all get the signature that was recorded first."""
    stores, barrier = [Store(path) for _ in range(4)], Barrier(4)

    def ask(i):
        def sign():
            barrier.wait(30)
            return bytes([i])

        return stores[i].sign_once(PROGRAM, ENVELOPE, b"\7" * 32, [LEAF], MOMENT, sign)

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(ask, range(4)))
    assert stores[0]._rows("SELECT signature FROM signed") == [(answer,) for answer in answers]
    for opened in stores:
        opened.close()


def test_large_amounts_survive(store):
    """Amounts beyond 64 bits come back exactly."""
    store.sign_once(PROGRAM, ENVELOPE, b"\7" * 32, [LEAF], MOMENT, lambda: b"s")
    assert store.leaves(PROGRAM, 0, 1, b"\4" * 32) == [LEAF]


def test_programs_are_apart(store):
    """A place and an event of one program say nothing about another's."""
    store.sign_once(PROGRAM, ENVELOPE, b"\7" * 32, [LEAF], MOMENT, lambda: b"s")
    assert store.sign_once("1:0x00", ENVELOPE, b"\x08" * 32, [LEAF], MOMENT, lambda: b"t") == b"t"


def test_event_in_another_live_batch(store):
    """While a batch can land, its events cannot be signed at another place."""
    store.sign_once(PROGRAM, ENVELOPE, b"\7" * 32, [LEAF], MOMENT, lambda: b"s")
    elsewhere = replace(ENVELOPE, bucket=1, interactions_root=b"\x09" * 32)
    with pytest.raises(Refused) as caught:
        store.sign_once(PROGRAM, elsewhere, b"\x08" * 32, [LEAF], MOMENT, lambda: b"t")
    assert caught.value.reason == "signed_event"
    assert (
        store.sign_once(PROGRAM, elsewhere, b"\x08" * 32, [LEAF], Moment(NOW + 61, 1), lambda: b"t")
        == b"t"
    )


@pytest.mark.parametrize("same_store", [True, False])
def test_two_digests_at_once(path, same_store):
    """Of many digests that race for a place exactly one is signed, through one store or through
    several on the file."""
    stores = [Store(path)] * 8 if same_store else [Store(path) for _ in range(8)]
    barrier = Barrier(8)

    def ask(i):
        barrier.wait()
        try:
            return stores[i].sign_once(
                PROGRAM, ENVELOPE, bytes([i]) * 32, [LEAF], MOMENT, lambda: bytes([i])
            )
        except OtherDigestSigned:
            return None

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    signed = [answer for answer in answers if answer is not None]
    assert len(signed) == 1
    assert stores[0]._rows("SELECT signature FROM signed") == [(signed[0],)]
    for opened in set(stores):
        opened.close()


@pytest.mark.slow
def test_kill_before_the_reservation(path, tmp_path):
    """Killed with the reservation written but not committed: any digest may be signed."""
    environment = {"GUERDON_FAILPOINT": "attestor.reserved", "GUERDON_FAILPOINT_DIR": str(tmp_path)}
    code, printed = sign_elsewhere(path, b"\7" * 32, **environment)
    assert (code, printed) == (-signal.SIGKILL, "")
    assert sign_elsewhere(path, b"\x08" * 32) == (0, (b"\x08" * 64 + b"\x1b").hex())


@pytest.mark.slow
@pytest.mark.parametrize("step", ["attestor.reserved.committed", "attestor.signed"])
def test_kill_between_reservation_and_record(path, tmp_path, step):
    """Killed before or after signing, with no record: another digest is refused, the same one is
    signed."""
    environment = {"GUERDON_FAILPOINT": step, "GUERDON_FAILPOINT_DIR": str(tmp_path)}
    code, printed = sign_elsewhere(path, b"\7" * 32, **environment)
    assert (code, printed) == (-signal.SIGKILL, "")
    assert sign_elsewhere(path, b"\x08" * 32) == (0, "other_digest_signed")
    assert sign_elsewhere(path, b"\7" * 32) == (0, (b"\7" * 64 + b"\x1b").hex())


@pytest.mark.slow
def test_kill_between_commit_and_answer(path, tmp_path):
    """Killed with the record committed but not answered: the same digest gets its signature,
    another none."""
    code, printed = sign_elsewhere(
        path,
        b"\7" * 32,
        GUERDON_FAILPOINT="attestor.signed.committed",
        GUERDON_FAILPOINT_DIR=str(tmp_path),
    )
    assert (code, printed) == (-signal.SIGKILL, "")
    assert sign_elsewhere(path, b"\x08" * 32) == (0, "other_digest_signed")
    assert sign_elsewhere(path, b"\7" * 32) == (0, (b"\7" * 64 + b"\x1b").hex())


def test_two_questions_at_once(world):
    """Through the whole attestor: of two questions that race for a place one is signed, the other
    is told to wait."""
    batch = world.coordinator.batch(0, [world.coordinator.deliver([report("a", account(1))])])
    questions = [batch.with_envelope(ledger_head=bytes([i]) * 32).question for i in range(4)]
    barrier = Barrier(4)

    def ask(question):
        barrier.wait()
        try:
            return world.attestor.attest(question)
        except OtherDigestSigned:
            return None

    with ThreadPoolExecutor(4) as pool:
        assert sum(answer is not None for answer in pool.map(ask, questions)) == 1


def test_the_files_are_for_their_owner_alone(tmp_path):
    """The store holds partners' deliveries. A file that others could read is closed to them."""
    before = os.umask(0o022)
    try:
        path = tmp_path / "attestor.sqlite"
        store = Store(path)
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
        store.close()
        assert modes == {f"attestor.sqlite{end}": 0o600 for end in ("", "-wal", "-shm")}
        path.chmod(0o644)
        Store(path).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(before)
    with pytest.raises(StoreError, match=r"attestor\.sqlite"):
        Store(tmp_path / "nowhere" / "attestor.sqlite")
