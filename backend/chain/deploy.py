"""Deploys a program's contracts, each transaction confirmed, and checks that what stands on chain
is what was meant."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.chain.abi import ContractAbi
from backend.chain.artifacts import artifact
from backend.chain.code import match_distributor, match_hasher, match_verifier
from backend.chain.distributor import Distributor
from backend.chain.fees import FeePolicy
from backend.chain.node import CallReverted, Node, Receipt
from backend.chain.preflight import require_token
from backend.chain.reverts import explain_revert
from backend.errors import Conflict, GuerdonError, Invalid, Unavailable
from backend.kit.address import checked_address
from backend.signer.base import Signer
from prover.circuit import Instance
from prover.eip712 import DOMAIN_VERSION
from prover.keys import LOCAL_CHAIN_IDS, KeyFolder, SetupError, VerifyingKey

NO_ADDRESS = "0x" + "00" * 20
DEFAULT_FEES = FeePolicy(max_fee_cap=200 * 10**9)
ATTESTORS_MAX = 64
"""As many as the contract takes."""
CONFIRMATION_SECONDS = 300
TEST_TOKEN_SYMBOL, TEST_TOKEN_DECIMALS = "TRW", 18
POLL_SECONDS = 0.1
"""How long to wait before a receipt is asked for again."""


class DeploymentError(GuerdonError):
    """A contract could not be deployed; the message holds the chain's reason."""

    code = "deployment"


class DeploymentMismatch(Conflict):
    """What stands on chain is not what it should be; the message lists the differences."""

    code = "deployment_mismatch"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Addresses of a deployed program, and the block of its Distributor."""

    token: str
    hasher: str
    verifier: str
    distributor: str
    block: int


class Deployer:
    """Sends one signer's transactions and waits for each.

    Only for a key that no database sends from: OutboxDeployer is for those.
    """

    def __init__(self, node: Node, signer: Signer, fees: FeePolicy = DEFAULT_FEES) -> None:
        self.node, self.signer, self.fees = node, signer, fees

    def create(self, name: str, *arguments: Any) -> tuple[str, int]:
        """Deploy a compiled contract; (address, block).

        Raises DeploymentError if the chain refuses it, Unavailable if it does not answer.
        """
        compiled = artifact(name)
        data = compiled.bytecode + ContractAbi(compiled.abi).constructor_data(arguments)
        receipt = self.send(f"deploy {name}", None, data)
        if receipt.created is None:
            raise DeploymentError(f"deploy {name}: the receipt names no contract")
        return receipt.created, receipt.block_number

    def send(self, what: str, to: str | None, data: bytes) -> Receipt:
        """Sign, broadcast and confirm a call (`to` None creates a contract); its receipt.

        Raises DeploymentError, Unavailable.
        """
        bid = self.fees.quote(self.node)
        try:
            gas = self.node.estimate_gas(to, data, sender=self.signer.address)
        except CallReverted as error:
            reason = explain_revert(error.data) if error.data else error.said
            raise DeploymentError(
                f"{what}: refused by the chain for {self.signer.address}: {reason}"
            ) from error
        transaction = {
            **bid.fields(),
            "chainId": self.node.chain_id(),
            "value": 0,
            "data": data,
            "nonce": self.node.transaction_count(self.signer.address, "pending"),
            "gas": gas * 6 // 5,
        }
        signed = self.signer.sign_transaction(
            transaction if to is None else {**transaction, "to": to}
        )
        self.node.send_raw(signed.raw)
        receipt = self._confirmed(what, signed.hash)
        if receipt.status != 1:
            raise DeploymentError(f"{what}: transaction 0x{signed.hash.hex()} was reverted")
        return receipt

    def _confirmed(self, what: str, tx_hash: bytes) -> Receipt:
        deadline = time.monotonic() + CONFIRMATION_SECONDS
        while (receipt := self.node.receipt(tx_hash)) is None:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{what}: transaction 0x{tx_hash.hex()} is not in a block after "
                    f"{CONFIRMATION_SECONDS} s"
                )
            time.sleep(POLL_SECONDS)
        return receipt


@dataclass(frozen=True, slots=True)
class Parties:
    """Whom a Distributor is told of, checked, each address in EIP-55 form.

    `token` None: a test token is to be made.
    """

    attestors: list[str]
    owner: str
    guardian: str
    token: str | None


def checked_parties(
    node: Node,
    attestors: Sequence[str],
    threshold: int,
    *,
    owner: str,
    guardian: str = NO_ADDRESS,
    token: str | None = None,
) -> Parties:
    """The parties of a new program.

    Raises:
        Invalid: a malformed address, attestors or threshold that the contract refuses, a token that
        is none, or no token for a chain that is not local.
        Unavailable: the node does not answer.
    """
    ordered = _checked_attestors(attestors, threshold)
    owner, guardian = checked_address(owner, "owner"), checked_address(guardian, "guardian")
    if owner == NO_ADDRESS:
        raise Invalid("owner: expected an address above 0", field="owner")
    if token is not None:
        token = checked_address(token, "token")
        require_token(node, token, owner)
    elif node.chain_id() not in LOCAL_CHAIN_IDS:
        raise Invalid(
            "token: expected the reward token's address; a test token is for local chains only",
            field="token",
        )
    return Parties(ordered, owner, guardian, token)


def deploy_program(
    deployer: Deployer,
    key: KeyFolder,
    instance: Instance,
    attestors: Sequence[str],
    threshold: int,
    *,
    owner: str | None = None,
    guardian: str = NO_ADDRESS,
    families: int = 1,
    daily_limit: int = 0,
    token: str | None = None,
    test_token_decimals: int = TEST_TOKEN_DECIMALS,
    allow_single_party_key: bool = False,
) -> Deployment:
    """Deploy hasher, verifier and Distributor, and a mintable test token if no `token` is given.
    `owner` is the deployer's signer by default.

    `daily_limit` is what batches may commit in a day, in base units, 0 for no limit.
    `allow_single_party_key` takes a key with which one party can forge every proof also to a chain
    that is not local.

    Everything that can be known beforehand is checked before the first transaction.

    Raises:
        SetupError: the key is of another circuit, its gamma equals delta, or it is a development
        key and the chain is not local.
        Invalid: as `checked_parties`.
        DeploymentError: the chain refused a contract.
        Unavailable: the node does not answer.
    """
    node = deployer.node
    chain_id = node.chain_id()
    key.require_allowed_on(chain_id, allow_single_party_key)
    if key.manifest.circuit_digest != instance.digest:
        raise SetupError(
            f"key {key.path}: made for another circuit than this checkout's instance "
            f"{instance.name}"
        )
    verifying_key = key.verifying_key  # Refuses gamma = delta.
    parties = checked_parties(
        node,
        attestors,
        threshold,
        owner=owner or deployer.signer.address,
        guardian=guardian,
        token=token,
    )
    token = parties.token
    if token is None:
        token = _create_test_token(deployer, test_token_decimals)
    hasher, _ = deployer.create("Poseidon2")
    verifier, _ = deployer.create("Groth16Verifier", verifying_key.to_words())
    config = (
        token,
        verifier,
        hasher,
        instance.levels,
        families,
        parties.owner,
        parties.guardian,
        parties.attestors,
        threshold,
        daily_limit,
    )
    distributor, block = deployer.create("Distributor", config)
    check_deployment(node, distributor, verifying_key)
    return Deployment(token, hasher, verifier, distributor, block)


def _create_test_token(deployer: Deployer, decimals: int) -> str:
    facts = ("Test Reward", TEST_TOKEN_SYMBOL)
    if decimals == TEST_TOKEN_DECIMALS:
        return deployer.create("TestToken", *facts)[0]
    return deployer.create("TestTokenDecimals", *facts, decimals)[0]


def _checked_attestors(attestors: Sequence[str], threshold: int) -> list[str]:
    """Checksummed, in the ascending order that the contract asks for. Raises Invalid."""
    ordered = sorted(
        {checked_address(attestor, "attestor") for attestor in attestors},
        key=lambda attestor: int(attestor, 16),
    )
    if len(ordered) != len(attestors):
        raise Invalid("attestor: one address is given twice", field="attestor")
    if NO_ADDRESS in ordered:
        raise Invalid(f"attestor: expected an address above 0, got {NO_ADDRESS}", field="attestor")
    if len(ordered) > ATTESTORS_MAX:
        raise Invalid(
            f"attestor: expected at most {ATTESTORS_MAX}, got {len(ordered)}", field="attestor"
        )
    if not 1 <= threshold <= len(ordered):
        raise Invalid(
            f"threshold: expected 1 to {len(ordered)}, the number of attestors, got {threshold}",
            field="threshold",
        )
    return ordered


def deployed_key(node: Node, verifier: str) -> VerifyingKey:
    """The verifying key of a deployed verifier, read from its code.

    Raises:
        DeploymentMismatch: the code is not our verifier's.
        SetupError: its gamma equals delta.
        Unavailable: the node does not answer.
    """
    words, differences = match_verifier(node.code(verifier), DOMAIN_VERSION)
    if differences:
        raise DeploymentMismatch(f"verifier {verifier}: {'; '.join(differences)}")
    return VerifyingKey.from_words(words)


def check_deployment(node: Node, distributor: str, verifying_key: VerifyingKey) -> None:
    """Compare a program's contracts with the compiled ones, byte for byte outside immutables, and
    its verifier's key with `verifying_key`.

    Raises:
        DeploymentMismatch: they differ.
        NotADistributor: the contract does not answer as a Distributor does.
        Unavailable: the node does not answer.
    """
    info = Distributor(node, distributor).info()
    verifier, hasher, own = (node.code(at) for at in (info.verifier, info.hasher, distributor))
    if info.version != DOMAIN_VERSION:
        raise DeploymentMismatch(
            f"the Distributor is of edition {info.version}, and programs are of edition "
            f"{DOMAIN_VERSION}: deploy a new one, docs/OPERATIONS.md says how to move"
        )
    words, differences = match_verifier(verifier, info.version)
    if words and words != verifying_key.to_words():
        differences += ("Groth16Verifier: another verifying key than the one expected",)
    differences += match_hasher(hasher, info.version) + match_distributor(own, info, distributor)
    if differences:
        raise DeploymentMismatch("; ".join(differences))
