"""What can be known before a command's first transaction, so that a mistake costs no gas.

Each function asks the node and sends nothing. All raise Unavailable if it does not answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.exceptions import DecodingError

from backend.chain import erc20
from backend.chain.artifacts import Artifact, artifact
from backend.chain.fees import FeePolicy
from backend.chain.logs import fetch_logs
from backend.chain.node import CallReverted, Node
from backend.errors import Invalid, NotYet

ETHER = 10**18
CREATION_GAS = 21_000 + 32_000
CODE_BYTE_GAS = 200
STORAGE_GAS = 22_100
DATA_BYTE_GAS = 16
"""Gas of a transaction that creates a contract, for each byte of its code, for a word of storage,
and for a byte of data (yellow paper, EIP-2028; zero bytes cost less)."""
DISTRIBUTOR_WORDS = 8
"""Words that a Distributor's constructor stores besides two for each attestor."""
DISTRIBUTOR_HASH_GAS = 15_000
"""Gas of one hash of the empty tree, which the constructor makes for each level."""
TOKEN_CALL_GAS = 150_000
"""Enough for a transfer or a mint of the tokens that are in use."""


@dataclass(frozen=True, slots=True)
class GasMoney:
    """What a key has and may need, in wei."""

    address: str
    balance: int
    needed: int
    max_fee: int

    def __str__(self) -> str:
        return (
            f"{self.address} holds {ether(self.balance)} and may need {ether(self.needed)} for gas "
            f"(at {self.max_fee} wei per gas)"
        )


def ether(wei: int) -> str:
    """An amount of the chain's own money, exact."""
    whole, fraction = divmod(wei, ETHER)
    return f"{whole}.{fraction:018d}".rstrip("0").rstrip(".") + " ether"


def gas_money(node: Node, address: str, gas: int, fees: FeePolicy) -> GasMoney:
    """What `address` has, and what `gas` may cost it.

    Raises NotYet if gas costs more than the fee cap.
    """
    max_fee = fees.quote(node).max_fee
    return GasMoney(address, node.balance(address), gas * max_fee, max_fee)


def require_gas_money(money: GasMoney, whose: str) -> None:
    """Raises NotYet, which says how much to send where, if a key cannot pay."""
    if money.balance < money.needed:
        missing = ether(money.needed - money.balance)
        raise NotYet(f"{whose} {money}: send it {missing} first")


def require_token(node: Node, token: str, holder: str) -> None:
    """Raises Invalid unless `token` has code and answers decimals, symbol and balanceOf."""
    if not node.code(token):
        raise Invalid(
            f"token: {token} has no code on chain {node.chain_id()}: is it the token's address on "
            "another chain?",
            field="token",
        )
    said = erc20.describe(node, token)
    for name, value in (("decimals()", said.decimals), ("symbol()", said.symbol)):
        if value is None:
            raise _no_token(token, name)
    try:
        erc20.balance_of(node, token, holder)
    except (CallReverted, DecodingError):
        raise _no_token(token, "balanceOf(address)") from None


def _no_token(token: str, name: str) -> Invalid:
    return Invalid(
        f"token: {token} does not answer {name} as an ERC-20 token does: is it the token itself?",
        field="token",
    )


def deployment_gas(
    node: Node, sender: str, *, test_token: bool, levels: int, attestors: int
) -> int:
    """About how much gas a program's contracts take, a quarter added for what a chain adds.

    A chain that counts in its own way is believed about the hasher, and the rest is scaled by it.
    """
    hasher = artifact("Poseidon2")
    gas = sum(_creation_gas(artifact(name)) for name in ("Groth16Verifier", "Distributor"))
    gas += _creation_gas(hasher) + levels * DISTRIBUTOR_HASH_GAS
    gas += (DISTRIBUTOR_WORDS + 2 * attestors) * STORAGE_GAS
    gas += _creation_gas(artifact("TestToken")) if test_token else 0
    plain = _creation_gas(hasher)
    told = node.estimate_gas(None, hasher.bytecode, sender=sender)
    return gas * max(told, plain) // plain * 5 // 4


def _creation_gas(contract: Artifact) -> int:
    return (
        CREATION_GAS
        + DATA_BYTE_GAS * len(contract.bytecode)
        + CODE_BYTE_GAS * len(contract.deployed_bytecode)
    )


def call_gas(node: Node, sender: str, to: str, calls: Sequence[bytes]) -> int:
    """Gas for calls of a token, one after the other. One that would fail now is counted too: the
    call before it may be what it waits for."""
    gas = 0
    for data in calls:
        try:
            gas += max(node.estimate_gas(to, data, sender=sender) * 5 // 4, TOKEN_CALL_GAS)
        except CallReverted:
            gas += TOKEN_CALL_GAS
    return gas


def require_first_block(node: Node, distributor: str, first_block: int, created: bytes) -> None:
    """Raises Invalid unless the log of `distributor` from `first_block` on holds the event that its
    constructor writes, whose topic is `created`, with epoch 1."""
    head = node.block_number()
    topics = [created, (1).to_bytes(32, "big")]
    if first_block > head or not fetch_logs(node, distributor, topics, first_block, head):
        raise Invalid(
            f"first_block: expected a block at or before the deployment of {distributor}, got "
            f"{first_block}: the chain's log from there to block {head} does not hold the event "
            "that the Distributor writes at its deployment",
            field="first_block",
        )
