"""Gas, code sizes and storage layout are what was committed, and gas stays below its limits.

Conditions are those of scripts/bench_gas.py: the real contracts at the standard instance's size,
the verifier under a key whose trapdoor is known, so that no proving key of a gigabyte is needed.
The first test shows that this does not change what anything costs.
"""

import json
import random

import pytest

from prover.statement import challenged, plan_batch
from scripts.bench_gas import Figures, simulate
from scripts.rollup_fee import EXAMPLE, compressed_size
from scripts.simulated_key import SimulatedKey
from tests.contracts_fuzz.node import Interface, creation, node
from tests.contracts_fuzz.runner import DEPLOYER, START
from tests.contracts_fuzz.snapshot import FILE, sizes, storage
from tests.support.program import DEV, dev_prover

LIMITS = {
    "h4_gas": 13_500,
    "post_512_gas": 540_000,
    "post_1_gas": 323_480,
    "post_1_limited_gas": 328_980,
    "post_extra_50_gas": 142_000,
    "claim_first_gas": 168_000,
    "claim_repeat_gas": 138_000,
    "claim_many_512_check_gas_per_account": 11_000,
}
CODE_BYTES_MAX = 24_576
COMMITTED = json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def measured() -> Figures:
    return simulate()


def _verification_gas(words: list[int], proof: list[int], signals: list[int]) -> tuple[bool, int]:
    """(whether the verifier under that key accepts, gas without the calldata's)."""
    verifier = Interface("Groth16Verifier")
    with node() as fresh:
        address = fresh.deploy(
            creation("Groth16Verifier", ["uint256[26]"], [words]), DEPLOYER, START
        )
        data = verifier.encode("verify", [proof, signals])
        accepted = verifier.decode("verify", fresh.calls([(address, data)])[0])[0]
        receipt = fresh.send(DEPLOYER, address, data, START + 1)
    return accepted, int(receipt["gasUsed"], 16) - sum(16 if byte else 4 for byte in data)


def test_a_simulated_proof_costs_what_a_real_one_does() -> None:
    """The verifier takes a real proof under a real key, and a simulated one under a key of known
    trapdoor, for the same gas to the unit."""
    statement = challenged(plan_batch(DEV, [], [(10**40, 10**18)]), 2**250 + 7)
    signals = list(statement.public_signals)
    key = SimulatedKey("test")
    prover = dev_prover()
    real = _verification_gas(
        prover.key.verifying_key.to_words(), prover.prove(statement).to_words(), signals
    )
    simulated = _verification_gas(key.to_words(), key.prove(signals), signals)
    assert real == simulated
    assert real[0]
    assert not _verification_gas(
        key.to_words(), key.prove(signals), [*signals[:4], signals[4] ^ 1]
    )[0]


def test_gas_is_as_committed(measured: Figures) -> None:
    """Every figure is within 0.5 % of the committed one, up or down: a change is committed or
    undone."""
    gas = {name: value for name, value in measured.items() if "_l2_" not in name}
    assert gas.keys() == COMMITTED["gas"].keys()
    moved = {
        name: (COMMITTED["gas"][name], value)
        for name, value in gas.items()
        if abs(value - COMMITTED["gas"][name]) * 200 > value
    }
    assert moved == {}, "run `python -m tests.contracts_fuzz.snapshot` if this is meant"


def test_gas_is_within_its_limits(measured: Figures) -> None:
    """No call costs more than was promised."""
    assert {name: measured[name] for name, limit in LIMITS.items() if measured[name] > limit} == {}


def test_code_sizes_are_as_committed() -> None:
    """Runtime code is within 0.5 % of the committed size and fits the limit of EIP-170."""
    found = sizes()
    assert found.keys() == COMMITTED["sizes"].keys()
    assert {
        name: size
        for name, size in found.items()
        if abs(size - COMMITTED["sizes"][name]) * 200 > size
    } == {}
    assert max(found.values()) <= CODE_BYTES_MAX


def test_storage_is_laid_out_as_committed() -> None:
    """Tools that read storage find each variable where it was."""
    assert storage() == COMMITTED["storage"]


def test_what_cannot_be_compressed_is_not() -> None:
    """The rollup's measure of size: random bytes cost one more in 32, repetition costs next to
    nothing."""
    noise = random.Random("noise").randbytes(3_200)
    assert 3_290 <= compressed_size(noise) <= 3_300  # three bytes may recur by chance
    assert compressed_size(noise + noise) < 3_350
    assert compressed_size(bytes(3_200)) < 60
    assert EXAMPLE.data_fee(200) == 124_714_400 * (2_269 * 10**9 * 16 + 1_055_762 * 10**7) // 10**12
    assert EXAMPLE.data_fee(0) == EXAMPLE.data_fee(100)
