"""Whose signature counts, by the code of the signer's address: keys, accounts that have delegated
their code (EIP-7702, by real authorizations), and contracts (EIP-1271) that mean harm."""

import pytest

from prover.eip712 import claim_to_digest
from tests.contracts_fuzz.cast import address_of, key_of
from tests.contracts_fuzz.node import Interface, creation, sign
from tests.contracts_fuzz.runner import DISTRIBUTOR
from tests.contracts_fuzz.small_program import (
    ALICE,
    ATTESTORS,
    BOB,
    Program,
    delegate,
    program,
    shared,
)

SIGNER = Interface("HostileSigner")
__all__ = ["program", "shared"]


def test_a_delegated_account_permits_by_its_key_or_its_code(program: Program) -> None:
    """An account that has delegated its code keeps its key: its signature permits, and if it does
    not hold, the code is asked. Being paid needs neither."""
    holder, recipient = key_of("holder"), address_of(key_of("recipient"))
    wallet = program.deploy(creation("Wallet1271", ["address"], [address_of(holder)]))
    alice = delegate(program, ALICE, wallet)
    digest = claim_to_digest(program.model.domain, 0, 0, 1_000, recipient, 2**40)
    by_nobody = program.claim(0, (recipient, 2**40, sign(digest, BOB)))
    assert program.refusal(by_nobody) == "InvalidPermission"
    for key in (ALICE, holder):
        snapshot = program.node.rpc("evm_snapshot")
        program.done(program.distributor, program.claim(0, (recipient, 2**40, sign(digest, key))))
        assert program.balance(recipient) == 1_000
        program.node.rpc("evm_revert", snapshot)
    program.done(program.distributor, program.claim(0))
    assert program.balance(alice) == 1_000


def test_a_delegated_account_still_calls_for_itself(program: Program) -> None:
    """The account's own transaction chooses a recipient without a permission, code or not; code
    without EIP-1271 permits nothing, and takes nothing from the key."""
    recipient = address_of(key_of("recipient"))
    alice = delegate(program, ALICE, program.token)
    digest = claim_to_digest(program.model.domain, 0, 0, 1_000, recipient, 2**40)
    by_bob = program.claim(0, (recipient, 2**40, sign(digest, BOB)))
    assert program.refusal(by_bob) == "InvalidPermission"
    snapshot = program.node.rpc("evm_snapshot")
    program.done(program.distributor, program.claim(0, (recipient, 2**40, sign(digest, ALICE))))
    program.node.rpc("evm_revert", snapshot)
    program.done(program.distributor, program.claim(0, (recipient, 0, b"")), alice)
    assert program.balance(recipient) == 1_000


def test_a_delegated_attestor_attests_by_its_key_alone(program: Program) -> None:
    """No delegate has a say in what an attestor signs: its holder's signature does not count, and
    the attestor's own counts as before, without a delegate and with one."""
    first, second = sorted(ATTESTORS)[:2]
    holder = key_of("holder")
    wallet = program.deploy(creation("Wallet1271", ["address"], [address_of(holder)]))
    delegate(program, ATTESTORS[first], wallet)
    program.model.keys[first] = holder
    by_code = program.posting([(address_of(ALICE), 5)], [first, second])
    program.model.keys[first] = ATTESTORS[first]
    assert program.refusal(by_code) == "InvalidAttestation"
    by_key = program.posting([(address_of(ALICE), 5)], [first, second])
    assert program.done(program.distributor, by_key)[0][0] == "BatchPosted"


MODES = {
    "refuses": 1,
    "reverts": 2,
    "burns all gas": 3,
    "returns many bytes": 4,
    "returns few bytes": 5,
    "dirties the word": 6,
    "returns nothing": 7,
}
"""What contracts/mocks/HostileSigner.sol can do; 0 accepts."""
CHECK_GAS = 500_000


def _hostile(program: Program, key: int | None, mode: int) -> str:
    """A HostileSigner of that mode: a contract, or the delegate of a key's account."""
    signer = program.deploy(creation("HostileSigner"))
    address = signer if key is None else delegate(program, key, signer)
    program.send(address, SIGNER.encode("become", [mode]))
    return address


@pytest.mark.parametrize("mode", MODES)
def test_a_hostile_delegate_takes_nothing_from_a_key(program: Program, mode: str) -> None:
    """Whatever the delegate answers, the account's own signature permits and the attestor's own
    attests; without it the delegate's answer harms nobody."""
    recipient, first, second = address_of(key_of("recipient")), *sorted(ATTESTORS)[:2]
    _hostile(program, ALICE, MODES[mode])
    _hostile(program, ATTESTORS[first], MODES[mode])
    by_key = program.posting([(address_of(BOB), 5)], [first, second])
    assert program.done(program.distributor, by_key)[0][0] == "BatchPosted"
    digest = claim_to_digest(program.model.domain, 0, 0, 1_000, recipient, 2**40)
    by_bob = program.claim(0, (recipient, 2**40, sign(digest, BOB)))
    assert program.refusal(by_bob) == "InvalidPermission"
    program.done(program.distributor, program.claim(0, (recipient, 2**40, sign(digest, ALICE))))
    assert program.balance(recipient) == 1_000


@pytest.mark.parametrize("mode", MODES)
def test_a_hostile_contract_does_not_attest(program: Program, mode: str) -> None:
    """It is refused for a bounded price, and in a set it is passed over: the others' signatures
    post the batch."""
    hostile = _hostile(program, None, MODES[mode])
    attestors = sorted([*ATTESTORS, hostile])
    program.change_attestors(attestors, 2)
    program.model.keys[hostile] = ALICE
    first, second = sorted(ATTESTORS)[:2]
    posting = program.posting([(address_of(BOB), 5)], sorted([first, hostile]))
    receipt = program.send(program.distributor, posting)
    assert receipt["status"] == "0x0"
    assert program.refusal(posting) == "InvalidAttestation"
    assert int(receipt["gasUsed"], 16) < CHECK_GAS + 200_000
    program.posting([(address_of(BOB), 5)], sorted([first, second, hostile]))
    (event,) = program.done(program.distributor, program.one_of_many())
    assert event[0] == "BatchPosted"


def test_a_contract_that_changes_its_mind_sinks_its_own_batch_alone(program: Program) -> None:
    """A contract that accepted when the set was made, and refuses in the block, is skipped with the
    batch that needs it; it attests when it accepts."""
    hostile = _hostile(program, None, 0)
    program.change_attestors(sorted([*ATTESTORS, hostile]), 2)
    program.model.keys[hostile] = ALICE
    first = min(ATTESTORS)
    program.posting([(address_of(BOB), 5)], sorted([first, hostile]))
    calls = program.one_of_many()
    snapshot = program.node.rpc("evm_snapshot")
    assert program.done(program.distributor, calls)[0][0] == "BatchPosted"
    program.node.rpc("evm_revert", snapshot)
    program.send(hostile, SIGNER.encode("become", [MODES["refuses"]]))
    assert program.refusal(calls) == "NothingPosted"


def test_little_gas_does_not_make_a_signature_invalid(program: Program) -> None:
    """A caller who leaves less gas than a contract may use is refused for that, not for the
    signature: nobody can make an attestor look faulty."""
    hostile = _hostile(program, None, 0)
    program.change_attestors(sorted([*ATTESTORS, hostile]), 2)
    program.model.keys[hostile] = ALICE
    program.posting([(address_of(BOB), 5)], sorted([min(ATTESTORS), hostile]))
    call = {"to": program.distributor, "data": "0x" + program.one_of_many().hex()}
    for gas, error in ((400_000, "SignatureGas"), (3_000_000, None)):
        answer = program.node.call_with_gas(call, gas)
        assert (DISTRIBUTOR.error(answer[1])[0] if not answer[0] else None) == error


def test_code_that_only_looks_delegated_is_a_contract(program: Program) -> None:
    """Other code than a delegation is asked by EIP-1271, 23 bytes of it included: a key behind the
    address does not count. (No other code that begins with ef can be created, by EIP-3541.)"""
    first, second = sorted(ATTESTORS)[:2]
    posting = program.posting([(address_of(BOB), 5)], [first, second])
    for code in ("5b" * 23, "5b" * 22, "00"):
        snapshot = program.node.rpc("evm_snapshot")
        program.node.set_code(first, code)
        assert program.refusal(posting) == "InvalidAttestation", code
        program.node.rpc("evm_revert", snapshot)
    program.node.set_code(first, "ef0100" + "11" * 20)
    assert program.done(program.distributor, posting)[0][0] == "BatchPosted"


def test_a_counterfactual_signature_has_an_error_of_its_own(program: Program) -> None:
    """A signature in the form of ERC-6492 over an address without code: nothing is deployed, and
    the error says so. With code the form is the code's business."""
    recipient = address_of(key_of("recipient"))
    form = b"factory and calldata".ljust(64, b"\0") + bytes.fromhex("6492" * 16)
    call = program.claim(0, (recipient, 2**40, form))
    assert program.refusal(call) == "CounterfactualSignature"
    _hostile(program, ALICE, 1)
    assert program.refusal(call) == "InvalidPermission"


def test_only_accounts_of_the_bucket_are_asked(program: Program) -> None:
    """A contract that would accept everything, named by a caller, is not called: the tree comes
    first."""
    hostile = _hostile(program, None, MODES["burns all gas"])
    recipient = address_of(key_of("recipient"))
    arguments = list(DISTRIBUTOR.functions["claimTo"][1])
    assert arguments[3] == "address"
    data = bytearray(program.claim(0, (recipient, 2**40, b"")))
    data[4 + 3 * 32 : 4 + 4 * 32] = bytes.fromhex(hostile[2:]).rjust(32, b"\0")
    assert program.refusal(bytes(data)) == "NotInBucket"


def test_a_program_ends_by_its_own_address_as_its_set(program: Program) -> None:
    """The Distributor accepts no signature, so nothing lands any more: neither what was signed
    before, nor in its own name. Claims are paid as ever."""
    before = program.posting([(address_of(BOB), 5)])
    program.change_attestors([program.distributor], 1)
    assert program.refusal(before) == "UnknownAttestor"
    for key in (ALICE, key_of("attestor 0")):
        program.model.keys[program.distributor] = key
        posting = program.posting([(address_of(BOB), 5)], [program.distributor])
        assert program.refusal(posting) == "InvalidAttestation"
        assert program.refusal(program.one_of_many()) == "NothingPosted"
    program.done(program.distributor, program.claim(0))
    assert program.balance(address_of(ALICE)) == 1_000
