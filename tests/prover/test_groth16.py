"""prover/groth16.py and its process: proofs of the dev instance, crashes, and concurrent setups."""

import json
import multiprocessing
import os
import signal
import stat
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from prover import groth16, pairing
from prover.circuit import load_instance
from prover.field import P, Q
from prover.groth16 import Groth16Error, Groth16Process, Prover, dev_key
from prover.keys import KeyFolder, SetupError
from prover.statement import BatchStatement, Challenged, Pair, challenged, plan_batch
from prover.wire import Proof
from prover.witness import WitnessError, wtns_bytes
from tests.prover.forge import Compiler
from tests.prover.mutations import INSTANCE, MALLORY, with_pairs
from tests.prover.test_vectors import load, pairs

DEV = load_instance("dev")
BATCH = load("batch_dev.json")["batches"][2]
R = int(BATCH["r"], 16)
FULL = plan_batch(DEV, pairs(BATCH["old"]), pairs(BATCH["items"]))
"""Every slot and every item in use: the third batch of the vectors."""


@pytest.fixture(scope="module")
def statement() -> Challenged:
    return challenged(FULL, R)


@pytest.fixture(scope="module")
def proof(dev_prover: Prover, statement: Challenged) -> Proof:
    """A real proof of the full batch."""
    return dev_prover.prove(statement)


def verdicts(prover: Prover, proof: Proof, signals: tuple[int, ...]) -> tuple[bool, bool]:
    """(the library's, py_ecc's)"""
    return prover.verify(proof, signals), pairing.verify(prover.key.verifying_key, proof, signals)


# -- Refusals
# --------------------------------------------------------------------------------------------------


def _items(*changes: tuple[int, Pair]) -> BatchStatement:
    return replace(FULL, items=with_pairs(FULL.items, *changes))


def _new(*changes: tuple[int, Pair]) -> BatchStatement:
    return replace(FULL, new=with_pairs(FULL.new, *changes))


def _shifted(slot: int, by: int) -> tuple[int, Pair]:
    return slot, (FULL.new[slot][0], FULL.new[slot][1] + by)


FORGERIES = {
    "wrong amount": _items((0, (FULL.items[0][0], FULL.items[0][1] + 1))),
    "wrong address": _items((0, (MALLORY, FULL.items[0][1]))),
    "changed address of an open slot": _new((0, (MALLORY, FULL.new[0][1]))),
    "address of an open slot removed": _new((0, (0, FULL.new[0][1]))),
    "item left out": _items((31, (0, 0))),
    "item twice": _items((31, FULL.items[30])),
    "reward moved between accounts": _new(_shifted(3, 5), _shifted(4, -5)),
    "reward from nothing": _new(_shifted(0, 10**18)),
    "all rewards kept back": replace(
        FULL,
        new=with_pairs(FULL.old, *((s, (FULL.new[s][0], 0)) for s in range(len(FULL.old), 32))),
    ),
    "newcomer exchanged": _new((31, (MALLORY, FULL.new[31][1]))),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_proof_of_a_forged_full_batch(
    dev: Compiler, dev_prover: Prover, tmp_path: Path, name: str
) -> None:
    """A batch that does not follow from its items: the witness program stops, the production
    constraints refuse the forged witness, and a proof made from it all the same convinces
    nobody."""
    forged = challenged(FORGERIES[name], R)
    with pytest.raises(WitnessError, match="do not satisfy"):
        dev_prover.prove(forged)

    witness = dev.production.witness(dev.loose.values(forged.circuit_inputs()))
    assert dev.production.r1cs.failing(witness)

    path = tmp_path / "forged.wtns"
    path.write_bytes(wtns_bytes(b"".join(value.to_bytes(32, "little") for value in witness)))
    dev_prover.load()
    made = Proof.from_bytes(bytes.fromhex(dev_prover._process.request("prove", wtns=str(path))))
    assert not dev_prover.verify(made, forged.public_signals)


@pytest.mark.parametrize(
    "index", range(5), ids=["oldRoot", "newRoot", "itemsRoot", "r", "fingerprint"]
)
def test_a_proof_holds_for_its_own_signals_only(
    dev_prover: Prover, proof: Proof, statement: Challenged, index: int
) -> None:
    """Each public signal changed: both verifiers refuse."""
    signals = list(statement.public_signals)
    signals[index] = (signals[index] + 1) % P
    assert verdicts(dev_prover, proof, tuple(signals)) == (False, False)


def test_signals_in_another_order_are_refused(
    dev_prover: Prover, proof: Proof, statement: Challenged
) -> None:
    """Old and new root exchanged."""
    old, new, *rest = statement.public_signals
    assert verdicts(dev_prover, proof, (new, old, *rest)) == (False, False)


@pytest.mark.parametrize("index", range(5))
def test_a_signal_is_not_its_representative_plus_p(
    dev_prover: Prover, proof: Proof, statement: Challenged, index: int
) -> None:
    """x + p stands for x in the field and is refused: one statement, one encoding."""
    signals = list(statement.public_signals)
    signals[index] += P
    assert verdicts(dev_prover, proof, tuple(signals)) == (False, False)


@pytest.mark.parametrize("word", range(8))
def test_a_changed_word_of_the_proof_is_refused(
    dev_prover: Prover, proof: Proof, statement: Challenged, word: int
) -> None:
    """One coordinate off by one is no point, the same coordinate plus q no coordinate."""
    for shift in (1, Q):
        words = proof.to_words()
        words[word] += shift
        assert verdicts(dev_prover, Proof.from_words(words), statement.public_signals) == (
            False,
            False,
        )


@pytest.mark.parametrize(
    "words", [[0] * 8, [1, 2] + [0] * 6, [2**256 - 1] * 8], ids=["infinity", "half", "all ones"]
)
def test_points_that_are_none_are_refused(
    dev_prover: Prover, statement: Challenged, words: list[int]
) -> None:
    """Both verifiers say no; neither raises."""
    assert verdicts(dev_prover, Proof.from_words(words), statement.public_signals) == (False, False)


def test_exchanged_points_are_refused(
    dev_prover: Prover, proof: Proof, statement: Challenged
) -> None:
    """Points of the right groups in the wrong places."""
    assert verdicts(dev_prover, replace(proof, a=proof.c, c=proof.a), statement.public_signals) == (
        False,
        False,
    )


def test_a_proof_under_another_key_is_refused(
    dev_prover: Prover, small_key: KeyFolder, proof: Proof, statement: Challenged
) -> None:
    """The small instance's key has the same number of signals, and accepts nothing of dev's."""
    assert not groth16.verify(small_key.verifying_key, proof, statement.public_signals)
    assert not pairing.verify(small_key.verifying_key, proof, statement.public_signals)


def test_the_wrong_number_of_signals_is_the_callers_mistake(
    dev_prover: Prover, proof: Proof, statement: Challenged
) -> None:
    """An error, not False: no proof was judged."""
    with pytest.raises(Groth16Error, match="expected 5 public inputs, got 4"):
        dev_prover.verify(proof, statement.public_signals[:4])


def test_a_prover_refuses_the_key_of_another_circuit(
    dev_prover: Prover, small_key: KeyFolder
) -> None:
    """Found when the prover is made, not when the chain rejects its proofs."""
    with pytest.raises(SetupError, match="the key is for another circuit"):
        Prover(dev_prover.circuit, small_key)


# -- What holds
# --------------------------------------------------------------------------------------------------


def test_a_full_batch_is_proven_and_both_verifiers_accept(
    dev_prover: Prover, proof: Proof, statement: Challenged
) -> None:
    """32 slots, 32 items, the public signals of the shared vectors."""
    assert [*statement.public_signals] == [int(signal, 16) for signal in BATCH["publicSignals"]]
    assert verdicts(dev_prover, proof, statement.public_signals) == (True, True)
    assert groth16.verify(dev_prover.key.verifying_key, proof, statement.public_signals)


def test_proofs_are_malleable(dev_prover: Prover, proof: Proof, statement: Challenged) -> None:
    """(-A, -B, C) is another proof of the same statement: a proof is never an identifier."""
    (bx, by) = proof.b
    negated = Proof((proof.a[0], Q - proof.a[1]), (bx, (Q - by[0], Q - by[1])), proof.c)
    assert negated != proof
    assert verdicts(dev_prover, negated, statement.public_signals) == (True, True)


# -- The process
# --------------------------------------------------------------------------------------------------


def test_a_failed_request_is_an_error_and_the_process_goes_on(
    small_key: KeyFolder, tmp_path: Path
) -> None:
    """Unknown actions, missing files and garbage name the request; the same process answers the
    next one."""
    (tmp_path / "garbage").write_bytes(b"garbage")
    with Groth16Process() as process:
        for do, fields in (
            ("guess", {}),
            ("load", {"pk": str(tmp_path / "missing")}),
            ("load", {"pk": str(tmp_path / "garbage")}),
            (
                "setup",
                {
                    "r1cs": str(tmp_path / "garbage"),
                    "pk": str(tmp_path / "p"),
                    "vk": str(tmp_path / "v"),
                },
            ),
            ("prove", {"wtns": str(tmp_path / "missing")}),
        ):
            with pytest.raises(Groth16Error, match=f"^{do}: "):
                process.request(do, **fields)
        first = process._process
        assert process.request("load", pk=str(small_key.proving_key))
        assert process._process is first


def test_a_killed_process_is_an_error_and_the_next_proof_works(
    dev_prover: Prover, statement: Challenged
) -> None:
    """SIGKILL in the middle of a request: that request fails, the next starts a process, loads the
    key again and proves."""
    dev_prover.load()
    victim = dev_prover._process._process
    os.kill(victim.pid, signal.SIGSTOP)  # It takes the request and cannot answer.

    def kill_once_asked() -> None:
        while not dev_prover._process._lock.locked():
            time.sleep(0.01)
        victim.kill()

    killer = threading.Thread(target=kill_once_asked)
    killer.start()
    with pytest.raises(Groth16Error, match="the Groth16 process ended"):
        dev_prover.prove(statement)
    killer.join()
    assert victim.poll() == -signal.SIGKILL
    proof = dev_prover.prove(statement)
    assert dev_prover._process._process.pid != victim.pid
    assert dev_prover.verify(proof, statement.public_signals)


def test_a_process_that_dies_between_requests_is_replaced(
    dev_prover: Prover, statement: Challenged
) -> None:
    """Nobody notices but the process table."""
    dev_prover.load()
    victim = dev_prover._process._process
    victim.kill()
    victim.wait()
    assert dev_prover.verify(dev_prover.prove(statement), statement.public_signals)


def test_half_an_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it writes leaves half a line, which is no answer."""
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nread request\nprintf '{\"ok\": tr'\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(fake))
    with (
        Groth16Process() as process,
        pytest.raises(Groth16Error, match="load: the Groth16 process ended"),
    ):
        process.request("load", pk="x")


def test_a_process_that_does_not_answer_in_time_is_ended() -> None:
    """It takes longer than that to start; the next request meets a new one."""
    with Groth16Process(seconds_max=0) as process:
        with pytest.raises(
            Groth16Error, match=r"usage: the Groth16 process ended .* 0 s were over"
        ):
            process.request("usage")
        assert not process.is_running(process.running)


def test_an_answer_that_nobody_read_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is broken off between question and answer: the next one gets its own answer."""
    with Groth16Process() as process:
        process.request("usage")

        def broken_off() -> str:
            raise KeyboardInterrupt

        monkeypatch.setattr(process.running.stdout, "readline", broken_off)
        with pytest.raises(KeyboardInterrupt):
            process.request("usage")
        with pytest.raises(Groth16Error, match="load: "):
            process.request("load", pk="/nowhere")


def test_closing_ends_the_process() -> None:
    """No process outlives its owner's `with`."""
    with Groth16Process() as process:
        with pytest.raises(Groth16Error):
            process.request("guess")
        started = process._process
    assert started.poll() is not None


# -- Development keys
# --------------------------------------------------------------------------------------------------


def _digest_of_dev_key(results) -> None:
    results.put(dev_key(INSTANCE).verifying_key.digest)


def test_concurrent_setups_give_one_key_and_no_two_caches_the_same(
    cache: Path, small_key: KeyFolder
) -> None:
    """Two processes that both find no key end with one; another setup of the same circuit has
    another: the trapdoor is drawn, not derived."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_digest_of_dev_key, args=(results,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    digests = {results.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    key = dev_key(INSTANCE)
    assert digests == {key.verifying_key.digest}
    assert key.manifest.circuit_digest == small_key.manifest.circuit_digest
    assert key.verifying_key.digest != small_key.verifying_key.digest


def test_a_development_key_says_so(dev_prover: Prover) -> None:
    """Made here, for local chains only, gamma apart from delta."""
    assert dev_prover.key.manifest.origin == "dev"
    assert (
        json.loads((dev_prover.key.path / "manifest.json").read_text())["circuit_digest"]
        == DEV.digest
    )
    assert dev_prover.key.verifying_key.gamma != dev_prover.key.verifying_key.delta
    with pytest.raises(SetupError, match="not a local chain"):
        dev_prover.key.require_allowed_on(1)
