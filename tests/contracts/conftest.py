"""Fixtures of `ape test`: contracts on a real Anvil, the real dev-size verifier, real proofs. State
set up once is shared; each test's own changes are taken back (ape's isolation)."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from prover.circuit import compile_instance
from prover.groth16 import Prover, dev_key
from prover.keys import KeyFolder
from scripts.compile import ARTIFACTS
from scripts.compile import main as compile_contracts
from scripts.deploy import container
from tests.contracts.program import ATTESTORS, DEV, Program, ProofCache

compile_contracts()

FUNDING = 10**28


@pytest.fixture(scope="session")
def dev_folder() -> KeyFolder:
    return dev_key(DEV)


@pytest.fixture(scope="session")
def proofs(dev_folder: KeyFolder) -> Iterator[ProofCache]:
    prover = Prover(compile_instance(DEV), dev_folder)
    yield ProofCache(prover)
    prover.close()


@pytest.fixture(scope="session")
def project() -> SimpleNamespace:
    """Every compiled contract by name, as its artifact has it now."""
    return SimpleNamespace(**{path.stem: container(path.stem) for path in ARTIFACTS.glob("*.json")})


@pytest.fixture(scope="session")
def deployer(accounts: Any) -> Any:
    return accounts[0]


@pytest.fixture(scope="session")
def owner(accounts: Any) -> Any:
    return accounts[1]


@pytest.fixture(scope="session")
def guardian(accounts: Any) -> Any:
    return accounts[2]


@pytest.fixture(scope="session")
def stranger(accounts: Any) -> Any:
    return accounts[3]


@pytest.fixture(scope="session")
def hasher(project: Any, deployer: Any) -> Any:
    return deployer.deploy(project.Poseidon2)


@pytest.fixture(scope="session")
def verifier(project: Any, deployer: Any, dev_folder: KeyFolder) -> Any:
    return deployer.deploy(project.Groth16Verifier, dev_folder.verifying_key.to_words())


@pytest.fixture(scope="session")
def config(hasher: Any, verifier: Any, owner: Any, guardian: Any) -> dict[str, Any]:
    """What a Distributor is deployed with, but for the token."""
    return {
        "verifier": verifier,
        "hasher": hasher,
        "levels": DEV.levels,
        "families": 1,
        "owner": owner,
        "guardian": guardian,
        "attestors": [attestor.address for attestor in ATTESTORS],
        "threshold": 2,
        "dailyLimit": 0,
    }


@pytest.fixture(scope="session")
def token(project: Any, deployer: Any) -> Any:
    return deployer.deploy(project.TestToken, "Test", "TST")


@pytest.fixture(scope="session")
def hostile_token(project: Any, deployer: Any) -> Any:
    return deployer.deploy(project.HostileToken)


def _deploy(
    project: Any, deployer: Any, config: dict[str, Any], token: Any, proofs: ProofCache, chain: Any
) -> Program:
    distributor = deployer.deploy(project.Distributor, config | {"token": token})
    token.mint(distributor, FUNDING, sender=deployer)
    return Program(chain.chain_id, distributor, proofs, deployer)


@pytest.fixture(scope="session")
def shared_program(
    project: Any, deployer: Any, config: dict[str, Any], token: Any, proofs: ProofCache, chain: Any
) -> Program:
    """A funded program; bucket 0 holds three accounts (1,000, 2,000 and 3,000 units) after two
    batches."""
    program = _deploy(project, deployer, config, token, proofs, chain)
    program.post([(ACCOUNTS[0], 1_000), (ACCOUNTS[1], 500)])
    program.post([(ACCOUNTS[1], 1_500), (ACCOUNTS[2], 3_000)])
    return program


@pytest.fixture(scope="session")
def shared_hostile_program(
    project: Any,
    deployer: Any,
    config: dict[str, Any],
    hostile_token: Any,
    proofs: ProofCache,
    chain: Any,
) -> Program:
    """The same first state, paid in a token that can misbehave."""
    program = _deploy(project, deployer, config, hostile_token, proofs, chain)
    program.post([(account, 1_000 * (i + 1)) for i, account in enumerate(ACCOUNTS[:3])])
    return program


@pytest.fixture
def program(shared_program: Program) -> Program:
    return replace(shared_program, buckets=shared_program.copy_state())


@pytest.fixture
def hostile_program(shared_hostile_program: Program) -> Program:
    return replace(shared_hostile_program, buckets=shared_hostile_program.copy_state())


@pytest.fixture
def distributor(program: Program) -> Any:
    return program.distributor


ACCOUNTS = [int.from_bytes(bytes([0xA0 + i]) * 20, "big") for i in range(40)]
"""Addresses that earn."""
