"""Gas of the calls that a program pays for, at the standard instance's size, on Anvil.

`make bench` prints these figures and the gas snapshot pins them.

Conditions: OpenZeppelin's ERC20; 2 of 3 attestors with ECDSA; a full bucket of existing accounts
with random addresses; amounts around 10^18 base units; posts at sequence 2 or later. First claims
are the first of their pair of slots and of their recipient's balance. Figures are means over
several random accounts and batches. A seed determines everything.

Batches that only bring the bucket to the measured state have proofs simulated with a known trapdoor
(scripts/simulated_key.py), and in the snapshot all batches do. The verifier contract is the real
one, and its gas does not depend on the key.
"""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from eth_abi import encode
from eth_account import Account
from eth_utils import keccak

from prover.circuit import Instance, compile_instance, load_instance
from prover.eip712 import BatchEnvelope, Domain
from prover.groth16 import Prover, dev_key
from prover.state import BucketState
from prover.statement import Challenged, challenged, plan_batch
from prover.tree import Tree
from prover.wire import challenge
from scripts.anvil import Anvil, anvil
from scripts.rollup_fee import EXAMPLE, compressed_size
from scripts.simulated_key import SimulatedKey

ARTIFACTS = Path(__file__).resolve().parent.parent / "build" / "contracts"
BLOCK_GAS_LIMIT = 1_000_000_000
ATTESTORS = sorted(
    (Account.from_key(keccak(text=f"bench {i}")) for i in range(3)),
    key=lambda a: int(a.address, 16),
)
VALID_UNTIL = 2**40
FUNDING = 10**27
Figures = dict[str, int]


@dataclass
class Bench:
    """A deployed program of one instance, and its bucket 0. Gas figures are the receipts'."""

    chain: Anvil
    instance: Instance
    rng: random.Random = field(default_factory=lambda: random.Random("gas"))

    def __post_init__(self) -> None:
        self.w3 = self.chain.w3
        self.sender = self.w3.eth.accounts[0]
        self.state = BucketState(self.instance)
        self.others: dict[int, BucketState] = {}
        self.trees: dict[int, Tree] = {}
        self.sent: dict[str, bytes] = {}
        self.simulated = SimulatedKey("gas")
        self.token = self.deploy("TestToken", "Bench", "BNC")
        self.hasher = self.deploy("Poseidon2")
        self.verifier = self.deploy("Groth16Verifier", self.simulated.to_words()).address
        attestors = [attestor.address for attestor in ATTESTORS]
        config = (
            self.token.address,
            self.verifier,
            self.hasher.address,
            self.instance.levels,
            1,
            self.sender,
            self.sender,
            attestors,
            2,
            0,
        )
        self.distributor = self.deploy("Distributor", config)
        self.send(self.token.functions.mint(self.distributor.address, FUNDING))

    def deploy(self, name: str, *arguments: Any) -> Any:
        """A contract of this checkout at a new address."""
        artifact = json.loads((ARTIFACTS / f"{name}.json").read_text())
        factory = self.w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        receipt = self.w3.eth.wait_for_transaction_receipt(
            factory.constructor(*arguments).transact({"from": self.sender})
        )
        return self.w3.eth.contract(address=receipt["contractAddress"], abi=artifact["abi"])

    def send(self, call: Any) -> int:
        """Gas used by a call that must succeed."""
        hash_ = call.transact({"from": self.sender, "gas": BLOCK_GAS_LIMIT // 2})
        receipt = self.w3.eth.wait_for_transaction_receipt(hash_)
        if receipt["status"] != 1:
            raise RuntimeError(f"{call.fn_name} reverted")
        self.sent[call.fn_name] = bytes(self.w3.eth.get_transaction(hash_)["input"])
        return receipt["gasUsed"]

    def use_key(self, words: list[int]) -> None:
        """Puts a verifier of another key in the Distributor's verifier's place."""
        other = self.deploy("Groth16Verifier", words).address
        self.chain.rpc("anvil_setCode", self.verifier, "0x" + self.w3.eth.get_code(other).hex())

    def amount(self) -> int:
        return self.rng.randrange(10**17, 10**19)

    def post(
        self, accounts: Sequence[int], prove: Callable[[Challenged], list[int]] | None = None
    ) -> int:
        """Gas of a batch with one item for each account. Simulates the proof unless it is told how
        to make it."""
        batch, _, *rest = self._posting(0, self.state, accounts, prove)
        gas = self.send(self.distributor.functions.postBatch(batch, *rest))
        self.trees[self.state.sequence] = Tree(
            self.instance.levels, [element for pair in self.state.pairs for element in pair]
        )
        return gas

    def post_many(self, touched: Mapping[int, Sequence[int]]) -> int:
        """Gas of one `postBatches`: bucket -> the accounts that its batch has one item for."""
        postings = [
            self._posting(bucket, self.others.setdefault(bucket, BucketState(self.instance)), who)
            for bucket, who in touched.items()
        ]
        return self.send(self.distributor.functions.postBatches(postings))

    def _posting(
        self,
        bucket: int,
        state: BucketState,
        accounts: Sequence[int],
        prove: Callable[[Challenged], list[int]] | None = None,
    ) -> tuple[Any, bytes, bytes, list[int], list[tuple[str, bytes]]]:
        """One element of `postBatches`; the state is that after it."""
        statement = plan_batch(
            self.instance, state.pairs, [(account, self.amount()) for account in accounts]
        )
        deltas, sequence = statement.deltas.encode(), state.sequence + 1
        interactions, ledger = (
            keccak(text=f"interactions {bucket} {sequence}"),
            keccak(text=f"ledger {sequence}"),
        )
        roots = (statement.old_root, statement.new_root, statement.items_root)
        envelope = BatchEnvelope(
            bucket, sequence, *roots, interactions, ledger, keccak(deltas), 1, VALID_UNTIL
        )
        digest = envelope.digest(Domain(self.w3.eth.chain_id, self.distributor.address))
        batch = (bucket, sequence, *roots[1:], interactions, ledger, VALID_UNTIL)
        signed = [
            (signer.address, bytes(Account.unsafe_sign_hash(digest, signer.key).signature))
            for signer in ATTESTORS[:2]
        ]
        claim = challenged(statement, challenge(digest))
        proof = prove(claim) if prove else self.simulated.prove(claim.public_signals)
        state.apply(sequence, deltas)
        return batch, envelope.struct_hash, deltas, proof, signed

    def claim(self, slot: int, sequence: int) -> int:
        account, cumulative = self.trees[sequence].pair(slot)
        siblings = self.trees[sequence].siblings(slot)
        return self.send(
            self.distributor.functions.claim(
                0, slot, sequence, self._address(account), cumulative, siblings
            )
        )

    def claim_many(self, slots: list[int]) -> int:
        """Gas of a claimMany, taken back afterwards."""
        before = self.chain.rpc("evm_snapshot")
        gas = self.send(
            self.distributor.functions.claimMany(0, self.state.sequence, *self._many(slots))
        )
        self.chain.rpc("evm_revert", before)
        return gas

    def check_many(self, slots: list[int]) -> int:
        """Gas of the hasher's part in that: the proof checking alone, the call's own cost
        included."""
        payouts, siblings = self._many(slots)
        data = bytes.fromhex(
            self.hasher.encode_abi("root", [payouts, siblings, self.instance.levels])[2:]
        )
        call = self.hasher.functions.root(payouts, siblings, self.instance.levels)
        gas: int = call.estimate_gas({"from": self.sender})
        return gas - _intrinsic(data)

    def _many(self, slots: list[int]) -> tuple[list[Any], list[int]]:
        payouts = [
            (slot, self._address(self.state.pairs[slot][0]), self.state.pairs[slot][1])
            for slot in slots
        ]
        return payouts, self.state.tree.multi_siblings(slots)

    def h4(self) -> int:
        """Gas of one H4 inside a walk: what a level more costs, its three siblings' calldata
        apart."""
        costs = []
        for levels in (4, 5):
            path = [(0, self._address(1), 1), [2] * (3 * levels - 1), levels]
            data = bytes.fromhex(self.hasher.encode_abi("rootOfOne", path)[2:])
            gas: int = self.hasher.functions.rootOfOne(*path).estimate_gas({"from": self.sender})
            costs.append(gas - _intrinsic(data))
        return costs[1] - costs[0]

    def _address(self, account: int) -> str:
        return self.w3.to_checksum_address(f"{account:#042x}")

    def signed_transaction(self, data: bytes) -> bytes:
        """A transaction with this calldata as it would be sent to a rollup."""
        fields = {
            "chainId": 8_453,
            "nonce": 1_000,
            "maxFeePerGas": 10**8,
            "maxPriorityFeePerGas": 10**6,
            "gas": 600_000,
            "value": 0,
            "to": self.distributor.address,
            "data": data,
        }
        return bytes(self.chain.key(0).sign_transaction(fields).raw_transaction)


def _intrinsic(data: bytes) -> int:
    return 21_000 + sum(16 if byte else 4 for byte in data)


def figures(
    bench: Bench,
    samples: int = 4,
    prove: Callable[[Challenged], list[int]] | None = None,
    key: list[int] | None = None,
) -> Figures:
    """All figures, of a fresh bench. prove, key: how to make the measured posts' proofs, and the 26
    words of the key that verifies them."""
    slots = bench.instance.slots
    accounts = [bench.rng.randrange(2**159, 2**160) for _ in range(slots)]
    found: Figures = {f"post_open_{slots}_gas": bench.post(accounts)}
    if key:
        bench.use_key(key)
    found["post_1_gas"] = _mean(
        bench.post([bench.rng.choice(accounts)], prove) for _ in range(samples)
    )
    found[f"post_{slots}_gas"] = _mean(bench.post(accounts, prove) for _ in range(samples))
    data = {"post": bench.sent["postBatch"]}
    if key:
        bench.use_key(bench.simulated.to_words())

    every = list(range(slots))
    found[f"claim_many_{slots}_gas_per_account"] = bench.claim_many(every) // slots
    found[f"claim_many_{slots}_check_gas_per_account"] = bench.check_many(every) // slots
    found |= _claims(bench, accounts, samples)
    found |= _sets(bench)
    found["h4_gas"] = bench.h4()
    return found | _rollup(bench, found, data | {"claim": bench.sent["claim"]})


def _claims(bench: Bench, accounts: list[int], samples: int) -> Figures:
    """First and repeated claims. Against which root makes no difference: each has a word of its
    own."""
    pairs = bench.rng.sample(range(len(accounts) // 2), samples)
    slots = [2 * pair + bench.rng.randrange(2) for pair in pairs]
    first = _mean(bench.claim(slot, bench.state.sequence) for slot in slots)
    bench.post(accounts)
    repeated = _mean(bench.claim(slot, bench.state.sequence) for slot in slots)
    return {"claim_first_gas": first, "claim_repeat_gas": repeated}


SET_SIZES = 2, 8
"""Batches in the sets whose difference is the price of one more batch."""


def _sets(bench: Bench) -> Figures:
    """One more batch of 50 accounts in a `postBatches`, of buckets whose slots are all occupied,
    and a single post under a daily limit."""
    few, many = SET_SIZES
    homes = {
        bucket: [bench.rng.randrange(2**159, 2**160) for _ in range(bench.instance.slots)]
        for bucket in range(1, many + 1)
    }
    for bucket, accounts in homes.items():
        bench.post_many({bucket: accounts})

    def some(buckets: int) -> int:
        picked = {b: bench.rng.sample(homes[b], min(50, len(homes[b]))) for b in homes}
        return bench.post_many(dict(list(picked.items())[:buckets]))

    extra = (some(many) - some(few)) // (many - few)
    bench.send(bench.distributor.functions.lowerDailyLimit(2**95))
    bench.post([bench.state.pairs[0][0]])
    limited = bench.post([bench.state.pairs[1][0]])
    return {"post_extra_50_gas": extra, "post_1_limited_gas": limited}


def _mean(costs: Iterable[int]) -> int:
    """Rounded to whole gas, half to even."""
    return round(mean(costs))


# The calldata of the others' claims, in the shape of their figures in scripts/bench.py:
# 20 siblings, one token.
RIVAL_CLAIMS: dict[str, tuple[str, Callable[[Any], list[Any]]]] = {
    "merkl": (
        "claim(address[],address[],uint256[],bytes32[][])",
        lambda r: [[r.account], [r.token], [r.amount], [r.siblings]],
    ),
    "morpho": (
        "claim(address,address,uint256,bytes32[])",
        lambda r: [r.account, r.token, r.amount, r.siblings],
    ),
}


@dataclass(frozen=True)
class _Rival:
    account: str
    token: str
    amount: int
    siblings: list[bytes]


def _rollup(bench: Bench, found: Figures, data: dict[str, bytes]) -> Figures:
    """Compressed bytes of signed transactions, and example fees in wei, of a claim (ours and
    others') and of a full post."""
    rng = random.Random("rollup")
    rival = _Rival(
        "0x" + rng.randbytes(20).hex(),
        "0x" + rng.randbytes(20).hex(),
        bench.amount(),
        [rng.randbytes(32) for _ in range(20)],
    )
    for name, (signature, arguments) in RIVAL_CLAIMS.items():
        types = signature[signature.index("(") + 1 : -1].split(",")
        data[f"{name}_claim"] = keccak(text=signature)[:4] + encode(types, arguments(rival))
    sizes = {
        name: compressed_size(bench.signed_transaction(calldata)) for name, calldata in data.items()
    }
    fees = {"claim_repeat_l2_wei": EXAMPLE.fee(found["claim_repeat_gas"], sizes["claim"])}
    fees[f"post_{bench.instance.slots}_l2_wei"] = EXAMPLE.fee(
        found[f"post_{bench.instance.slots}_gas"], sizes["post"]
    )
    fees |= {f"{name}_l2_data_wei": EXAMPLE.data_fee(size) for name, size in sizes.items()}
    return {f"{name}_l2_bytes": size for name, size in sizes.items()} | fees


def simulate(instance: str = "standard") -> Figures:
    """Gas figures by name with simulated proofs: the same on every machine. Raises OSError (no
    Anvil)."""
    with anvil(gas_limit=BLOCK_GAS_LIMIT, hardfork="prague") as chain:
        return figures(Bench(chain, load_instance(instance)))


def measure(instance: str = "standard") -> Figures:
    """Gas figures by name, the posts' with real proofs. Makes the development key if it is not in
    the cache (standard: minutes).

    Raises CircuitError, Groth16Error, SetupError, OSError (no Anvil).
    """
    shape = load_instance(instance)
    prover = Prover(compile_instance(shape), dev_key(shape))
    try:
        with anvil(gas_limit=BLOCK_GAS_LIMIT, hardfork="prague") as chain:
            words = prover.key.verifying_key.to_words()
            return figures(
                Bench(chain, shape), 2, lambda claim: prover.prove(claim).to_words(), words
            )
    finally:
        prover.close()


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
