"""What a day costs where only some accounts earn: gas and fee for each account paid that day.

The terms of the model are measured on Anvil in the same run, in gas and in bytes after compression:
a single post, the fixed part of a set and each of its batches, a claim. The scale is computed:

- Each account earns on a day with the same chance, independently of the others.
- A bucket has one batch a day, if any of its accounts earned. All buckets are full. The batch has
  the expected number of accounts, rounded.
- A set has as many batches as the contract, a transaction's gas and its size allow.

Proofs are simulated (scripts/simulated_key.py). Fees are those of `rollup_fee.EXAMPLE`.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eth_abi import encode
from eth_utils import keccak
from rich.table import Table

from prover.circuit import load_instance
from scripts.anvil import anvil
from scripts.bench_gas import BLOCK_GAS_LIMIT, Bench
from scripts.rollup_fee import EXAMPLE, compressed_size

ACCOUNTS = {"100k": 100_000, "1m": 1_000_000}
PERCENT = (1, 10, 50)
CLAIM_AFTER = 10
"""Paid days whose rewards an account takes with one claim: an assumption."""
BATCHES_MAX = 64
TRANSACTION_GAS_MAX = 2**24
"""EIP-7825: the most gas that a transaction may have."""
TRANSACTION_BYTES_MAX = 2**17
"""What nodes take into their pool."""
SIBLINGS = 20
"""Of a tree of a million leaves."""

Figures = dict[str, int]


@dataclass(frozen=True)
class Cost:
    """Gas, bytes after compression, and bytes of the signed transaction. Parts may be negative."""

    gas: float
    compressed: float
    size: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.gas + other.gas, self.compressed + other.compressed, self.size + other.size
        )

    def __sub__(self, other: "Cost") -> "Cost":
        return self + -1 * other

    def __rmul__(self, factor: float) -> "Cost":
        return Cost(factor * self.gas, factor * self.compressed, factor * self.size)

    @property
    def fee(self) -> int:
        """Execution and data of one transaction, in wei."""
        return EXAMPLE.fee(round(self.gas), round(self.compressed))


@dataclass(frozen=True)
class Day:
    """What is measured of an instance on a day: each batch has `accounts` at random slots.

    A set of m batches costs transaction + m * batch. How far the accounts lie apart in their bucket
    is part of a batch's cost, so each share is measured for itself.
    """

    accounts: int
    single: Cost
    transaction: Cost
    batch: Cost


@dataclass(frozen=True)
class Terms:
    """What is measured of an instance. `slots`: accounts of a bucket; `days`: by percent."""

    slots: int
    days: Mapping[int, Day]
    claim: Cost


@dataclass(frozen=True)
class Others:
    """What is measured of the ways without proofs."""

    transfer: Cost
    update: Cost
    claim: Cost


def posted_singly(terms: Terms, percent: int) -> tuple[float, float]:
    """Gas and wei for each paid account."""
    day = terms.days[percent]
    return day.single.gas / day.accounts, day.single.fee / day.accounts


def posted_in_sets(terms: Terms, accounts: int, percent: int) -> tuple[float, float]:
    """Gas and wei for each paid account of a program of so many accounts."""
    day = terms.days[percent]
    buckets = -(-accounts // terms.slots) * touched(terms.slots, percent)
    many = set_size(day, buckets)
    whole = day.transaction + many * day.batch
    return whole.gas / many / day.accounts, whole.fee / many / day.accounts


def set_size(day: Day, batches: float) -> int:
    """Batches in a transaction: by contract, gas and size, and no more than there are."""
    by_gas = (TRANSACTION_GAS_MAX - day.transaction.gas) // day.batch.gas
    by_size = (TRANSACTION_BYTES_MAX - day.transaction.size) // day.batch.size
    return int(max(1, min(BATCHES_MAX, batches, by_gas, by_size)))


def touched(slots: int, percent: int) -> float:
    """The chance that a full bucket has a batch on a day."""
    return 1 - (1 - percent / 100) ** slots


def accounts_of_a_batch(slots: int, percent: int) -> int:
    """Accounts that a batch of the day is expected to have, rounded."""
    return max(1, round(slots * percent / 100 / touched(slots, percent)))


def scale(standard: Terms, wide: Terms, others: Others) -> Figures:
    """Gas and wei for each paid account, by way, accounts and share; `_claimed_`: its part of a
    claim included."""
    found: Figures = {}
    for label, accounts in ACCOUNTS.items():
        for percent in PERCENT:
            paid = accounts * percent / 100
            ways: Mapping[str, tuple[tuple[float, float], Cost | None]] = {
                "single": (posted_singly(standard, percent), standard.claim),
                "sets": (posted_in_sets(standard, accounts, percent), standard.claim),
                "wide": (posted_in_sets(wide, accounts, percent), wide.claim),
                "transfers": ((others.transfer.gas, others.transfer.fee), None),
                "unproven": ((others.update.gas / paid, others.update.fee / paid), others.claim),
            }
            for way, ((gas, wei), claim) in ways.items():
                of = f"per_account_{label}_{percent}pct"
                share = (claim.gas / CLAIM_AFTER, claim.fee / CLAIM_AFTER) if claim else (0, 0)
                found[f"sparse_{way}_gas_{of}"] = round(gas)
                found[f"sparse_{way}_l2_wei_{of}"] = round(wei)
                found[f"sparse_{way}_claimed_gas_{of}"] = round(gas + share[0])
                found[f"sparse_{way}_claimed_l2_wei_{of}"] = round(wei + share[1])
    found["sparse_gas_per_account_1m_10pct"] = found["sparse_wide_gas_per_account_1m_10pct"]
    return found


# -- Measured
# --------------------------------------------------------------------------------------------------

FEW, MANY = 2, 4
"""Batches of the sets whose difference is the price of one more."""
OPENED = 512
"""Accounts that a batch opens; each bucket is filled by several."""


def _terms(bench: Bench) -> Terms:
    slots = bench.instance.slots
    homes = {
        bucket: [bench.rng.randrange(2**159, 2**160) for _ in range(slots)]
        for bucket in range(MANY + 1)
    }
    for at in range(0, slots, OPENED):
        for bucket, accounts in homes.items():
            opened = accounts[at : at + OPENED]
            bench.post_many({bucket: opened}) if bucket else bench.post(opened)
    days = {percent: _day(bench, homes, percent) for percent in PERCENT}
    bench.claim(6, bench.state.sequence)
    bench.post([bench.state.pairs[6][0]])
    claim = _cost(bench, bench.claim(6, bench.state.sequence), bench.sent["claim"])
    return Terms(slots, days, claim)


def _day(bench: Bench, homes: Mapping[int, list[int]], percent: int) -> Day:
    count = accounts_of_a_batch(bench.instance.slots, percent)

    def several(batches: int) -> Cost:
        picked = {b: bench.rng.sample(homes[b], count) for b in range(1, batches + 1)}
        return _cost(bench, bench.post_many(picked), bench.sent["postBatches"])

    alone = bench.post(bench.rng.sample(homes[0], count))
    single = _cost(bench, alone, bench.sent["postBatch"])
    few, many = several(FEW), several(MANY)
    batch = 1 / (MANY - FEW) * (many - few)
    return Day(count, single, few - FEW * batch, batch)


def _others(bench: Bench) -> Others:
    """Transfers to somebody who holds the token, a root's second update and a second claim."""
    rng = random.Random("unproven")
    token, poster = bench.token, bench.sender
    roots = bench.deploy("UnprovenRoots", poster, 0)
    receiver = bench.w3.to_checksum_address(rng.randbytes(20))
    bench.send(token.functions.mint(poster, 10**24))
    bench.send(token.functions.mint(roots.address, 10**24))

    def transfer() -> Cost:
        return _cost(
            bench,
            bench.send(token.functions.transfer(receiver, bench.amount())),
            bench.sent["transfer"],
        )

    def update(amount: int) -> tuple[Cost, list[bytes]]:
        siblings = [rng.randbytes(32) for _ in range(SIBLINGS)]
        node = keccak(encode(["address", "address", "uint256"], [poster, token.address, amount]))
        for sibling in siblings:
            node = keccak(b"".join(sorted((node, sibling))))
        gas = bench.send(roots.functions.updateTree((node, rng.randbytes(32))))
        return _cost(bench, gas, bench.sent["updateTree"]), siblings

    def claim(amount: int, siblings: list[bytes]) -> Cost:
        gas = bench.send(roots.functions.claim([poster], [token.address], [amount], [siblings]))
        return _cost(bench, gas, bench.sent["claim"])

    first, second = bench.amount(), 10**20
    transfer()
    update(1)
    claim(first, update(first)[1])
    updated, siblings = update(second)
    return Others(transfer(), updated, claim(second, siblings))


def _cost(bench: Bench, gas: int, data: bytes) -> Cost:
    signed = bench.signed_transaction(data)
    return Cost(gas, compressed_size(signed), len(signed))


def _bench(name: str, use: Callable[[Bench], Any]) -> Any:
    with anvil(gas_limit=BLOCK_GAS_LIMIT, hardfork="prague") as chain:
        return use(Bench(chain, load_instance(name)))


def measure() -> Figures:
    """The scale and, beside it, the terms. Raises OSError (no Anvil)."""
    standard, others = _bench("standard", lambda bench: (_terms(bench), _others(bench)))
    wide = _bench("wide", _terms)
    found: Figures = {}
    for name, terms in (("standard", standard), ("wide", wide)):
        found[f"sparse_term_{name}_claim_gas"] = round(terms.claim.gas)
        for percent, day in terms.days.items():
            of = f"sparse_term_{name}_{percent}pct"
            found[f"{of}_accounts_count"] = day.accounts
            found[f"{of}_single_gas"] = round(day.single.gas)
            found[f"{of}_transaction_gas"] = round(day.transaction.gas)
            found[f"{of}_batch_gas"] = round(day.batch.gas)
            found[f"{of}_batch_l2_bytes"] = round(day.batch.compressed)
            found[f"{of}_batch_bytes"] = round(day.batch.size)
    for part in ("transfer", "update", "claim"):
        found[f"sparse_term_{part}_gas"] = round(getattr(others, part).gas)
    return found | scale(standard, wide, others)


def table(figures: Mapping[str, float]) -> Table:
    """Gas and fee for each paid account, and gas with its part of a claim."""
    ways = ("single", "sets", "wide", "transfers", "unproven")
    shown = Table(
        "accounts, share a day",
        *ways,
        title=f"A day: gas / gwei / gas with a claim each {CLAIM_AFTER} paid days, a paid account",
        title_justify="left",
    )
    for label in ACCOUNTS:
        for percent in PERCENT:
            of = f"per_account_{label}_{percent}pct"
            cells = (
                f"{figures[f'sparse_{way}_gas_{of}']:,} / "
                f"{figures[f'sparse_{way}_l2_wei_{of}'] / 10**9:,.2f} / "
                f"{figures[f'sparse_{way}_claimed_gas_{of}']:,}"
                for way in ways
            )
            shown.add_row(f"{ACCOUNTS[label]:,}, {percent} %", *cells)
    return shown


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
