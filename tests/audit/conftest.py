"""Chains for the auditor: an honest one with all that can happen on it, and a node that lies about
it."""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import pytest
from web3 import Web3

from backend.audit import proofs
from backend.audit.auditor import audit
from backend.audit.report import AuditReport
from backend.chain.artifacts import artifact
from backend.chain.calldata import Attestation
from backend.chain.deploy import Deployer
from backend.chain.distributor import Distributor
from backend.chain.web3_node import Web3Node
from backend.signer.keystore import KeystoreSigner
from prover.eip712 import claim_to_digest
from prover.pairing import verify
from tests.support.anvil import Anvil, anvil
from tests.support.program import FAR, Program, account, real_program

Tamper = Callable[[str, list, Any], Any]
"""(method, parameters, result) -> the result that the node says instead."""


class LyingProvider(Web3.HTTPProvider):
    """A node that answers truthfully but for what `tamper` makes of a result."""

    def __init__(self, url: str, tamper: Tamper) -> None:
        super().__init__(url)
        self.tamper = tamper

    def make_request(self, method: Any, params: Any) -> Any:
        answer = super().make_request(method, params)
        if "result" in answer:
            answer["result"] = self.tamper(method, params, json.loads(json.dumps(answer["result"])))
        return answer


@pytest.fixture(scope="session")
def chain() -> Iterator[Anvil]:
    with anvil() as running:
        yield running


@pytest.fixture(scope="session")
def honest() -> Iterator[Program]:
    """Two buckets, four batches, every kind of claim, a wrapped post, an EIP-1271 attestor, a
    change of attestors and a withdrawal."""
    with anvil() as chain:
        yield _live(chain)


def _live(chain: Anvil) -> Program:
    holder = chain.key(1)
    wallet, _ = Deployer(chain.node, KeystoreSigner(chain.key(0))).create(
        "Wallet1271", holder.address
    )
    program = real_program(chain, more_attestors=[wallet])
    program.fund(100_000)
    people = [account(f"person {i}") for i in range(34)]
    program.post(0, [(person.address, 10 + i) for i, person in enumerate(people[:32])])
    _post_by_wallet(program, wallet, [(people[32].address, 500), (people[33].address, 700)])
    program.claim(people[0].address)
    program.claim_many(0, [1, 2, 5])
    _claim_to(program, people[3], 3)
    program.post(0, [(people[0].address, 1000), (people[7].address, 3), (people[0].address, 1)])
    program.claim(people[0].address)
    _change_attestors(program)
    program.post(1, [(people[33].address, 70), (account("late").address, 9)])
    return program


def _post_by_wallet(program: Program, wallet: str, items: list[tuple[str, int]]) -> None:
    holder = program.chain.key(1)
    posting = program.plan(1, items)
    signature = bytes(holder.unsafe_sign_hash(posting.digest).signature)
    posting.attestations = [posting.attestations[0], Attestation(wallet, signature)]
    contract = program.chain.w3.eth.contract(wallet, abi=artifact("Wallet1271").abi)
    program.send(
        contract.encode_abi("execute", [program.address, program.calldata(posting)]),
        sender=1,
        to=wallet,
    )
    program.book(posting)


def _claim_to(program: Program, person: Any, slot: int) -> None:
    state, recipient = program.state.bucket(0), account("recipient").address
    cumulative = state.pairs[slot][1]
    permission = bytes(
        person.unsafe_sign_hash(
            claim_to_digest(program.domain, 0, slot, cumulative, recipient, FAR)
        ).signature
    )
    siblings = state.tree.siblings(slot)
    program.send(
        Distributor.claim_to(
            0,
            slot,
            state.sequence,
            person.address,
            cumulative,
            siblings,
            recipient,
            FAR,
            permission,
        ),
        sender=2,
    )


def _change_attestors(program: Program) -> None:
    contract = program.chain.w3.eth.contract(program.address, abi=artifact("Distributor").abi)
    keys = [program.attestor_keys[0], account("new attestor")]
    addresses = sorted((key.address for key in keys), key=lambda address: int(address, 16))
    program.send(contract.encode_abi("announceAttestors", [addresses, 1]))
    program.send(contract.encode_abi("announceWithdrawal", [account("treasury").address, 40_000]))
    program.chain.rpc("evm_increaseTime", 7 * 24 * 3600 + 1)
    program.chain.rpc("evm_mine")
    program.send(contract.encode_abi("executeAttestors", []))
    program.send(contract.encode_abi("executeWithdrawal", []))
    program.attestor_keys, program.epoch = keys, 2


@lru_cache(maxsize=256)
def _remembered(key: Any, proof: Any, signals: tuple[int, ...]) -> bool:
    return verify(key, proof, signals)


@pytest.fixture
def remembered_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts on proofs, which are true ones, are remembered from audit to audit: each takes a
    second."""

    def holds(key: Any, proof: Any, signals: Any) -> bool:
        return _remembered(key, proof, tuple(signals))

    monkeypatch.setattr(proofs.pairing, "verify", holds)
    monkeypatch.setattr(
        proofs.pairing, "verify_all", lambda key, claims: all(holds(key, *one) for one in claims)
    )
    monkeypatch.setattr(proofs, "POOL_FROM_GROUPS", 1000)


@pytest.fixture
def audit_lying(honest: Program, remembered_proofs: None) -> Callable[[Tamper], AuditReport]:
    """Audit the honest program through a lying node."""
    return lambda tamper: audit(
        Web3Node(Web3(LyingProvider(honest.chain.url, tamper))), honest.address
    )
