"""SIGKILL of a worker on either side of each commit and of the broadcast: each purpose once on chain, and no nonce wasted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.chain.models import State
from backend.signer import keystore
from tests.chain_sender.support import Bench, bench
from tests.chain_sender.worker import PASSWORD

ROOT = Path(__file__).parents[2]
PLACES = ["tx.stored", "worker.enqueued", "tx.broadcast", "worker.broadcast", "tx.settled", "worker.settled"]
PURPOSES = ["post:1", "post:2", "post:3"]


def _run(stack: Bench, folder: Path, places: list[str], purposes: list[str]) -> list[int]:
    """Start the worker until it ends by itself; the exit codes, in order."""
    key = folder / "key.json"
    keystore.create(key, PASSWORD, scrypt_n=keystore.SCRYPT_N_LOCAL, private_key=bytes(stack.chain.key(0).key))
    command = [sys.executable, "-W", "ignore", "-m", "tests.chain_sender.worker", stack.url, stack.chain.url, str(key), *purposes]
    environment = {**os.environ, "GUERDON_FAILPOINT": ",".join(places), "GUERDON_FAILPOINT_DIR": str(folder)}
    codes: list[int] = []
    while 0 not in codes and len(codes) <= len(places):
        done = subprocess.run(command, cwd=ROOT, env=environment, timeout=60, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        codes.append(done.returncode)
    return codes


def _assert_exactly_once(stack: Bench, purposes: list[str]) -> None:
    rows = stack.rows()
    assert [(row.purpose, row.nonce, row.state) for row in rows] == [(p, n, State.FINAL) for n, p in enumerate(purposes)]
    assert stack.next_nonce() == stack.chain_nonce() == stack.calls() == len(purposes)
    assert len({row.mined_hash for row in rows}) == len(purposes)


def test_killed_at_every_place_each_purpose_is_once_on_chain(mining: Bench, tmp_path: Path) -> None:
    """Killed at each place once and started again each time: as many transactions as purposes, and no nonce beside theirs."""
    assert _run(mining, tmp_path, PLACES, PURPOSES) == [-signal.SIGKILL] * len(PLACES) + [0]
    _assert_exactly_once(mining, PURPOSES)


@pytest.mark.parametrize("place", ["worker.enqueued", "tx.broadcast"])
def test_killed_around_the_broadcast_with_blocks_far_apart(place: str, tmp_path: Path) -> None:
    """Dead before the bytes leave, or after they left and before that is written down, with the transaction waiting in the node."""
    with bench(block_time=1) as stack:
        assert _run(stack, tmp_path, [place], PURPOSES[:2]) == [-signal.SIGKILL, 0]
        _assert_exactly_once(stack, PURPOSES[:2])
