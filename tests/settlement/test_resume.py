"""Ending a halt: only once ledger and chain agree, with nothing booked twice, and never by taking
back what is booked."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from backend.account.models import Account
from backend.batch.models import Batch
from backend.chain.distributor import Distributor
from backend.errors import Conflict, Invalid, NotYet
from backend.invariant import check_with_chain
from backend.ledger import service as ledger
from backend.payout.push import push_claims
from backend.program.models import Program
from backend.settlement.indexer import index
from backend.settlement.resume import CORRECTION, RESUMING, BookedAndGone, resume
from tests.support.anvil import Anvil, anvil
from tests.support.engine import address, report
from tests.support.onchain import OnChain

CHANGED = "was final and has changed"


@pytest.fixture(scope="package")
def chain() -> Iterator[Anvil]:
    """A chain of this file's own, for its blocks are taken back."""
    with anvil() as running:
        yield running


def halt(program: OnChain, reason: str | None = "looked at") -> None:
    with program.engine.database.transaction() as session:
        session.execute(update(Program).where(Program.id == program.id).values(halted=reason))


def money(program: OnChain) -> dict[str, Any]:
    """All that booking moves."""
    with program.engine.database.transaction() as session:
        accounts = session.query(Account).filter_by(program_id=program.id).order_by(Account.slot)
        claims = session.execute(
            text("SELECT count(*), sum(amount) FROM claim WHERE program_id = :id"),
            {"id": program.id},
        ).one()
        movements = text("SELECT count(*) FROM ledger_transaction WHERE program_id = :id")
        return {
            "accounts": [(row.posted, row.claimed) for row in accounts],
            "claims": tuple(claims),
            "reserve": ledger.reserve(session, program.id),
            "budget": ledger.available_budget(session, program.id),
            "movements": session.scalar(movements, {"id": program.id}),
        }


def assert_whole(program: OnChain) -> None:
    assert program.row.halted is None
    assert program.row.last_indexed_block == program.chain.w3.eth.block_number
    assert check_with_chain(program.context, program.id) == []


def closed(program: OnChain, name: str, amount: int) -> list[Batch]:
    """A batch that is not posted."""
    program.engine.take_in(program.row, [report(f"closed {name}", name, amount)])
    return program.engine.close(program.row)


def do_everything(program: OnChain) -> None:
    """Funding, two batches of one account, a claim of two, one of which the token refuses, and a
    withdrawal; nothing of it is booked."""
    for rewards in ([("ann", 10), ("bob", 20)], [("ann", 30)]):
        program.reward(rewards)
    program.token("setBlocked", address("bob"), True)
    push_claims(program.context, program.row, [address("ann"), address("bob")], together=2)
    program.program.fund(500)


class Reorg:
    """Takes back the blocks since it was made; `replay` puts their transactions into other blocks,
    byte for byte."""

    def __init__(self, chain: Anvil) -> None:
        self.chain, self.start, self._snapshot = (
            chain,
            chain.w3.eth.block_number,
            chain.rpc("evm_snapshot"),
        )

    def happen(
        self,
        empty_blocks: int = 1,
        skip: Callable[[Any], bool] = lambda _: False,
        replay: bool = True,
    ) -> None:
        w3 = self.chain.w3
        height = w3.eth.block_number
        blocks = [
            w3.eth.get_block(number, full_transactions=True)
            for number in range(self.start + 1, height + 1)
        ]
        keys = {self.chain.key(index).address: self.chain.key(index) for index in range(10)}
        self.chain.rpc("evm_revert", self._snapshot)
        self.chain.rpc("anvil_mine", hex(empty_blocks))
        for found in [one for made in blocks for one in made["transactions"]] if replay else []:
            if skip(found):
                continue
            fields = {
                name: found[name]
                for name in (
                    "nonce",
                    "to",
                    "value",
                    "gas",
                    "chainId",
                    "maxFeePerGas",
                    "maxPriorityFeePerGas",
                )
            }
            signed = keys[found["from"]].sign_transaction(
                {"type": 2, "data": found["input"], **fields}
            )
            assert signed.hash == found["hash"]
            w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed.raw_transaction))
        self.chain.rpc("anvil_mine", hex(max(0, height - w3.eth.block_number) + 2))


def test_nothing_to_resume(program: OnChain) -> None:
    """A program that is not halted is left alone; a block beyond what is booked would leave a
    gap."""
    with pytest.raises(Conflict, match="is not halted"):
        resume(program.context, program.id)
    with pytest.raises(Invalid, match="the last indexed block is"):
        resume(program.context, program.id, program.row.last_indexed_block + 2)
    assert program.row.halted is None


def test_halted_for_nothing(program: OnChain) -> None:
    """Ledger and chain agree: the halt ends, and what came meanwhile is booked."""
    halt(program)
    program.program.fund(5)
    assert index(program.context, program.id).events == 0
    done = resume(program.context, program.id)
    assert (done.back_to, done.events, money(program)["reserve"]) == (None, 1, 1005)
    assert_whole(program)


def test_a_broken_invariant_stays_halted(program: OnChain) -> None:
    """What does not hold in the database is named, and neither the halt nor its reason goes
    away."""
    program.reward([("ann", 10)])
    halt(program)
    with program.engine.database.transaction() as session:
        session.execute(update(Account).where(Account.program_id == program.id).values(posted=9))
    with pytest.raises(Conflict, match="posted is 9"):
        resume(program.context, program.id)
    assert program.row.halted == "looked at"


def test_a_node_left_logs_out(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range that a node returned empty is booked: the rules find it, and resuming from a block
    before books what was left out, in order."""
    first = program.row.last_indexed_block + 1
    program.reward([("ann", 10)])
    before = program.row.last_indexed_block
    program.program.fund(7)
    program.post_batches(closed(program, "ann", 5))
    monkeypatch.setattr(Distributor, "events", lambda *_: [])
    assert index(program.context, program.id).events == 0
    monkeypatch.undo()
    program.program.fund(9)
    index(program.context, program.id)
    halt(program, "an invariant is broken")
    with pytest.raises(Conflict, match="give the block to compare from"):
        resume(program.context, program.id)
    assert program.row.halted == "an invariant is broken"
    assert money(program)["reserve"] == 1009
    done = resume(program.context, program.id, first)
    assert done.back_to == before
    assert (money(program)["reserve"], money(program)["accounts"]) == (1016, [(15, 0)])
    assert_whole(program)
    again = money(program)
    for block in (first, 0):
        resume(program.context, program.id, block)
    assert money(program) == again
    assert_whole(program)


def test_a_raise_that_is_booked_is_no_reason_to_go_back(program: OnChain) -> None:
    """The constructor's families and the raise after them are in every log: compared from the first
    block on, they are booked and nothing is recorded again."""
    program.reward([("ann", 10)])
    program.call("raiseFamilies", 16)
    index(program.context, program.id)
    halt(program)
    resumed = resume(program.context, program.id, 0)
    assert (resumed.back_to, resumed.events) == (program.chain.w3.eth.block_number, 0)
    assert (program.row.families, program.row.families_first) == (16, 1)
    assert_whole(program)


def test_a_raise_that_a_node_left_out_is_booked(program: OnChain) -> None:
    """The last number of the log is the ledger's afterwards."""
    program.call("raiseFamilies", 16)
    index(program.context, program.id)
    with program.engine.database.transaction() as session:
        session.execute(update(Program).where(Program.id == program.id).values(families=1))
    halt(program)
    resume(program.context, program.id, 0)
    assert (program.row.families, program.row.families_first) == (16, 1)
    assert_whole(program)


@pytest.mark.parametrize("from_start", [False, True])
def test_the_same_transactions_in_other_blocks(program: OnChain, from_start: bool) -> None:
    """A deep reorg puts everything into other blocks: it is known by its transactions, so nothing
    is booked twice and nothing is missing."""
    reorg = Reorg(program.chain)
    do_everything(program)
    index(program.context, program.id)
    before = money(program)
    assert before["accounts"] == [(40, 40), (20, 0)]
    reorg.happen(empty_blocks=3)
    index(program.context, program.id)
    assert CHANGED in program.row.halted
    resume(program.context, program.id, reorg.start if from_start else None)
    assert money(program) == before
    assert_whole(program)
    program.reward([("ann", 1), ("cat", 2)])
    assert money(program)["accounts"] == [(41, 40), (20, 0), (2, 0)]


def test_what_is_new_on_the_other_branch_is_booked(program: OnChain) -> None:
    """Beside what was there before, the new branch holds a funding that the old one did not have:
    it is booked, once."""
    reorg = Reorg(program.chain)
    do_everything(program)
    index(program.context, program.id)
    before = money(program)
    reorg.happen()
    program.program.fund(11)
    index(program.context, program.id)
    assert resume(program.context, program.id).events == 1
    after = money(program)
    assert after.pop("reserve") == before.pop("reserve") + 11
    assert after.pop("budget") == before.pop("budget") + 11
    assert after.pop("movements") == before.pop("movements") + 1
    assert after == before
    assert_whole(program)


def test_booked_and_gone(program: OnChain) -> None:
    """What was booked and is on chain no longer is listed, and the program stays halted, as often
    as one tries."""
    program.reward([("ann", 10)])
    reorg = Reorg(program.chain)
    do_everything(program)
    index(program.context, program.id)
    before, booked = money(program), program.row.last_indexed_block
    reorg.happen(replay=False, empty_blocks=2)
    index(program.context, program.id)
    reason = program.row.halted
    for _ in range(2):
        with pytest.raises(BookedAndGone) as caught:
            resume(program.context, program.id)
        kinds = [line.split(",")[0] for line in caught.value.gone]
        assert kinds == [
            f"claim of 50 of {address('ann')}",
            "fund of 500",
            "batch 2 of bucket 0",
            "batch 3 of bucket 0",
        ]
    assert "fund of 500" in caught.value.message
    assert (program.row.halted, program.row.last_indexed_block, money(program)) == (
        reason,
        booked,
        before,
    )


def test_a_gone_funding_is_corrected(program: OnChain) -> None:
    """A person books the opposite under the gone one's name: then the rest agrees, and the halt
    ends."""
    program.reward([("ann", 10)])
    reorg = Reorg(program.chain)
    program.fund(500)
    fund = program.chain.w3.eth.get_block("latest", full_transactions=True)["transactions"][0][
        "hash"
    ]
    reorg.happen(skip=lambda found: found["hash"] == fund)
    index(program.context, program.id)
    with pytest.raises(BookedAndGone) as caught:
        resume(program.context, program.id)
    [gone] = caught.value.gone
    with program.engine.database.transaction() as session:
        assert ledger.book_withdrawal(
            session, program.id, CORRECTION + gone.rpartition(" ")[2], 500
        )
    resume(program.context, program.id)
    assert money(program)["reserve"] == 1000
    assert_whole(program)


def test_a_shorter_chain(program: OnChain) -> None:
    """A node without the last indexed block cannot be compared with: that is waited for, unless
    a block to compare from is given."""
    reorg = Reorg(program.chain)
    program.chain.rpc("anvil_mine", "0x20")
    index(program.context, program.id)
    halt(program)
    program.chain.rpc("evm_revert", reorg._snapshot)
    with pytest.raises(NotYet, match="wait for the node"):
        resume(program.context, program.id)
    assert program.row.halted == "looked at"
    assert resume(program.context, program.id, 1).back_to == reorg.start
    assert_whole(program)


def test_killed_in_between(program: OnChain, tmp_path: Path) -> None:
    """SIGKILL of `guerdon program resume` with everything booked: the program stays halted, nobody
    books meanwhile, and the next run ends it."""
    halt(program)
    program.program.fund(5)
    environment = {
        "GUERDON_DATABASE_URL": program.engine.url,
        "GUERDON_RPC_URL": program.chain.url,
        "GUERDON_FAILPOINT": "resume.booked",
        "GUERDON_FAILPOINT_DIR": str(tmp_path),
    }
    command = [Path(sys.executable).parent / "guerdon", "program", "resume", program.row.name]
    codes = []
    for meant in (RESUMING, None):
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, check=False, timeout=120
        )
        codes.append(done.returncode)
        assert program.row.halted == meant, done.stderr.decode()
        program.program.fund(6)
        assert index(program.context, program.id).events == (0 if meant else 1)
    assert codes == [-signal.SIGKILL, 0]
    assert money(program)["reserve"] == 1017
    assert_whole(program)


def test_an_older_batch_again(program: OnChain) -> None:
    """Booking a batch again after a newer one does not take the newer one's rewards back."""
    program.reward([("ann", 10)])
    program.reward([("ann", 30)])
    program.engine.finalize(program.row, program.batches()[0])
    assert money(program)["accounts"] == [(40, 0)]


def test_another_batch_in_its_place(program: OnChain) -> None:
    """The new branch holds a batch that the ledger never closed: it is named, and nothing is
    booked."""
    reorg = Reorg(program.chain)
    state = program.program.state
    program.reward([("ann", 10)])
    reorg.happen(replay=False)
    program.program.state = type(state)(state.instance)
    program.program.post(0, [(address("ann"), 11)])
    index(program.context, program.id)
    with pytest.raises(BookedAndGone, match="the chain has another batch in its place"):
        resume(program.context, program.id)
    assert CHANGED in program.row.halted
