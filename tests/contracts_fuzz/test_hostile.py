"""Surroundings that are not of our making: tokens that take fees or change balances, accounts with
code by EIP-7702, calldata cut or stretched.

The proof is the ideal verifier's: what is under test here comes before or after it. tests/contracts
holds the rest: re-entering and failing tokens, blocked recipients, EIP-1271, malleable signatures.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from eth_abi import encode
from eth_account import Account
from eth_utils import keccak

from prover.eip712 import Domain, claim_to_digest
from prover.field import P
from prover.tree import Tree
from tests.contracts_fuzz.cast import address_of, key_of
from tests.contracts_fuzz.model import Model, fingerprint, read_deltas
from tests.contracts_fuzz.node import (
    Interface,
    Node,
    creation,
    ideal_proof,
    node,
    place_ideal_verifier,
    sign,
)
from tests.contracts_fuzz.runner import CONFIG, DEPLOYER, DISTRIBUTOR, LEVELS, START, VERIFIER

HOSTILE, WALLET = Interface("HostileToken"), Interface("Wallet1271")
ATTESTORS = {address_of(key): key for key in (key_of(f"attestor {i}") for i in range(3))}
ALICE, BOB = (key_of(f"account {i}") for i in range(2))
TAKES_FEE = 3


class Program:
    """A deployed program, paid in HostileToken, in which Alice and Bob have earned 1,000 and 3,000
    units of 5,000 held."""

    def __init__(self, fresh: Node) -> None:
        self.node, self.time = fresh, START
        self.token = self.deploy(creation("HostileToken"))
        hasher = self.deploy(creation("Poseidon2"))
        place_ideal_verifier(fresh, VERIFIER)
        parties = (DEPLOYER, DEPLOYER, sorted(ATTESTORS), 2)
        config = (self.token, VERIFIER, hasher, LEVELS, 1, *parties, 0)
        self.distributor = self.deploy(creation("Distributor", [CONFIG], [config]))
        domain = Domain(int(fresh.rpc("eth_chainId"), 16), self.distributor)
        self.model = Model(
            domain, LEVELS, dict(ATTESTORS), DEPLOYER, DEPLOYER, sorted(ATTESTORS), 2
        )
        self.fund(5_000)
        self.post([(address_of(ALICE), 1_000), (address_of(BOB), 3_000)])

    def deploy(self, code: bytes) -> str:
        self.time += 1
        return self.node.deploy(code, DEPLOYER, self.time)

    def send(self, to: str, data: bytes, sender: str = DEPLOYER) -> dict[str, Any]:
        self.time += 1
        return self.node.send(sender, to, data, self.time)

    def done(self, to: str, data: bytes, sender: str = DEPLOYER) -> list[tuple[Any, ...]]:
        """The Distributor's events of a call that must go through."""
        receipt = self.send(to, data, sender)
        assert receipt["status"] == "0x1", self.refusal(data, sender)
        return [
            DISTRIBUTOR.event(log) for log in receipt["logs"] if log["address"] == self.distributor
        ]

    def refusal(self, data: bytes, sender: str = DEPLOYER) -> str:
        """The name of the error that a call of the Distributor is refused by now; "" for no reason
        given."""
        ((went_through, answer),) = self.node.outcomes(
            [(sender, self.distributor, data)], self.time + 1
        )
        assert not went_through, "went through"
        return DISTRIBUTOR.error(answer)[0] if answer else ""

    def view(self, name: str, *args: Any) -> Any:
        (answer,) = self.node.calls([(self.distributor, DISTRIBUTOR.encode(name, args))])
        return DISTRIBUTOR.decode(name, answer)[0]

    def balance(self, account: str) -> int:
        (answer,) = self.node.calls([(self.token, HOSTILE.encode("balanceOf", [account]))])
        return HOSTILE.decode("balanceOf", answer)[0]

    def fund(self, amount: int) -> None:
        self.done(self.token, HOSTILE.encode("mint", [self.distributor, amount]))
        self.model.balances[self.distributor] = self.model.balance(self.distributor) + amount

    def posting(self, items: list[tuple[str, int]], signers: list[str] | None = None) -> bytes:
        """Calldata of an honest batch that opens an account or adds to one; `signers` sign with the
        keys that the model knows."""
        bucket = self.model.bucket(0)
        slots = {account: slot for slot, (account, _) in enumerate(bucket.pairs)}
        known = sorted(
            (slots[int(account, 16)], amount)
            for account, amount in items
            if int(account, 16) in slots
        )
        new = [
            (int(account, 16), amount) for account, amount in items if int(account, 16) not in slots
        ]
        deltas = len(known).to_bytes(2, "big") + b"".join(
            slot.to_bytes(2, "big") + amount.to_bytes(12, "big") for slot, amount in known
        )
        deltas += b"".join(
            account.to_bytes(20, "big") + amount.to_bytes(12, "big") for account, amount in new
        )
        pairs = list(bucket.pairs)
        for slot, amount in known:
            pairs[slot] = (pairs[slot][0], pairs[slot][1] + amount)
        root = Tree(LEVELS, [element for pair in pairs + new for element in pair]).root
        batch = (0, bucket.sequence + 1, root, 7, keccak(b"i"), keccak(b"l"), 2**40)
        digest = self.model.digest(batch, deltas)
        r = int.from_bytes(digest, "big") % P
        prints = fingerprint(
            *read_deltas(deltas, len(bucket.pairs), self.model.slots),
            len(bucket.pairs),
            self.model.slots,
            r,
        )
        proof = ideal_proof([bucket.trees[-1].root, root, 7, r, prints])
        self.args = (
            batch,
            deltas,
            proof,
            [
                (name, sign(digest, self.model.keys[name]))
                for name in signers or sorted(ATTESTORS)[:2]
            ],
        )
        return DISTRIBUTOR.encode("postBatch", self.args)

    def post(self, items: list[tuple[str, int]]) -> list[tuple[Any, ...]]:
        events = self.done(self.distributor, self.posting(items))
        self.model.postBatch(DEPLOYER, self.time, *self.args)
        return events

    def claim(self, slot: int, to: tuple[Any, ...] = ()) -> bytes:
        """Calldata of a `claim` of all that the slot has earned, or of a `claimTo` with (recipient,
        deadline, permission)."""
        tree = self.model.bucket(0).trees[-1]
        account, cumulative = tree.pair(slot)
        sequence = self.model.bucket(0).sequence
        return DISTRIBUTOR.encode(
            "claimTo" if to else "claim",
            [0, slot, sequence, f"{account:#042x}", cumulative, tree.siblings(slot), *to],
        )


@pytest.fixture(scope="module")
def shared() -> Iterator[Program]:
    with node() as fresh:
        yield Program(fresh)


@pytest.fixture
def program(shared: Program) -> Iterator[Program]:
    """Each test begins with the same chain."""
    snapshot, bucket = shared.node.rpc("evm_snapshot"), shared.model.bucket(0)
    trees, pairs, balances = list(bucket.trees), list(bucket.pairs), dict(shared.model.balances)
    yield shared
    shared.node.rpc("evm_revert", snapshot)
    bucket.trees, bucket.pairs, shared.model.balances = trees, pairs, balances


def _set_balance(program: Program, account: str, amount: int) -> None:
    """What a rebase does: a balance changes though nobody has transferred anything."""
    place = keccak(encode(["address", "uint256"], [account, 0]))
    program.node.rpc("anvil_setStorageAt", program.token, "0x" + place.hex(), f"{amount:#066x}")
    assert program.balance(account) == amount


def test_a_fee_on_funding_is_seen(program: Program) -> None:
    """The reserve is what has arrived, not what was sent: with a fee of 1 % on the way in,
    entitlements stop at the 99 % that came."""
    program.done(program.token, HOSTILE.encode("mint", [DEPLOYER, 1_000]))
    program.done(program.token, HOSTILE.encode("setBehaviour", [TAKES_FEE]))
    program.done(program.token, HOSTILE.encode("transfer", [program.distributor, 1_000]))
    program.model.balances[program.distributor] += 990
    assert program.refusal(program.posting([(address_of(ALICE), 1_991)])) == "ReserveExceeded"
    program.post([(address_of(ALICE), 1_990)])


def test_a_fee_on_claims_takes_from_the_recipient_alone(program: Program) -> None:
    """The recipient gets less than was booked; the other account is still paid for in full."""
    program.done(program.token, HOSTILE.encode("setBehaviour", [TAKES_FEE]))
    program.done(program.distributor, program.claim(0))
    assert (program.balance(address_of(ALICE)), program.view("claimedTotal")) == (990, 1_000)
    assert (
        program.balance(program.distributor)
        == 4_000
        >= program.view("committed") - program.view("claimedTotal")
    )


def test_a_rebase_downwards_stops_posting_and_withdrawal(program: Program) -> None:
    """Where the token shrinks what is held below what is owed, nothing more can be promised or
    withdrawn; claims are paid while tokens last, and the books stay exact."""
    _set_balance(program, program.distributor, 2_500)
    assert program.refusal(program.posting([(address_of(ALICE), 1)])) == "ReserveExceeded"
    program.done(program.distributor, DISTRIBUTOR.encode("announceWithdrawal", [DEPLOYER, 1]))
    program.time += 7 * 86_400
    assert program.refusal(DISTRIBUTOR.encode("executeWithdrawal", [])) == "ExceedsUncommitted"
    program.done(program.distributor, program.claim(0))
    ((went_through, answer),) = program.node.outcomes(
        [(None, program.distributor, program.claim(1))], program.time + 1
    )
    assert (went_through, HOSTILE.error(answer)[0]) == (False, "ERC20InsufficientBalance")
    assert (program.view("claimedTotal"), program.view("claimed", 0, 1)) == (1_000, 0)
    program.fund(1_500)
    program.done(program.distributor, program.claim(1))
    assert program.balance(address_of(BOB)) == 3_000


def test_a_rebase_upwards_is_nobodys_until_posted(program: Program) -> None:
    """What the token adds to the reserve changes no entitlement; it is there for batches and
    withdrawals."""
    _set_balance(program, program.distributor, 50_000)
    program.done(program.distributor, program.claim(0))
    assert program.balance(address_of(ALICE)) == 1_000
    assert program.refusal(program.claim(0)) == "NothingToClaim"


def _delegate(program: Program, key: int, target: str) -> str:
    """An account whose code is another contract's by EIP-7702, set as a wallet does it: by a signed
    authorization in a type 4 transaction."""
    account, sender = Account.from_key(key), Account.from_key(key_of("sponsor"))
    chain_id = int(program.node.rpc("eth_chainId"), 16)
    program.node.rpc("anvil_setBalance", sender.address, hex(10**18))
    nonce = int(program.node.rpc("eth_getTransactionCount", sender.address, "latest"), 16)
    authorization = account.sign_authorization({"chainId": chain_id, "address": target, "nonce": 0})
    fields = {
        "type": 4,
        "chainId": chain_id,
        "nonce": nonce,
        "to": sender.address,
        "value": 0,
        "data": b"",
        "gas": 200_000,
        "maxFeePerGas": 0,
        "maxPriorityFeePerGas": 0,
        "authorizationList": [authorization],
    }
    program.time += 1
    program.node.rpc("evm_setNextBlockTimestamp", program.time)
    raw = sender.sign_transaction(fields).raw_transaction.to_0x_hex()
    assert program.node.rpc("eth_sendRawTransactionSync", raw)["status"] == "0x1"
    assert (
        program.node.rpc("eth_getCode", account.address, "latest").lower()
        == "0xef0100" + target[2:].lower()
    )
    return account.address.lower()


def test_a_delegated_account_is_paid_and_permits_by_its_code(program: Program) -> None:
    """An account that has delegated its code is asked by EIP-1271, like any contract: its code
    decides, not its own key any more. Being paid needs neither."""
    holder, recipient = key_of("holder"), address_of(key_of("recipient"))
    wallet = program.deploy(creation("Wallet1271", ["address"], [address_of(holder)]))
    alice = _delegate(program, ALICE, wallet)
    digest = claim_to_digest(program.model.domain, 0, 0, 1_000, recipient, 2**40)
    assert (
        program.refusal(program.claim(0, (recipient, 2**40, sign(digest, ALICE))))
        == "InvalidPermission"
    )
    to_holder = program.claim(0, (recipient, 2**40, sign(digest, holder)))
    snapshot = program.node.rpc("evm_snapshot")
    program.done(program.distributor, to_holder)
    assert program.balance(recipient) == 1_000
    program.node.rpc("evm_revert", snapshot)
    program.done(program.distributor, program.claim(0))
    assert program.balance(alice) == 1_000


def test_a_delegated_account_still_calls_for_itself(program: Program) -> None:
    """The account's own transaction chooses a recipient without a permission, code or not; code
    without EIP-1271 permits nothing."""
    recipient = address_of(key_of("recipient"))
    alice = _delegate(program, ALICE, program.token)
    digest = claim_to_digest(program.model.domain, 0, 0, 1_000, recipient, 2**40)
    assert (
        program.refusal(program.claim(0, (recipient, 2**40, sign(digest, ALICE))))
        == "InvalidPermission"
    )
    program.done(program.distributor, program.claim(0, (recipient, 0, b"")), alice)
    assert program.balance(recipient) == 1_000


def test_a_delegated_attestor_attests_by_its_code(program: Program) -> None:
    """An attestor that delegates its code hands its vote to that code: its own signature does not
    count until it takes the delegation back."""
    first, second = sorted(ATTESTORS)[:2]
    honest = program.posting([(address_of(ALICE), 5)])
    holder = key_of("holder")
    wallet = program.deploy(creation("Wallet1271", ["address"], [address_of(holder)]))
    _delegate(program, ATTESTORS[first], wallet)
    assert program.refusal(honest) == "InvalidAttestation"
    program.model.keys[first] = holder
    by_code = program.posting([(address_of(ALICE), 5)], [first, second])
    program.model.keys[first] = ATTESTORS[first]
    assert program.done(program.distributor, by_code)[0][0] == "BatchPosted"


@pytest.mark.parametrize(
    "function", ["postBatch", "claim", "claimMany", "claimTo", "announceAttestors"]
)
def test_truncated_calldata_is_refused(program: Program, function: str) -> None:
    """A call cut short anywhere is refused: no missing byte is taken for a zero."""
    slot, tree = 1, program.model.bucket(0).trees[-1]
    account, cumulative = tree.pair(slot)
    permission = sign(
        claim_to_digest(program.model.domain, 0, slot, cumulative, DEPLOYER, 2**40), BOB
    )
    calls = {
        "postBatch": program.posting([(address_of(ALICE), 5)]),
        "claim": program.claim(slot),
        "claimTo": program.claim(slot, (DEPLOYER, 2**40, permission)),
        "claimMany": DISTRIBUTOR.encode(
            "claimMany", [0, 1, [(slot, f"{account:#042x}", cumulative)], tree.siblings(slot)]
        ),
        "announceAttestors": DISTRIBUTOR.encode("announceAttestors", [sorted(ATTESTORS), 2]),
    }
    data = calls[function]
    # The last word of a bytes argument is padded: cutting the padding alone takes nothing away.
    tail = 31 if function in ("postBatch", "claimTo") else 0
    outcomes = program.node.outcomes(
        [(DEPLOYER, program.distributor, data[:length]) for length in range(4, len(data) - tail)],
        program.time + 1,
    )
    assert not any(went_through for went_through, _ in outcomes)
    assert program.node.outcomes([(DEPLOYER, program.distributor, data)], program.time + 1)[0][0]


def test_overlong_calldata_changes_nothing(program: Program) -> None:
    """Bytes after a call's arguments are passed over: the same effect, and the same log."""
    data = program.posting([(address_of(ALICE), 5)])
    batch, deltas = program.args[:2]
    (event,) = program.done(program.distributor, data + b"\xff" * 1_000)
    assert event == ("BatchPosted", *batch[:6], 5, deltas)
    program.done(program.distributor, program.claim(1) + b"\1")
    assert program.balance(address_of(BOB)) == 3_000


def test_dirty_words_are_refused(program: Program) -> None:
    """A value beyond its type (a slot of 2^16 and more, an address with 21 bytes) is refused, not
    cut down to one that fits."""
    data = program.claim(1)
    for word in (1, 3):  # slot, account
        dirty = bytearray(data)
        dirty[4 + 32 * word + (29 if word == 1 else 11)] = 1
        ((went_through, answer),) = program.node.outcomes(
            [(None, program.distributor, bytes(dirty))]
        )
        assert (went_through, answer) == (False, b"")


def test_a_post_through_a_contract_is_logged_whole(program: Program) -> None:
    """Whoever calls, and however the calldata is wrapped, the log alone gives sequence, roots and
    deltas."""
    holder = address_of(key_of("holder"))
    wallet = program.deploy(creation("Wallet1271", ["address"], [holder]))
    data = program.posting([(address_of(BOB), 9), (address_of(key_of("account 3")), 11)])
    batch, deltas = program.args[:2]
    (event,) = program.done(wallet, WALLET.encode("execute", [program.distributor, data]), holder)
    assert event == ("BatchPosted", *batch[:6], 20, deltas)
