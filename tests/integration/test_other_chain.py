"""A database with programs of two chains, and workers and commands whose node is on one of them:
they leave the other's programs alone."""

import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from backend import pipeline, tasks
from backend.chain.models import OutgoingTransaction, State
from backend.cli import context as cli_context
from backend.context import Context
from backend.errors import Conflict
from backend.kit.log import configure
from backend.main import app
from backend.payout import service
from backend.payout.push import push_claims
from backend.settlement.post_track import track_orphaned
from tests.support.anvil import anvil
from tests.support.engine import Engine, address, fresh_engine, report
from tests.support.onchain import OnChain, on_chain
from tests.support.patience import idle_seconds

BOTH = "is on chain 31337, the node of RPC_URL is on chain 1337"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with fresh_engine() as made:
        yield made


@pytest.fixture(scope="module")
def there(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnChain]:
    """A program on chain 31337 with a batch that can move, and a claim that nobody has sent yet."""
    with anvil() as chain, on_chain(engine, chain, tmp_path_factory.mktemp("there")) as program:
        program.reward([("ann", 10)])
        enqueue_claim(program)
        engine.take_in(program.row, [report("waits", "ann", 5)])
        engine.close(program.row)
        yield program


@pytest.fixture(scope="module")
def here(
    engine: Engine, there: OnChain, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OnChain]:
    """A program on chain 1337, at the same address, where the node of this side's settings is."""
    with anvil(chain_id=1337) as chain:
        chain.rpc("anvil_mine", hex(there.row.last_indexed_block + 20))
        with on_chain(engine, chain, tmp_path_factory.mktemp("here")) as program:
            yield program


@pytest.fixture(autouse=True)
def _worker(here: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's tasks run in this process, with the settings of `here`."""
    tasks._say_left_alone.cache_clear()
    monkeypatch.setattr(tasks, "_context", lambda: here.context)
    monkeypatch.setattr(cli_context, "settings", lambda: here.context.settings)


def enqueue_claim(program: OnChain) -> int:
    """A claim of ann's, stored and not sent."""
    with program.engine.database.transaction() as session:
        data = service.claim_call(session, program.row, address("ann")).calldata
        purpose = f"claim of {program.row.name}"
        return program.context.payer.enqueue(session, purpose, program.program.address, data).id


def standing(program: OnChain) -> tuple:
    row, batch = program.row, program.batches()[-1]
    return (
        row.halted,
        row.last_indexed_block,
        batch.state,
        batch.note,
        batch.failures,
        batch.retry_at,
        len(program.batches()),
    )


def test_a_worker_looks_at_its_chain_alone(
    here: OnChain, there: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks and invariants on the wrong node neither halt, book, close nor move anything, and say
    once whom they leave alone."""
    before, sent = standing(there), []
    monkeypatch.setattr(tasks.advance, "apply_async", lambda arguments, **_: sent.append(arguments))
    booked = here.row.last_indexed_block
    here.chain.rpc("anvil_mine", "0x3")
    with capture_logs() as logs:
        for _ in range(2):
            tasks.tick()
            tasks.check_invariants()
    assert standing(there) == before
    assert sent == []
    assert here.row.last_indexed_block == booked + 3
    assert here.row.halted is None
    said = [line for line in logs if line["event"] == "program_on_another_chain"]
    assert [(line["program"], line["chain_id"], line["node_chain_id"]) for line in said] == [
        (there.row.name, 31337, 1337)
    ]
    assert [line for line in logs if line["log_level"] in ("warning", "error")] == said


def test_entries_name_both_chains(here: OnChain, there: OnChain) -> None:
    """Whatever acts on a program on another chain is refused with both ids, and changes nothing."""
    before = standing(there)
    batch = there.batches()[-1].id
    for attempt in (
        lambda: pipeline.look_at_program(here.context, there.id),
        lambda: pipeline.advance(here.context, batch),
        lambda: here.context.distributor(there.row),
        lambda: push_claims(here.context, there.row, [address("ann")], together=1),
    ):
        with pytest.raises(Conflict, match=BOTH):
            attempt()
    with capture_logs() as logs:
        tasks.advance(batch)
    assert [(line["event"], line["batch"]) for line in logs] == [("batch_not_advanced", batch)]
    assert standing(there) == before


@pytest.mark.parametrize(
    "words",
    [
        "watch NAME",
        "prove NAME",
        "post NAME",
        "claim NAME",
        "program fund NAME 5",
        "program resume NAME",
    ],
)
def test_commands_name_both_chains(here: OnChain, there: OnChain, words: str) -> None:
    """So are the commands, before they send or book anything."""
    before, height = standing(there), here.chain.w3.eth.block_number
    result = CliRunner().invoke(app, words.replace("NAME", there.row.name).split())
    configure()
    assert result.exit_code == 1
    assert BOTH in result.stderr
    assert standing(there) == before
    assert here.chain.w3.eth.block_number == height


def test_orphaned_transactions_of_this_chain_are_tracked(here: OnChain, there: OnChain) -> None:
    """An open transaction of another chain, first in line, does not keep ours from leaving, and is
    left as it is."""
    here.reward([("ann", 10)])
    ours = enqueue_claim(here)
    track_orphaned(here.context)
    track_orphaned(here.context)
    with here.engine.database.transaction() as session:
        states = {row.id: row.state for row in session.query(OutgoingTransaction)}
    assert states.pop(ours) == State.FINAL
    assert list(states.values()) == [State.STORED]


def test_its_own_worker_goes_on(there: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose node is on the program's chain finds the very same batch to move."""
    sent = []
    monkeypatch.setattr(tasks, "_context", lambda: there.context)
    monkeypatch.setattr(tasks.advance, "apply_async", lambda arguments, **_: sent.append(arguments))
    tasks.tick()
    assert sent == [(there.batches()[-1].id,)]


def test_node_away_from_the_start(there: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has not reached its node yet hands batches on, which then say what they wait
    for; a tick beside it asks no node and is done at once, so that somebody is free to take them.
    Another chain's ticks are not held up."""
    away = Context(there.context.settings.model_copy(update={"rpc_url": "http://127.0.0.1:9"}))
    sent = []
    monkeypatch.setattr(tasks, "_context", lambda: away)
    monkeypatch.setattr(tasks.advance, "apply_async", lambda arguments, **_: sent.append(arguments))
    tasks.tick()
    tasks.check_invariants()
    assert (there.batches()[-1].id,) in sent
    tasks.advance(there.batches()[-1].id)
    assert "no Ethereum node answers" in there.batches()[-1].note
    assert there.row.halted is None
    sent.clear()
    names: list[str] = []
    lock = away.database.advisory_lock
    monkeypatch.setattr(
        away.database, "advisory_lock", lambda name: names.append(name) or lock(name)
    )
    tasks.tick()
    with lock(names[0]):
        begun = time.monotonic()
        tasks.tick()
        assert idle_seconds(begun) < 1
    assert "http" not in names[0]
    with lock(names[0]):
        monkeypatch.setattr(tasks, "_context", lambda: there.context)
        booked = there.row.last_indexed_block
        there.chain.rpc("evm_mine")
        tasks.tick()
        assert there.row.last_indexed_block > booked
    away.close()
