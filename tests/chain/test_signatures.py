"""Whose signature counts: Signatures.sol and the backend are asked the same, over real delegations
(EIP-7702) and code that means no good, and must answer alike."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from eth_abi import decode, encode
from eth_account.signers.local import LocalAccount
from eth_utils import keccak, to_checksum_address

from backend.audit.attestations import signed
from backend.chain.abi import ContractAbi
from backend.chain.artifacts import artifact
from backend.chain.calldata import Attestation
from backend.chain.deploy import Deployer
from backend.chain.node import CallReverted
from backend.chain.reverts import explain_revert
from backend.chain.signatures import (
    CHECK_GAS,
    CONTRACT_SIGNATURE_BYTES_MAX,
    EIP1271_MAGIC,
    HALF_ORDER,
    StateMissing,
    is_accounts,
    is_attestors,
    is_delegated,
)
from backend.signer.keystore import KeystoreSigner
from tests.support.anvil import Anvil, anvil
from tests.support.program import account

DIGEST = b"\x11" * 27 + b"\0" + b"\x11" * 4
"""A zero where the last byte of a short answer would be: what is left in memory must not complete
it."""
SUFFIX = bytes.fromhex("6492" * 16)
MAGIC = EIP1271_MAGIC.ljust(32, b"\0")
HOLDER, OWN = account("holder"), account("own")
MAGIC_CODE = "631626ba7e60e01b"
"""Instructions that leave the accepting answer on the stack."""
ACCEPT = MAGIC_CODE + "5f5260205ff3"
BIG = "62060000"
"""Pushes 393,216: so many bytes of memory cost two thirds of the gas of a check."""
STORED = "5f545f5260205ff3"
"""Code that answers with its storage's word 0."""


def sign(key: LocalAccount, digest: bytes = DIGEST) -> bytes:
    return bytes(key.unsafe_sign_hash(digest).signature)


def limited(least: int) -> str:
    """Code that accepts if more than `least` gas is left after its first instruction."""
    return "5a62" + f"{least:06x}" + "10" + MAGIC_CODE + "025f5260205ff3"


@dataclass
class Bench:
    """A chain with the library behind a contract."""

    chain: Anvil
    harness: str
    numbers: Iterator[int] = field(default_factory=count)

    def deploy(self, code: str) -> str:
        """A contract with that runtime code."""
        address = account(f"contract {next(self.numbers)}").address
        self.chain.rpc("anvil_setCode", address, "0x" + code)
        return address

    def delegated(self, target: str) -> LocalAccount:
        """A new account that has delegated its code as a wallet does it: by an authorization in a
        type 4 transaction."""
        key, sponsor = account(f"delegated {next(self.numbers)}"), self.chain.key(0)
        w3 = self.chain.w3
        sent = sponsor.sign_transaction(
            {
                "type": 4,
                "chainId": w3.eth.chain_id,
                "nonce": w3.eth.get_transaction_count(sponsor.address),
                "to": sponsor.address,
                "value": 0,
                "data": b"",
                "gas": 200_000,
                "maxFeePerGas": 10**10,
                "maxPriorityFeePerGas": 0,
                "authorizationList": [
                    key.sign_authorization(
                        {"chainId": w3.eth.chain_id, "address": target, "nonce": 0}
                    )
                ],
            }
        )
        assert self.chain.mined(w3.eth.send_raw_transaction(sent.raw_transaction))["status"] == 1
        assert self.chain.node.code(key.address) == bytes.fromhex("ef0100" + target[2:])
        return key

    def ask(self, function: str, signer: str, signature: bytes, gas: int = 3_000_000) -> bytes:
        abi = ContractAbi(artifact("SignaturesHarness").abi)
        data = abi.call_data(function, (signer, DIGEST, signature))
        return self.chain.node.call(self.harness, data, gas=gas)

    def judge(self, signer: str, signature: bytes) -> tuple[bool, bool]:
        """(counts as an attestor's, counts as an account's), the same on chain and off."""
        found = decode(["bool"] * 3, self.ask("judge", signer, signature))[:2]
        node = self.chain.node
        for rule, expected in zip((is_attestors, is_accounts), found, strict=True):
            assert rule(node, signer, DIGEST, signature) == expected
        return found

    def measure(self, signer: str, signature: bytes, gas: int = 3_000_000) -> tuple[bool, int]:
        """(counts as an attestor's, gas that finding out took)."""
        return decode(["bool", "uint256"], self.ask("measure", signer, signature, gas))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with anvil(hardfork="prague") as chain:
        deployer = Deployer(chain.node, KeystoreSigner(chain.key(1)))
        yield Bench(chain, deployer.create("SignaturesHarness")[0])


@pytest.fixture(scope="module")
def wallet(bench: Bench) -> str:
    """A contract that accepts its holder's signatures."""
    deployer = Deployer(bench.chain.node, KeystoreSigner(bench.chain.key(2)))
    return deployer.create("Wallet1271", HOLDER.address)[0]


YES, NO = (True, True), (False, False)


def test_a_key_counts_without_code(bench: Bench) -> None:
    """The key's own signature and nobody else's, over this digest and no other, in one form."""
    assert bench.judge(OWN.address, sign(OWN)) == YES
    assert bench.judge(OWN.address, sign(HOLDER)) == NO
    assert bench.judge(OWN.address, sign(OWN, keccak(b"another"))) == NO
    assert bench.judge("0x" + "00" * 20, sign(OWN)) == NO


def second_form(signature: bytes) -> bytes:
    order = 2 * HALF_ORDER + 1
    s = order - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


@pytest.mark.parametrize(
    "change",
    [
        second_form,
        lambda it: it[:64] + bytes([it[64] - 27]),
        lambda it: it[:64],
        lambda it: it + b"\0",
        lambda it: b"",
        lambda it: bytes(65),
        lambda it: b"\xff" * 64 + b"\x1b",
    ],
)
def test_other_forms_of_a_signature_count_nowhere(
    bench: Bench, wallet: str, change: Callable[[bytes], bytes]
) -> None:
    """High s, v of 0 or 1, lengths other than 65, values off the curve."""
    delegated = bench.delegated(wallet)
    assert bench.judge(OWN.address, change(sign(OWN))) == NO
    assert bench.judge(delegated.address, change(sign(delegated))) == NO


def test_a_contract_alone_speaks_for_its_address(bench: Bench, wallet: str) -> None:
    """Its holder's signature counts. A key of the same address, if there were one, would not."""
    assert bench.judge(wallet, sign(HOLDER)) == YES
    assert bench.judge(wallet, sign(OWN)) == NO
    with_code = account("key with code")
    bench.chain.rpc("anvil_setCode", with_code.address, "0x5f5ffd")
    assert bench.judge(with_code.address, sign(with_code)) == NO


def test_a_delegated_attestor_signs_with_its_key_only(bench: Bench, wallet: str) -> None:
    """What its delegate accepts is not its attestation. As an account, either permits."""
    delegated = bench.delegated(wallet)
    assert bench.judge(delegated.address, sign(delegated)) == YES
    assert bench.judge(delegated.address, sign(HOLDER)) == (False, True)
    assert bench.judge(delegated.address, sign(OWN)) == NO


@pytest.mark.parametrize("target", ["nobody", "harness", "reverts", "burns", "itself"])
def test_a_delegate_that_is_no_wallet_takes_nothing_from_the_key(bench: Bench, target: str) -> None:
    """No code, code without EIP-1271, code that fails, code that is a delegation itself."""
    delegates = {
        "nobody": lambda: account("nobody").address,
        "harness": lambda: bench.harness,
        "reverts": lambda: bench.deploy("5f5ffd"),
        "burns": lambda: bench.deploy("5b5f56"),
        "itself": lambda: bench.delegated(account("nobody").address).address,
    }
    delegated = bench.delegated(delegates[target]())
    assert bench.judge(delegated.address, sign(delegated)) == YES
    assert bench.judge(delegated.address, sign(HOLDER)) == NO


def test_other_code_is_no_delegation(bench: Bench) -> None:
    """A delegation's length without its prefix. Its prefix with another length, which no chain
    holds, is for the backend alone."""
    assert bench.judge(bench.deploy(ACCEPT.ljust(46, "0")), b"any") == YES
    assert is_delegated(bytes.fromhex("ef0100" + "11" * 20))
    for code in ("ef0100" + "11" * 19, "ef0100" + "11" * 21, "ef0101" + "11" * 20, "ef01", ""):
        assert not is_delegated(bytes.fromhex(code))


@pytest.mark.parametrize(
    ("code", "accepts"),
    [
        (ACCEPT, True),
        (MAGIC_CODE + "5f52" + BIG + "5ff3", True),  # hundreds of kilobytes that begin rightly
        (MAGIC_CODE + "5f52" + BIG + "5ffd", False),  # the same as revert data
        (MAGIC_CODE + "5f52" + "601f5ff3", False),  # 31 bytes
        (MAGIC_CODE + "5f52" + "60205ffd", False),
        ("5f5ff3", False),
        ("5f5ffd", False),
        ("fe", False),
        ("5b5f56", False),  # burns all gas
        ("62ffffff5ff3", False),  # 16 megabytes, more than its gas buys
        ("5f5f5f5f6001335af1" + ACCEPT, False),  # sends a coin on first
    ],
)
def test_a_contract_can_only_say_yes(bench: Bench, code: str, accepts: bool) -> None:
    """Whatever it does instead costs the caller one bounded call and copies one word."""
    contract = bench.deploy(code)
    assert bench.judge(contract, b"any") == (accepts, accepts)
    assert bench.measure(contract, b"any")[1] < CHECK_GAS + 10_000


def test_a_node_runs_what_is_asked_for_the_longest_signature(bench: Bench) -> None:
    """Up to the limit the contract is asked; beyond it nobody is."""
    contract, node = bench.deploy(ACCEPT), bench.chain.node
    for length, asked in ((CONTRACT_SIGNATURE_BYTES_MAX, True), (100_000, False)):
        assert is_attestors(node, contract, DIGEST, b"\xff" * length) is asked


@pytest.mark.parametrize(
    ("word", "accepts"),
    [
        (MAGIC, True),
        (MAGIC[:-1] + b"\1", False),
        (MAGIC[:4] + b"\1" + bytes(27), False),
        (EIP1271_MAGIC.rjust(32, b"\0"), False),
        (bytes(31) + b"\1", False),
        (b"\xff" * 32, False),
    ],
)
def test_the_answer_is_one_exact_word(bench: Bench, word: bytes, accepts: bool) -> None:
    """No bits beside the four bytes, no `true`, no other place in the word."""
    contract = bench.deploy(STORED)
    bench.chain.rpc("anvil_setStorageAt", contract, "0x0", "0x" + word.hex())
    assert bench.judge(contract, b"any") == (accepts, accepts)


def test_a_call_has_the_same_gas_on_chain_and_off(bench: Bench) -> None:
    """Exactly CHECK_GAS: a contract that needs one unit more is refused by both."""
    assert bench.judge(bench.deploy(limited(CHECK_GAS - 3)), b"any") == YES
    assert bench.judge(bench.deploy(limited(CHECK_GAS - 2)), b"any") == NO


def test_little_gas_makes_no_signature_invalid(bench: Bench, wallet: str) -> None:
    """Whatever a caller gives, a good signature holds or the call reverts; with enough for the
    answer and too little for the check, the error says so."""
    reasons = set()
    needs = bench.deploy(limited(CHECK_GAS - 3))
    for signer, signature in ((needs, b"any"), (wallet, sign(HOLDER)), (OWN.address, sign(OWN))):
        for gas in [*range(33_000, 50_000, 97), *range(50_000, 600_000, 4_999)]:
            try:
                assert bench.measure(signer, signature, gas)[0], (signer, gas)
            except CallReverted as error:
                reasons.add(explain_revert(error.data))
    assert any("SignatureGas" in reason for reason in reasons), reasons


def test_a_counterfactual_signature_is_told_apart(bench: Bench, wallet: str) -> None:
    """Only over an address without code, and only by its last word. It counts nowhere: the
    Distributor calls no contract that a signature names."""
    delegated = bench.delegated(wallet)
    wrapped = encode(["address", "bytes", "bytes"], [wallet, b"", sign(HOLDER)]) + SUFFIX

    def form(signer: str, signature: bytes) -> bool:
        return decode(["bool"] * 3, bench.ask("judge", signer, signature))[2]

    for signature in (wrapped, SUFFIX):
        assert form(OWN.address, signature)
    for signature in (wrapped + b"\0", SUFFIX[1:], b"", sign(OWN)):
        assert not form(OWN.address, signature)
    for signer in (wallet, delegated.address):
        assert not form(signer, wrapped)
    for signer in (OWN.address, wallet, delegated.address):
        assert bench.judge(signer, wrapped) == NO


def test_the_audit_judges_at_the_block_of_the_post(bench: Bench) -> None:
    """A contract that has changed its mind since, in both directions; within the block, the state
    before and after it counts. A key needs no old state."""
    contract, chain = bench.deploy(STORED), bench.chain

    def say(word: bytes) -> int:
        chain.rpc("anvil_mine", "0x1")
        chain.rpc("anvil_setStorageAt", contract, "0x0", "0x" + word.hex())
        return chain.node.block_number()

    by_contract = Attestation(to_checksum_address(contract), b"any")
    first = say(bytes(32))
    assert [say(MAGIC), say(bytes(32)), say(bytes(32))] == [first + 1, first + 2, first + 3]
    assert [
        signed(chain.node, is_attestors, DIGEST, by_contract, at) for at in range(first, first + 4)
    ] == [False, True, True, False]


def test_the_audit_needs_no_old_state_for_a_key(bench: Bench, wallet: str) -> None:
    """Delegated or not, a key's signature is judged by a node that has dropped old blocks; a
    contract's is not, nor that of a key whose address has a contract's code."""
    delegated = bench.delegated(wallet)

    class Pruned:
        def code(self, address: str, block: int | str = "latest") -> bytes:
            if block != "latest":
                raise StateMissing("dropped")
            return bench.chain.node.code(address)

    for key in (OWN, delegated):
        attestation = Attestation(key.address, sign(key))
        assert signed(Pruned(), is_attestors, DIGEST, attestation, 1)  # type: ignore[arg-type]
    with_code = account("audited key with code")
    bench.chain.rpc("anvil_setCode", with_code.address, "0x5f5ffd")
    bench.chain.rpc("anvil_mine", "0x2")
    attestation = Attestation(with_code.address, sign(with_code))
    block = bench.chain.node.block_number()
    assert not signed(bench.chain.node, is_attestors, DIGEST, attestation, block)
    for signer, key in ((wallet, HOLDER), (delegated.address, HOLDER)):
        with pytest.raises(StateMissing):
            signed(Pruned(), is_accounts, DIGEST, Attestation(signer, sign(key)), 1)  # type: ignore[arg-type]
