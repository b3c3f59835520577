"""A Distributor of the first edition (EIP-712 version "1"): audited and claimed from as before."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi import decode, encode
from web3 import Web3
from web3.exceptions import Web3Exception

from backend.audit.auditor import audit
from backend.chain.artifacts import artifact, first_edition
from backend.chain.calldata import Attestation
from backend.chain.code import FIRST, FIRST_CONFIG
from backend.chain.deploy import Deployer, Deployment, DeploymentMismatch, check_deployment
from backend.chain.distributor import Distributor
from backend.chain.web3_node import Web3Node
from backend.signer.keystore import KeystoreSigner
from prover.eip712 import Domain, claim_to_digest
from prover.groth16 import dev_key
from tests.audit.conftest import LyingProvider
from tests.support.anvil import Anvil, anvil
from tests.support.program import DEV, FAR, Posting, Program, account, attestor_keys, dev_prover

pytestmark = pytest.mark.usefixtures("remembered_proofs")

PEOPLE = [account(f"first {i}") for i in range(3)]


@dataclass
class FirstEdition(Program):
    """A program whose attestors sign in the first edition's domain."""

    @property
    def domain(self) -> Domain:
        return Domain(self.chain.w3.eth.chain_id, self.address, FIRST)


def create(chain: Anvil, name: str, types: list[str], values: list[Any]) -> tuple[str, int]:
    """(address, block) of a contract of the first edition."""
    data = first_edition()[name].bytecode + encode(types, values)
    sent = chain.w3.eth.send_transaction({"from": chain.key(0).address, "data": data})
    receipt = chain.mined(sent)
    assert receipt["status"] == 1
    return receipt["contractAddress"], receipt["blockNumber"]


@pytest.fixture(scope="module")
def program() -> Iterator[FirstEdition]:
    """Two batches, the second signed by the delegate of an attestor's address (EIP-7702), a claim,
    and one to another recipient by a permission."""
    with anvil() as chain:
        keys, owner = attestor_keys(), chain.key(0).address
        token, _ = Deployer(chain.node, KeystoreSigner(chain.key(0))).create(
            "TestToken", "Test Reward", "TRW"
        )
        hasher, _ = create(chain, "Poseidon2", [], [])
        words = dev_key(DEV).verifying_key.to_words()
        verifier, _ = create(chain, "Groth16Verifier", [f"uint256[{len(words)}]"], [words])
        attestors = [key.address for key in keys]
        config = (token, verifier, hasher, DEV.levels, 1, owner, owner, attestors, 2)
        address, block = create(chain, "Distributor", [FIRST_CONFIG], [config])
        made = FirstEdition(
            chain, Deployment(token, hasher, verifier, address, block), keys, dev_prover()
        )
        made.fund(1_000)
        assert made.post(0, [(one.address, 10 + i) for i, one in enumerate(PEOPLE)])["status"] == 1
        assert made.post(0, [(PEOPLE[0].address, 7)], delegate_signs(made))["status"] == 1
        assert made.claim(PEOPLE[0].address)["status"] == 1
        assert claim_to(made, 1, made.domain)["status"] == 1
        yield made


def delegate_signs(program: Program) -> Callable[[Posting], Posting]:
    """The first edition asked any attestor with code: its delegate decides, not its key."""
    chain, attestor, holder = program.chain, program.attestor_keys[1].address, account("holder")
    deployer = Deployer(chain.node, KeystoreSigner(chain.key(0)))
    wallet, _ = deployer.create("Wallet1271", holder.address)
    chain.rpc("anvil_setCode", attestor, "0xef0100" + wallet[2:])

    def sign(posting: Posting) -> Posting:
        by_delegate = Attestation(attestor, program.sign(posting.digest, [holder])[0].signature)
        posting.attestations = [posting.attestations[0], by_delegate]
        return posting

    return sign


def claim_to(program: Program, slot: int, domain: Domain) -> Any:
    """The receipt of a claim to another recipient, with a permission in that domain."""
    state, recipient = program.state.bucket(0), account("recipient").address
    cumulative, siblings = state.pairs[slot][1], state.tree.siblings(slot)
    digest = claim_to_digest(domain, 0, slot, cumulative, recipient, FAR)
    permission = bytes(PEOPLE[slot].unsafe_sign_hash(digest).signature)
    place = (0, slot, state.sequence, PEOPLE[slot].address, cumulative, siblings)
    return program.send(Distributor.claim_to(*place, recipient, FAR, permission), sender=2)


def findings(program: Program, tamper: Any = lambda method, params, result: result) -> list[str]:
    node = Web3Node(Web3(LyingProvider(program.chain.url, tamper)))
    report = audit(node, program.address, program.deployment.block)
    assert (report.totals["committed"], report.totals["claimed"]) == (40, 28)
    return [finding.code for finding in report.findings]


def test_the_audit_knows_its_code_its_creation_and_its_signatures(program: FirstEdition) -> None:
    """Nothing is found; the edition is as the contract says."""
    assert program.distributor.info().version == FIRST
    assert findings(program) == []


def test_an_edition_that_is_not_the_codes_is_found(program: FirstEdition) -> None:
    """Whoever claims the other edition has the wrong code, and signatures in the wrong domain."""
    selector = "0x84b0196e"  # eip712Domain()

    def lie(method: str, params: list, result: Any) -> Any:
        if method != "eth_call" or params[0].get("data") != selector:
            return result
        types = ["bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"]
        values = list(decode(types, bytes.fromhex(result[2:])))
        assert values[2] == FIRST
        values[2] = "2"
        return "0x" + encode(types, values).hex()

    found = set(findings(program, lie))
    assert {"distributor_code_foreign", "creation_foreign", "attestation_bad"} <= found
    assert "recipient_foreign" in found


def test_each_edition_refuses_the_other_s_signatures(program: FirstEdition) -> None:
    """The domains differ, so nothing signed for one program is worth anything in the other."""
    second = Domain(program.domain.chain_id, program.address)

    def signed_for_the_second(posting: Posting) -> Posting:
        digest = program.envelope(posting.batch, posting.deltas).digest(second)
        posting.attestations = program.sign(digest)
        return posting

    state = json.dumps(program.state.bucket(0).pairs)
    posting = signed_for_the_second(program.plan(0, [(PEOPLE[2].address, 1)]))
    with pytest.raises(Web3Exception):
        program.send(program.calldata(posting))
    with pytest.raises(Web3Exception):
        claim_to(program, 2, second)
    assert json.dumps(program.state.bucket(0).pairs) == state


def test_no_new_program_is_made_of_it(program: FirstEdition) -> None:
    """It is refused by its edition, before its code is compared."""
    with pytest.raises(DeploymentMismatch, match="of edition 1, and programs are of edition 2"):
        check_deployment(program.chain.node, program.address, dev_key(DEV).verifying_key)


def test_both_editions_are_kept_apart() -> None:
    """The kept code is not what is compiled today."""
    for name, kept in first_edition().items():
        assert kept.deployed_bytecode != artifact(name).deployed_bytecode
        assert kept.deployed_bytecode in kept.bytecode


def test_it_ends_by_its_own_address_as_its_set(program: FirstEdition) -> None:
    """As the second edition is: what was signed before is dead, and nothing is signed in its name.
    The audit and the claims go on."""
    chain, posting = program.chain, program.plan(0, [(PEOPLE[2].address, 1)])
    contract = chain.w3.eth.contract(program.address, abi=artifact("Distributor").abi)
    program.send(contract.encode_abi("announceAttestors", [[program.address], 1]))
    chain.rpc("evm_increaseTime", 7 * 24 * 3600 + 1)
    chain.rpc("evm_mine")
    program.send(contract.encode_abi("executeAttestors", []))
    assert program.distributor.attestors()[0] == (program.address,)
    program.epoch = 2
    own = program.plan(0, [(PEOPLE[2].address, 1)])
    own.attestations = [Attestation(program.address, own.attestations[0].signature)]
    for dead in (posting, own):
        with pytest.raises(Web3Exception):
            program.send(program.calldata(dead))
    assert program.claim(PEOPLE[2].address)["status"] == 1
    report = audit(chain.node, program.address, program.deployment.block)
    assert (report.totals["claimed"], report.findings) == (40, [])
