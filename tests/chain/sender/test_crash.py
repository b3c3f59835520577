"""SIGKILL of a worker on either side of each commit and of the broadcast: each purpose once on
chain, and no nonce wasted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.chain.models import State
from backend.signer import keystore
from tests.chain.sender.support import Bench, bench
from tests.chain.sender.worker import PASSWORD

ROOT = Path(__file__).parents[3]
PLACES = [
    "tx.stored",
    "worker.enqueued",
    "tx.broadcast",
    "worker.broadcast",
    "tx.settled",
    "worker.settled",
]
PURPOSES = ["post:1", "post:2", "post:3"]


def _start(
    stack: Bench, folder: Path, places: list[str], purposes: list[str], **environment: str
) -> int:
    """Start the worker once; its exit code."""
    key = folder / "key.json"
    if not key.exists():
        keystore.create(
            key,
            PASSWORD,
            scrypt_n=keystore.SCRYPT_N_LOCAL,
            private_key=bytes(stack.chain.key(0).key),
        )
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.chain.sender.worker",
        stack.url,
        stack.chain.url,
        str(key),
        *purposes,
    ]
    environment |= {"GUERDON_FAILPOINT": ",".join(places), "GUERDON_FAILPOINT_DIR": str(folder)}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def _run(stack: Bench, folder: Path, places: list[str], purposes: list[str]) -> list[int]:
    """Start the worker until it ends by itself; the exit codes, in order."""
    codes: list[int] = []
    while 0 not in codes and len(codes) <= len(places):
        codes.append(_start(stack, folder, places, purposes))
    return codes


def _assert_exactly_once(stack: Bench, purposes: list[str]) -> None:
    rows = stack.rows()
    assert [(row.purpose, row.nonce, row.state) for row in rows] == [
        (p, n, State.FINAL) for n, p in enumerate(purposes)
    ]
    assert stack.next_nonce() == stack.chain_nonce() == stack.calls() == len(purposes)
    assert len({row.mined_hash for row in rows}) == len(purposes)


def test_killed_at_every_place_each_purpose_is_once_on_chain(mining: Bench, tmp_path: Path) -> None:
    """Killed at each place once and started again each time: as many transactions as purposes, and
    no nonce beside theirs."""
    assert _run(mining, tmp_path, PLACES, PURPOSES) == [-signal.SIGKILL] * len(PLACES) + [0]
    _assert_exactly_once(mining, PURPOSES)


@pytest.mark.parametrize("place", ["worker.enqueued", "tx.broadcast"])
def test_killed_around_the_broadcast_with_blocks_far_apart(place: str, tmp_path: Path) -> None:
    """Dead before the bytes leave, or after they left and before that is written down, with the
    transaction waiting in the node."""
    with bench(block_time=1) as stack:
        assert _run(stack, tmp_path, [place], PURPOSES[:2]) == [-signal.SIGKILL, 0]
        _assert_exactly_once(stack, PURPOSES[:2])


@pytest.mark.parametrize(
    ("place", "kept", "state"), [("tx.bumped", 1, State.SENT), ("tx.bumped:2", 2, State.STORED)]
)
def test_killed_while_raising_the_fees(
    waiting: Bench, tmp_path: Path, place: str, kept: int, state: State
) -> None:
    """Dead with a replacement signed and not committed: it has not left, and the node still has the
    one before it, whose broadcast may not be written down. The next worker replaces it anew, under
    the same nonce, and one attempt of the purpose is mined."""
    impatient = {"BUMP_AFTER_SECONDS": "0"}
    assert _start(waiting, tmp_path, [place], PURPOSES[:2], **impatient) == -signal.SIGKILL
    [row] = waiting.rows()
    attempts = waiting.attempts(row.id)
    assert (row.state, row.nonce, len(attempts)) == (state, 0, kept)
    assert waiting.pool() == {0: "0x" + attempts[-1].tx_hash.hex()}
    waiting.chain.rpc("evm_setIntervalMining", 1)
    assert _start(waiting, tmp_path, [place], PURPOSES[:2], **impatient) == 0
    _assert_exactly_once(waiting, PURPOSES[:2])
    mined = waiting.rows()[0].mined_hash
    assert mined in {attempt.tx_hash for attempt in waiting.attempts(row.id)}
    assert {attempt.tx_hash for attempt in attempts} <= {
        attempt.tx_hash for attempt in waiting.attempts(row.id)
    }
