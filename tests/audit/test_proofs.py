"""Verifying keys that must not be trusted, and the pool of processes."""

from concurrent.futures.process import BrokenProcessPool

import pytest

from backend.audit import proofs
from backend.audit.auditor import audit
from backend.audit.proofs import key_problems, proofs_hold
from prover.field import Q
from prover.groth16 import dev_key
from prover.statement import challenged, plan_batch
from tests.support.program import DEV, Program, dev_prover

WORDS = dev_key(DEV).verifying_key.to_words()


def changed(**words: int) -> list[int]:
    return [words.get(f"w{i}", word) for i, word in enumerate(WORDS)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (WORDS[:-1], "25 words"),
        (changed(w0=WORDS[0] ^ 1), "alpha: not on the curve"),
        (changed(w2=WORDS[2] ^ 1), "beta: not on the twist"),
        (changed(w15=2**256 - 1), "not below q"),
        (changed(w16=0, w17=0), r"IC\[1\] is the point at infinity"),
        (changed(w10=0, w11=0, w12=0, w13=0), "delta is the point at infinity"),
        (changed(w10=WORDS[6], w11=WORDS[7], w12=WORDS[8], w13=WORDS[9]), "gamma equals delta"),
        (
            changed(w10=WORDS[6], w11=WORDS[7], w12=Q - WORDS[8], w13=Q - WORDS[9]),
            "gamma equals delta or its negative",
        ),
    ],
)
def test_unfit_keys_are_named(words: list[int], said: str) -> None:
    """A key with points that are none, at infinity, or with delta = +-gamma is not one to verify
    with."""
    with pytest.raises(AssertionError, match=said):
        assert key_problems(words, 5) == []


def test_good_key_is_fit() -> None:
    """The development key has no such fault."""
    assert key_problems(WORDS, 5) == []


def test_a_broken_pool_is_made_up_for(
    honest: Program, remembered_proofs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proofs that a dying pool leaves are verified in this process, each once."""

    def broken(words: list[int], groups: dict, workers: int):
        yield 1, [True]
        raise BrokenProcessPool("killed")

    monkeypatch.setattr(proofs, "GROUP", 1)
    monkeypatch.setattr(proofs, "POOL_FROM_GROUPS", 1)
    monkeypatch.setattr(proofs, "_in_processes", broken)
    report = audit(honest.chain.node, honest.address)
    assert report.ok
    assert report.checks["proofs"] == 4


def test_one_false_proof_of_a_group_is_named() -> None:
    """In a group that does not hold as a whole, each proof has its own verdict; a job with several
    candidates needs one that holds."""
    [first, second] = proven(2)
    swapped = (first[0], second[1])
    assert proofs_hold(WORDS, [[first], [second]]) == [True, True]
    assert proofs_hold(WORDS, [[first], [swapped]]) == [True, False]
    assert proofs_hold(WORDS, [[swapped, first], [swapped]]) == [True, False]


def proven(count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(public signals, words of the proof) of different batches."""
    made = []
    for number in range(count):
        statement = challenged(plan_batch(DEV, [], [(number + 1, 7)]), number)
        proof = dev_prover().prove(statement)
        made.append((statement.public_signals, tuple(proof.to_words())))
    return made
