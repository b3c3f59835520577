"""Booking the chain: in whole blocks, a bounded number of events at a time, and with nothing locked
while the node is asked."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text

from backend.chain.events import Event
from backend.invariant import check_with_chain
from backend.ledger import blocks, repository
from backend.ledger import service as ledger
from backend.pipeline import look_at_program
from backend.settlement import indexer
from backend.settlement.indexer import index
from tests.support.engine import address, report
from tests.support.onchain import OnChain

SECONDS = 20
"""Longest wait for what must not have to wait at all."""


def in_one_block(program: OnChain, amounts: Sequence[int]) -> None:
    """Several fundings in one block."""
    w3 = program.chain.w3
    token = program.program.deployment.token
    program.chain.rpc("evm_setAutomine", False)
    mint = w3.eth.contract(
        token,
        abi=[
            {
                "type": "function",
                "name": "mint",
                "stateMutability": "nonpayable",
                "outputs": [],
                "inputs": [
                    {"name": "to", "type": "address"},
                    {"name": "amount", "type": "uint256"},
                ],
            }
        ],
    )
    sender = program.chain.key(0).address
    nonce = w3.eth.get_transaction_count(sender)
    for number, amount in enumerate(amounts):
        mint.functions.mint(program.program.address, amount).transact(
            {"from": sender, "nonce": nonce + number, "gas": 200_000}
        )
    program.chain.rpc("evm_mine")
    program.chain.rpc("evm_setAutomine", True)


def reserve(program: OnChain) -> int:
    with program.engine.database.transaction() as session:
        return ledger.reserve(session, program.id)


def test_parts_end_with_whole_blocks(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is booked at once ends with a block, and the cursor behind it: whatever stops the
    indexer, database and chain agree up to there."""
    monkeypatch.setattr(indexer, "EVENTS_PER_PART", 2)
    for amounts in ([1], [2, 4, 8], [16], [32]):
        in_one_block(program, amounts)
    program.chain.rpc("evm_mine")
    book_part, parts = indexer._record_part, []

    def stop_at_the_second(*given: Any) -> int:
        parts.append(len(given[2].events))
        if len(parts) == 2:
            raise KeyboardInterrupt
        return book_part(*given)

    monkeypatch.setattr(indexer, "_record_part", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        index(program.context, program.id)
    assert (parts, reserve(program) - 1000) == ([4, 2], 1 + 2 + 4 + 8)
    assert check_with_chain(program.context, program.id) == []
    monkeypatch.setattr(indexer, "_record_part", book_part)
    assert index(program.context, program.id).events == 2
    assert reserve(program) == 1063
    assert program.row.last_indexed_block == program.chain.w3.eth.block_number
    assert check_with_chain(program.context, program.id) == []


def test_parts() -> None:
    """Parts hold every event once, in order; each but the last is full, ends with its block, and
    has that block's hash."""

    def events(*blocks: int) -> list[Event]:
        places = [(number, index) for number, count in enumerate(blocks) for index in range(count)]
        return [
            Event(block_number=n, block_hash=n.to_bytes(32, "big"), tx_hash=b"", log_index=i)
            for n, i in places
        ]

    limit = indexer.EVENTS_PER_PART
    for counts in (
        [],
        [1],
        [limit],
        [limit, 1],
        [1] * (2 * limit),
        [limit - 1, 2, 1],
        [limit + 5, 0, limit + 5],
        [0, 3, 0, 0],
    ):
        made = events(*counts)
        parts = list(indexer._parts(made, 1000, b"last"))
        assert [event for part in parts for event in part.events] == made
        assert (parts[-1].last, parts[-1].last_hash) == (1000, b"last")
        for part, following in pairwise(parts):
            assert len(part.events) >= limit
            assert (part.last, part.last_hash) == (
                part.events[-1].block_number,
                part.events[-1].block_hash,
            )
            assert following.events[0].block_number > part.last


def test_two_indexers(program: OnChain) -> None:
    """Indexers at the same time record each event once, and the cursor never goes back."""
    for number in range(6):
        program.program.fund(1 + number)
    with ThreadPoolExecutor(4) as pool:
        booked = sum(
            future.result().events
            for future in [pool.submit(index, program.context, program.id) for _ in range(4)]
        )
    assert (booked, reserve(program)) == (6, 1021)
    assert program.row.last_indexed_block == program.chain.w3.eth.block_number


def take_in(program: OnChain, event: str) -> str:
    (answer,) = program.engine.take_in(program.row, [report(event, "bob", 1)])
    return answer.outcome


def test_intake_does_not_wait_for_the_node(
    program: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the node is asked for anything, receipts included, interactions are taken in: nothing
    is locked meanwhile."""
    program.engine.take_in(program.row, [report("e0", "ann", 5)])
    program.post()
    program.program.fund(7)
    outcomes = []
    with ThreadPoolExecutor(1) as pool:

        def asked(name: str) -> None:
            function = getattr(program.context.node, name)

            def slow(*arguments: object) -> Any:
                outcomes.append(
                    pool.submit(take_in, program, f"{name} {len(outcomes)}").result(SECONDS)
                )
                return function(*arguments)

            monkeypatch.setattr(program.context.node, name, slow)

        for name in ("receipt", "block", "logs"):
            asked(name)
        assert index(program.context, program.id).events == 2
    assert len(outcomes) > 4
    assert set(outcomes) == {"accepted"}
    assert check_with_chain(program.context, program.id) == []


def test_intake_does_not_wait_for_whoever_posts(program: OnChain) -> None:
    """An indexer that waits for a batch's row, which its poster locks while it asks the node, has
    not locked the budget."""
    program.engine.take_in(program.row, [report("e0", "ann", 5)])
    program.post()
    program.program.fund(7)
    with ThreadPoolExecutor(2) as pool:
        with program.engine.database.transaction() as poster:
            poster.execute(
                text("SELECT id FROM batch WHERE program_id = :id FOR UPDATE"), {"id": program.id}
            )
            indexing = pool.submit(index, program.context, program.id)
            with pytest.raises(TimeoutError):
                indexing.result(2)
            assert pool.submit(take_in, program, "e1").result(SECONDS) == "accepted"
        assert indexing.result(SECONDS).events == 2
    assert program.account("ann").posted == 5


def test_release_once_a_part(program: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many transfers arrive, what is held is looked for once; and it is released."""
    program.engine.take_in(program.row, [report("large", "ann", 1050)])
    calls, release = [], indexer.interactions.release_held
    monkeypatch.setattr(
        indexer.interactions, "release_held", lambda *key: calls.append(release(*key))
    )
    in_one_block(program, [1] * 30)
    program.program.fund(30)
    assert index(program.context, program.id).events == 31
    assert calls == [1]
    assert program.engine.owed(program.row, address("ann")) == 1050


def test_the_tail_is_sealed_without_batches(
    program: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program to which strangers send and send, and which closes no batch, has no more than a
    block's worth of unsealed transactions."""
    monkeypatch.setattr(blocks, "BLOCK_TRANSACTIONS_MAX", 4)
    in_one_block(program, [1] * 30)
    assert look_at_program(program.context, program.id) == 0
    with program.engine.database.snapshot() as session:
        assert (
            len(repository.unsealed(session, program.id)),
            blocks.verify(session, program.id),
        ) == (3, 7)
    assert check_with_chain(program.context, program.id) == []
