"""SIGKILL of the command that pushes claims: every account is paid exactly once, and no nonce of
the paying key is wasted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from backend.chain.models import OutgoingTransaction, State
from tests.integration.exact import assert_exact
from tests.integration.world import World

GUERDON = Path(sys.executable).parent / "guerdon"
PLACES = (
    "tx.stored",
    *(
        pytest.param(place, marks=pytest.mark.soak)
        for place in ("push.stored", "tx.broadcast", "push.sent", "push.settled")
    ),
)
"""Deaths inside this process at all of them are in tests/payout/test_rows.py."""


def claim(world: World, **environment: str) -> int:
    """`guerdon claim` for everybody, two accounts a transaction; its exit code."""
    command = [GUERDON, "claim", world.local.program, "--together", "2"]
    done = subprocess.run(
        command,
        env=os.environ | world.local.environment | environment,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


def paying(world: World) -> list[OutgoingTransaction]:
    """Every transaction of the paying key, by nonce."""
    with world.local.context.database.transaction() as session:
        query = select(OutgoingTransaction).where(
            OutgoingTransaction.sender == world.local.context.payer.address
        )
        return list(session.scalars(query.order_by(OutgoingTransaction.nonce)))


@pytest.mark.parametrize("place", PLACES)
def test_killed_while_pushing(world: World, tmp_path: Path, place: str) -> None:
    """The command dies at the second of its transactions. What was stored goes out without it, by
    the worker; a second run pays the rest."""
    world.start("worker")
    world.report((0, 1, 2, 3, 4))
    world.settle()
    assert (
        claim(world, GUERDON_FAILPOINT=f"{place}:2", GUERDON_FAILPOINT_DIR=str(tmp_path))
        == -signal.SIGKILL
    )
    # Something new: the calls of a second run are others, so nothing but the worker remembers what
    # the first has stored.
    world.report((0, 1))
    world.settle()
    assert claim(world) == 0
    chain = assert_exact(world)
    assert sum(chain.claimed.values()) == sum(world.owed.values())
    rows = paying(world)
    assert [row.nonce for row in rows] == list(range(len(rows)))
    assert {row.state for row in rows} == {State.FINAL}
    assert world.local.context.node.transaction_count(world.local.context.payer.address) == len(
        rows
    )
