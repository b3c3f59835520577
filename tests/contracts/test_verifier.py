"""Groth16Verifier: which keys it refuses to be deployed with, and what it takes for a proof."""

import json
from pathlib import Path
from typing import Any

import pytest
from ape import networks
from eth_abi import encode
from web3 import Web3
from web3.exceptions import ContractLogicError

from prover import pairing
from prover.field import P, Q
from prover.keys import KeyFolder, VerifyingKey
from prover.statement import challenged, plan_batch
from prover.wire import Proof
from tests.contracts.program import DEV, ProofCache
from tests.contracts.refusal import decode_error

ARTIFACT = json.loads(
    (Path(__file__).parents[2] / "build" / "contracts" / "Groth16Verifier.json").read_text()
)
POINTS = [0, 2, 6, 10, *range(14, 26, 2)]
"""Where each point of the key starts."""


@pytest.fixture(scope="module")
def words(dev_folder: KeyFolder) -> list[int]:
    return dev_folder.verifying_key.to_words()


@pytest.fixture(scope="module")
def proven(proofs: ProofCache) -> tuple[list[int], list[int]]:
    """(proof words, public signals) of a true statement."""
    statement = plan_batch(DEV, [], [(7, 100), (8, 200)])
    r = 0x1234567
    return proofs.prove(statement, r).to_words(), list(challenged(statement, r).public_signals)


def _deployment_error(verifier: Any, words: list[int]) -> tuple[Any, ...]:
    web3: Web3 = networks.provider.web3
    try:
        web3.eth.call({"data": ARTIFACT["bytecode"] + encode(["uint256[26]"], [words]).hex()})
    except ContractLogicError as error:
        return decode_error(verifier, bytes.fromhex(str(error.data).removeprefix("0x")))
    raise AssertionError("the deployment went through")


def test_gamma_that_is_delta_is_refused(verifier: Any, words: list[int]) -> None:
    """A key with gamma = delta, or gamma = -delta, with either of which proofs can be forged, is
    never deployed."""
    same = [*words[:6], *words[10:14], *words[10:]]
    assert _deployment_error(verifier, same) == ("GammaEqualsDelta",)
    x1, x0, y1, y0 = words[10:14]
    opposite = [*words[:6], x1, x0, Q - y1, Q - y0, *words[10:]]
    assert _deployment_error(verifier, opposite) == ("GammaEqualsDelta",)


def test_points_off_their_group_are_refused(verifier: Any, words: list[int]) -> None:
    """A key with any point off its curve, with a coordinate not below q, or at infinity, is never
    deployed."""
    for index in POINTS:
        size = 4 if index in (2, 6, 10) else 2
        for bent in (
            [words[index] ^ 1, *words[index + 1 : index + size]],
            [words[index] + Q, *words[index + 1 : index + size]],
            [0] * size,
        ):
            key = [*words[:index], *bent, *words[index + size :]]
            assert _deployment_error(verifier, key) == ("InvalidPoint", index)


def test_bent_proofs_and_signals_are_not_taken(
    verifier: Any, proven: tuple[list[int], list[int]]
) -> None:
    """Each public signal and each coordinate counts; what is not below p or q is refused though
    congruent to the truth."""
    proof, signals = proven
    assert verifier.verify(proof, signals)
    for i in range(5):
        assert not verifier.verify(proof, [*signals[:i], (signals[i] + 1) % P, *signals[i + 1 :]])
        assert not verifier.verify(proof, [*signals[:i], signals[i] + P, *signals[i + 1 :]])
    for i in range(8):
        for value in (proof[i] ^ 1, proof[i] + Q, 0):
            assert not verifier.verify([*proof[:i], value, *proof[i + 1 :]], signals)
    assert not verifier.verify([0] * 8, signals)
    assert not verifier.verify(
        [*proof[:2], proof[3], proof[2], proof[5], proof[4], *proof[6:]], signals
    )


def test_agrees_with_an_independent_verification(
    verifier: Any, dev_folder: KeyFolder, proven: tuple[list[int], list[int]]
) -> None:
    """The contract and py_ecc agree on a proof, on its other forms and on a false one."""
    proof, signals = proven
    negated = [proof[0], Q - proof[1], proof[2], proof[3], Q - proof[4], Q - proof[5], *proof[6:]]
    false = [proof[0], Q - proof[1], *proof[2:]]
    for words, truth in ((proof, True), (negated, True), (false, False)):
        assert verifier.verify(words, signals) is truth
        assert pairing.verify(dev_folder.verifying_key, Proof.from_words(words), signals) is truth


def test_the_key_can_be_read_from_the_code(verifier: Any, dev_folder: KeyFolder) -> None:
    """The immutables in deployed code, by their places in the artifact, are the key; all the rest
    is as compiled."""
    code = bytes(networks.provider.web3.eth.get_code(verifier.address))
    blank = bytearray(code)
    words = []
    for places in ARTIFACT["immutables"].values():
        values = {
            int.from_bytes(code[p["start"] : p["start"] + p["length"]], "big") for p in places
        }
        assert len(values) == 1
        words.append(values.pop())
        for place in places:
            blank[place["start"] : place["start"] + place["length"]] = bytes(place["length"])
    assert bytes(blank) == bytes.fromhex(ARTIFACT["deployedBytecode"][2:])
    assert VerifyingKey.from_words(words) == dev_folder.verifying_key
