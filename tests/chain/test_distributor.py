"""The typed view of one Distributor on a real chain."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from eth_utils import keccak

from backend.chain import calldata
from backend.chain.artifacts import ArtifactError, artifact
from backend.chain.distributor import Distributor, NotADistributor
from backend.chain.events import (
    AttestorsChanged,
    BatchPosted,
    Claimed,
    FamiliesChanged,
    Funded,
    PayoutSkipped,
)
from backend.errors import NotFound
from tests.support.anvil import Anvil
from tests.support.program import Program, account, real_program

ANN, BOB = account("ann").address, account("bob").address


@pytest.fixture(scope="module")
def program(chain: Anvil) -> Iterator[Program]:
    """One batch, both accounts claimed, one of them pushed again."""
    program = real_program(chain)
    program.fund(1000)
    program.post(0, [(ANN, 70), (BOB, 5), (ANN, 1)])
    program.claim(ANN)
    program.claim_many(0, [0, 1])
    return program


def test_missing_artifacts_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Without compiled contracts the error says how to make them."""
    monkeypatch.setenv("GUERDON_ARTIFACTS", str(tmp_path))
    with pytest.raises(ArtifactError, match="make contracts"):
        artifact("Distributor")


def test_another_contract_is_no_distributor(program: Program) -> None:
    """A token's address gives a clear error, not garbage."""
    with pytest.raises(NotADistributor, match=r"verifier\(\)|token\(\)"):
        Distributor(program.chain.node, program.deployment.token).info()


def test_calldata_matches_the_compiled_contract() -> None:
    """The selectors that calldata is written with are those of the contract."""
    abi = {
        entry["name"]: entry for entry in artifact("Distributor").abi if entry["type"] == "function"
    }

    def written(item: dict) -> str:
        if not item["type"].startswith("tuple"):
            return item["type"]
        parts = ",".join(written(part) for part in item["components"])
        return f"({parts}){item['type'].removeprefix('tuple')}"

    for name, selector in (
        ("postBatch", calldata.POST_BATCH),
        ("claim", calldata.CLAIM),
        ("claimMany", calldata.CLAIM_MANY),
        ("claimTo", calldata.CLAIM_TO),
    ):
        assert (
            keccak(text=f"{name}({','.join(written(item) for item in abi[name]['inputs'])})")[:4]
            == selector
        )


def test_events_in_chain_order(program: Program) -> None:
    """Everything that happened comes back typed, once, in chain order, with where it stands."""
    events = program.distributor.events(program.deployment.block, program.chain.w3.eth.block_number)
    assert [type(event) for event in events] == [
        FamiliesChanged,
        AttestorsChanged,
        Funded,
        BatchPosted,
        Claimed,
        PayoutSkipped,
        Claimed,
    ]
    families, changed, funded, posted, claimed, skipped, last = events
    assert families.families == 1
    assert (changed.threshold, changed.epoch, list(changed.attestors)) == (
        2,
        1,
        [key.address for key in program.attestor_keys],
    )
    assert funded.amount == 1000
    assert (posted.bucket, posted.sequence, posted.total, posted.new_root) == (
        0,
        1,
        76,
        program.state.bucket(0).root,
    )
    assert (claimed.account, claimed.recipient, claimed.slot, claimed.amount) == (ANN, ANN, 0, 71)
    assert (skipped.account, skipped.reason) == (ANN, 0)
    assert (last.account, last.amount) == (BOB, 5)
    assert all(
        bytes(program.chain.w3.eth.get_block(event.block_number)["hash"]) == event.block_hash
        for event in events
    )
    assert [(event.block_number, event.log_index) for event in events] == sorted(
        (e.block_number, e.log_index) for e in events
    )


def test_posted_calldata_is_read_back(program: Program) -> None:
    """The call behind a BatchPosted log decodes to what was logged."""
    [posted] = [
        e
        for e in program.distributor.events(0, program.chain.w3.eth.block_number)
        if isinstance(e, BatchPosted)
    ]
    call = Distributor.decode_post_batch(
        bytes(program.chain.w3.eth.get_transaction(posted.tx_hash)["input"])
    )
    assert (call.batch.new_root, call.deltas, len(call.attestations)) == (
        posted.new_root,
        posted.deltas,
        2,
    )


def test_views(program: Program) -> None:
    """Bucket, roots, claims and totals, now and at an earlier block."""
    distributor = program.distributor
    assert distributor.bucket(0) == (1, 2)
    assert distributor.root(0, 1) == program.state.bucket(0).root
    assert (distributor.claimed(0, 0), distributor.claimed(0, 1)) == (71, 5)
    totals = distributor.totals()
    assert (totals.committed, totals.claimed, totals.reserve) == (76, 76, 924)
    assert distributor.totals(program.deployment.block).committed == 0
    with pytest.raises(NotFound, match="sequence 2 is not posted"):
        distributor.root(0, 2)


@pytest.mark.parametrize("answer", [b"", b"\x01", b"\xff" * 31])
def test_a_root_that_is_no_number(program: Program, answer: bytes) -> None:
    """A node that answers nonsense for a root gives an error of ours, as for every other view."""

    class Node:
        def call(self, *_: object) -> bytes:
            return answer

    with pytest.raises(NotADistributor, match="root"):
        Distributor(cast(Any, Node()), program.address).root(0, 1)
