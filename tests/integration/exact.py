"""What must hold to the last base unit whenever all is settled: reports, ledger, database and chain
say the same."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from eth_utils import to_checksum_address
from sqlalchemy import func, select

from backend.account.models import Account
from backend.audit.auditor import audit
from backend.batch.models import INACTIVE, Batch, BatchState
from backend.chain.distributor import Distributor
from backend.chain.events import BatchPosted, Claimed, Funded
from backend.chain.models import OutgoingTransaction
from backend.interaction.models import Interaction
from backend.invariant import check_with_chain
from backend.ledger import blocks as ledger_blocks
from backend.ledger import repository as ledger
from backend.ledger.models import LedgerAccount, LedgerAccountKind
from prover.circuit import load_instance
from prover.state import ProgramState
from tests.integration.world import World


@dataclass
class OnChain:
    """The program as its log alone tells it."""

    state: ProgramState
    earned: Counter[str]
    claimed: Counter[str]
    posted: list[BatchPosted]
    funded: int


def read_chain(world: World) -> OnChain:
    """Replay the log; each batch's root must be the one that its deltas give."""
    local = world.local
    distributor = Distributor(local.context.node, local.deployment.distributor)
    events = distributor.events(local.deployment.block, local.context.node.block_number())
    state, claimed, posted = ProgramState(load_instance(local.instance)), Counter(), []
    funded = sum(event.amount for event in events if isinstance(event, Funded))
    for event in events:
        if isinstance(event, BatchPosted):
            state.apply(event.bucket, event.sequence, event.deltas)
            assert state.bucket(event.bucket).root == event.new_root
            posted.append(event)
        elif isinstance(event, Claimed):
            claimed[event.account] += event.amount
    pairs = [pair for bucket in state.buckets.values() for pair in bucket.pairs]
    earned = Counter(
        {
            to_checksum_address(address.to_bytes(20, "big")): cumulative
            for address, cumulative in pairs
        }
    )
    assert len(pairs) == len(earned), "an account stands in two slots"
    return OnChain(state, earned, claimed, posted, funded)


def assert_exact(world: World) -> OnChain:
    """Every total and every account, three ways; each batch once on chain; no nonce of the poster
    wasted."""
    chain = read_chain(world)
    assert chain.earned == world.owed
    assert chain.funded == world.funded
    _assert_contract(world, chain)
    _assert_ledger(world, chain)
    _assert_rows(world, chain)
    _assert_transactions(world, chain)
    assert check_with_chain(world.local.context, world.local.program_id) == []
    return chain


def assert_audited(world: World) -> None:
    """The auditor, who has the chain alone, finds nothing and the same totals."""
    report = audit(world.local.context.node, world.local.deployment.distributor)
    assert report.findings == []
    assert report.totals["committed"] == world.owed.total()
    assert len(report.batches) == len(world.batches())


def _assert_contract(world: World, chain: OnChain) -> None:
    totals = Distributor(world.local.context.node, world.local.deployment.distributor).totals()
    assert totals.committed == world.owed.total() == sum(event.total for event in chain.posted)
    assert totals.claimed == chain.claimed.total()
    assert totals.reserve == chain.funded - totals.claimed


def _assert_ledger(world: World, chain: OnChain) -> None:
    with world.local.context.database.transaction() as session:
        program_id = world.local.program_id
        query = select(LedgerAccount).where(LedgerAccount.program_id == program_id)
        balance = {(row.kind, row.holder): row.balance for row in session.scalars(query)}
        assert ledger.unbalanced_accounts(session, program_id) == []
        assert ledger_blocks.verify(session, program_id) > 0 or not chain.posted
    expected = {
        (LedgerAccountKind.ACCOUNT, holder): chain.claimed[holder] - earned
        for holder, earned in world.owed.items()
    }
    expected[LedgerAccountKind.BUDGET, ""] = world.owed.total() - chain.funded
    expected[LedgerAccountKind.RESERVE, ""] = chain.funded - chain.claimed.total()
    assert balance == expected


def _assert_rows(world: World, chain: OnChain) -> None:
    """The database: every batch final and on chain, once and in order; every accepted interaction
    in one of them."""
    with world.local.context.database.transaction() as session:
        batches = {
            (batch.bucket, batch.sequence): batch
            for batch in session.scalars(select(Batch).where(Batch.state.not_in(INACTIVE)))
        }
        accounts = {account.address: account for account in session.scalars(select(Account))}
        accepted = Interaction.state == "accepted"
        items = dict(
            session.execute(
                select(Interaction.batch_id, func.count())
                .where(accepted)
                .group_by(Interaction.batch_id)
            ).all()
        )
        query = (
            select(Interaction.account, func.sum(Interaction.amount))
            .where(accepted)
            .group_by(Interaction.account)
        )
        sums = dict(session.execute(query).all())
    places = [(event.bucket, event.sequence) for event in chain.posted]
    assert len(places) == len(set(places))
    assert sorted(places) == sorted(batches)
    for event in chain.posted:
        batch = batches[event.bucket, event.sequence]
        assert batch.state == BatchState.FINAL
        assert (batch.tx_hash, batch.block_number) == (
            "0x" + event.tx_hash.hex(),
            event.block_number,
        )
        assert (batch.new_root, batch.deltas, batch.total) == (
            event.new_root,
            event.deltas,
            event.total,
        )
    assert items == {batch.id: batch.items for batch in batches.values()}
    assert sums == dict(world.owed)
    assert {address: account.posted for address, account in accounts.items()} == dict(chain.earned)
    assert {
        address: account.claimed for address, account in accounts.items() if account.claimed
    } == dict(chain.claimed)
    home = {
        int(account.address, 16): (account.bucket, account.slot) for account in accounts.values()
    }
    assert home == chain.state.home


def _assert_transactions(world: World, chain: OnChain) -> None:
    """Each nonce of the poster is one batch on chain, mined and not reverted."""
    w3, poster = world.local.context.node.w3, world.local.context.poster.address
    sent = poster_receipts(world)
    executed = [receipt for receipt in sent if receipt["status"] == 1]
    ours = {
        event.tx_hash
        for event in chain.posted
        if w3.eth.get_transaction(event.tx_hash)["from"] == poster
    }
    assert {bytes(receipt["transactionHash"]) for receipt in executed} == ours
    assert len(executed) == len(ours)
    assert len(sent) - len(executed) == world.strays
    assert w3.eth.get_transaction_count(poster) == len(sent) == len(ours) + world.strays
    with world.local.context.database.transaction() as session:
        rows = list(
            session.scalars(select(OutgoingTransaction).where(OutgoingTransaction.sender == poster))
        )
    assert sorted(row.nonce for row in rows) == list(range(len(sent)))
    assert Counter(str(row.state) for row in rows) == Counter({"final": len(executed)}) + Counter(
        {"failed": world.strays}
    )


def poster_receipts(world: World) -> list[Any]:
    """Receipts of every transaction that the poster's key has sent, by the chain's blocks."""
    w3, poster = world.local.context.node.w3, world.local.context.poster.address
    blocks = (
        w3.eth.get_block(n, full_transactions=True)
        for n in range(world.local.deployment.block, w3.eth.block_number + 1)
    )
    hashes = [
        found["hash"] for one in blocks for found in one["transactions"] if found["from"] == poster
    ]
    return [w3.eth.get_transaction_receipt(found) for found in hashes]
