"""Gas of the calls that a program pays for, at the standard instance's size, with real proofs on a real Anvil.

`measure()` is what `make bench` prints. Conditions, which are the dear ones: OpenZeppelin's ERC20; 2 of 3 attestors with ECDSA; amounts around
10^18 base units; posts write a root to a place of the ring that no batch has used; the first claim is the first of its pair of slots and
of its recipient's balance.
"""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils import keccak

from prover.circuit import Instance, compile_instance, load_instance
from prover.eip712 import BatchEnvelope, Domain
from prover.groth16 import Prover, dev_key
from prover.state import BucketState
from prover.statement import challenged, plan_batch
from prover.wire import challenge
from tests.support.anvil import Anvil, anvil

ARTIFACTS = Path(__file__).resolve().parent.parent / "build" / "contracts"
BLOCK_GAS_LIMIT = 1_000_000_000
ATTESTORS = sorted((Account.from_key(keccak(text=f"bench {i}")) for i in range(3)), key=lambda a: int(a.address, 16))
VALID_UNTIL = 2**40
FUNDING = 10**27


@dataclass
class Bench:
    """A deployed program of one instance and its bucket 0. Gas figures are the receipts'."""

    chain: Anvil
    prover: Prover
    rng: random.Random = field(default_factory=lambda: random.Random("gas"))

    def __post_init__(self) -> None:
        self.instance: Instance = self.prover.circuit.instance
        self.w3 = self.chain.w3
        self.sender = self.w3.eth.accounts[0]
        self.state = BucketState(self.instance)
        token = self._deploy("TestToken", "Bench", "BNC")
        self.hasher = self._deploy("Poseidon2")
        attestors = [attestor.address for attestor in ATTESTORS]
        config = (
            token.address, self._deploy_verifier(), self.hasher.address, self.instance.levels, 1, self.sender, self.sender, attestors, 2,
        )  # fmt: skip
        self.distributor = self._deploy("Distributor", config)
        self._send(token.functions.mint(self.distributor.address, FUNDING))

    def _deploy_verifier(self) -> str:
        return self._deploy("Groth16Verifier", self.prover.key.verifying_key.to_words()).address

    def _deploy(self, name: str, *arguments: Any) -> Any:
        artifact = json.loads((ARTIFACTS / f"{name}.json").read_text())
        factory = self.w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        receipt = self.w3.eth.wait_for_transaction_receipt(factory.constructor(*arguments).transact({"from": self.sender}))
        return self.w3.eth.contract(address=receipt["contractAddress"], abi=artifact["abi"])

    def _send(self, call: Any) -> int:
        """Gas used by a call that must succeed."""
        receipt = self.w3.eth.wait_for_transaction_receipt(call.transact({"from": self.sender, "gas": BLOCK_GAS_LIMIT // 2}))
        if receipt["status"] != 1:
            raise RuntimeError(f"{call.fn_name} reverted")
        return receipt["gasUsed"]

    def amount(self) -> int:
        return self.rng.randrange(10**17, 10**19)

    def post(self, accounts: list[int]) -> int:
        """Gas of a batch with one item for each account."""
        statement = plan_batch(self.instance, self.state.pairs, [(account, self.amount()) for account in accounts])
        deltas, sequence = statement.deltas.encode(), self.state.sequence + 1
        interactions, ledger = keccak(text=f"interactions {sequence}"), keccak(text=f"ledger {sequence}")
        envelope = BatchEnvelope(
            0,
            sequence,
            statement.old_root,
            statement.new_root,
            statement.items_root,
            interactions,
            ledger,
            keccak(deltas),
            1,
            VALID_UNTIL,
        )
        digest = envelope.digest(Domain(self.w3.eth.chain_id, self.distributor.address))
        batch = (0, sequence, statement.new_root, statement.items_root, interactions, ledger, VALID_UNTIL)
        signed = [(signer.address, bytes(Account.unsafe_sign_hash(digest, signer.key).signature)) for signer in ATTESTORS[:2]]
        proof = self.prove(challenged(statement, challenge(digest)))
        gas = self._send(self.distributor.functions.postBatch(batch, deltas, proof, signed))
        self.state.apply(sequence, deltas)
        return gas

    def prove(self, claim: Any) -> list[int]:
        return self.prover.prove(claim).to_words()

    def claim(self, slot: int) -> int:
        account, cumulative = self.state.pairs[slot]
        siblings = self.state.tree.siblings(slot)
        call = self.distributor.functions.claim(0, slot, self.state.sequence, self._address(account), cumulative, siblings)
        return self._send(call)

    def claim_many(self, slots: list[int]) -> int:
        payouts = [(slot, self._address(self.state.pairs[slot][0]), self.state.pairs[slot][1]) for slot in slots]
        siblings = self.state.tree.multi_siblings(slots)
        return self._send(self.distributor.functions.claimMany(0, self.state.sequence, payouts, siblings))

    def h4(self) -> int:
        """Gas of one H4 inside a walk: what a level more costs, its three siblings' calldata apart."""
        costs = []
        for levels in (4, 5):
            path = [(0, self._address(1), 1), [2] * (3 * levels - 1), levels]
            data = bytes.fromhex(self.hasher.encode_abi("rootOfOne", path)[2:])
            calldata = sum(16 if byte else 4 for byte in data)
            costs.append(self.hasher.functions.rootOfOne(*path).estimate_gas({"from": self.sender}) - calldata)
        return costs[1] - costs[0]

    def _address(self, account: int) -> str:
        return self.w3.to_checksum_address(f"{account:#042x}")


def figures(bench: Bench) -> dict[str, int]:
    """All figures, of a fresh bench."""
    slots = bench.instance.slots
    accounts = [bench.rng.randrange(2**159, 2**160) for _ in range(slots)]
    open_gas = bench.post(accounts)
    first = bench.claim(slots // 2)
    post_1 = bench.post(accounts[slots // 2 : slots // 2 + 1])
    repeat = bench.claim(slots // 2)
    post_all = bench.post(accounts)
    many = bench.claim_many([slot for slot in range(slots) if slot // 2 != slots // 4])
    return {
        "post_1_gas": post_1,
        f"post_{slots}_gas": post_all,
        f"post_open_{slots}_gas": open_gas,
        "claim_first_gas": first,
        "claim_repeat_gas": repeat,
        f"claim_many_{slots}_gas_per_account": many // (slots - 2),
        "h4_gas": bench.h4(),
    }


def measure(instance: str = "standard") -> dict[str, int]:
    """Gas figures by name, at one instance's size. Makes the development key if it is not in the cache (standard: minutes).

    Raises CircuitError, Groth16Error, SetupError, OSError (no Anvil).
    """
    shape = load_instance(instance)
    prover = Prover(compile_instance(shape), dev_key(shape))
    try:
        with anvil(gas_limit=BLOCK_GAS_LIMIT, hardfork="prague") as chain:
            return figures(Bench(chain, prover))
    finally:
        prover.close()


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
