"""A small program on a fresh Anvil, paid in a token that can misbehave, with the ideal verifier in
the real one's place: what is under test comes before or after the proof."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from eth_account import Account
from eth_utils import keccak

from prover.eip712 import Domain
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
from tests.contracts_fuzz.powers import DELAY, NOBODY
from tests.contracts_fuzz.runner import CONFIG, DEPLOYER, DISTRIBUTOR, LEVELS, START, VERIFIER

HOSTILE = Interface("HostileToken")
ATTESTORS = {address_of(key): key for key in (key_of(f"attestor {i}") for i in range(3))}
ALICE, BOB = (key_of(f"account {i}") for i in range(2))


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
            domain=domain,
            levels=LEVELS,
            keys=dict(ATTESTORS),
            wallet=NOBODY,
            owner=DEPLOYER,
            guardian=DEPLOYER,
            attestors=sorted(ATTESTORS),
            threshold=2,
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

    def one_of_many(self) -> bytes:
        """The last posting as the only one of a `postBatches`."""
        batch, deltas, proof, signed = self.args
        struct_hash = self.model.envelope(batch, deltas).struct_hash
        return DISTRIBUTOR.encode("postBatches", [[(batch, struct_hash, deltas, proof, signed)]])

    def change_attestors(self, attestors: list[str], threshold: int) -> None:
        """By the owner, after the delay."""
        announce = DISTRIBUTOR.encode("announceAttestors", [attestors, threshold])
        self.done(self.distributor, announce)
        self.time += DELAY
        self.done(self.distributor, DISTRIBUTOR.encode("executeAttestors", []))
        self.model.attestors, self.model.threshold = attestors, threshold
        self.model.epoch += 1

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
    snapshot, time, model = shared.node.rpc("evm_snapshot"), shared.time, shared.model
    shared.model = copy.deepcopy(model)
    yield shared
    shared.node.rpc("evm_revert", snapshot)
    shared.time, shared.model = time, model


def delegate(program: Program, key: int, target: str) -> str:
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
