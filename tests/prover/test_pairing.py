"""prover/pairing.py, and the agreement of three verifiers: py_ecc, the prover's library,
snarkjs."""

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest
from py_ecc import optimized_bn128 as bn

from prover import pairing
from prover.circuit import NODE_MODULES
from prover.field import P, Q
from prover.groth16 import Groth16Process
from prover.keys import KeyFolder
from prover.pairing import PointError, g1_point, g2_point
from prover.wire import Proof
from prover.witness import wtns_bytes
from tests.prover.forge import Compiler
from tests.prover.mutations import honest

G1 = (1, 2)
G2 = tuple(tuple(int(c) for c in coordinate.coeffs) for coordinate in bn.G2[:2])


def _root(square: int) -> int | None:
    """A square root modulo q, which is 3 modulo 4."""
    root = pow(square, (Q + 1) // 4, Q)
    return root if root * root % Q == square % Q else None


@cache
def twist_point_outside_the_subgroup() -> tuple[tuple[int, int], tuple[int, int]]:
    """A point of the twist that is not of order p: y = u + v*i by u^2 = (a + n) / 2, v = b / 2u,
    for a + b*i = x^3 + b2, n^2 = a^2 + b^2."""
    half = pow(2, -1, Q)
    for k in range(1, 100):
        a, b = (int(c) for c in (bn.FQ2([k, 0]) ** 3 + bn.b2).coeffs)
        norm = _root(a * a + b * b)
        for n in (norm, -norm) if norm is not None else ():
            if u := _root((a + n) * half % Q):
                point = (k, 0), (u, b * half * pow(u, -1, Q) % Q)
                projective = (bn.FQ2(point[0]), bn.FQ2(point[1]), bn.FQ2.one())
                assert bn.is_on_curve(projective, bn.b2)
                if not bn.is_inf(bn.multiply(projective, P)):
                    return point
    raise AssertionError("no point found")


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((Q, 2), "not below q"),
        ((1, Q + 2), "not below q"),
        ((1, 3), "not on the curve"),
        ((0, 1), "not on the curve"),
    ],
)
def test_g1_points_that_are_none_are_refused_by_name(point, message: str) -> None:
    """The error names the point and what is wrong with it."""
    with pytest.raises(PointError, match=f"C: .*{message}"):
        g1_point(point, "C")


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (((Q, 0), (0, 0)), "not below q"),
        (((1, 0), (1, 0)), "not on the twist"),
        ((G2[1], G2[0]), "not on the twist"),
    ],
)
def test_g2_points_that_are_none_are_refused_by_name(point, message: str) -> None:
    """The error names the point and what is wrong with it."""
    with pytest.raises(PointError, match=f"B: .*{message}"):
        g2_point(point, "B")


def test_a_point_outside_the_subgroup_is_refused() -> None:
    """On the twist but not of order p: the check that a curve equation alone does not make."""
    point = twist_point_outside_the_subgroup()
    with pytest.raises(PointError, match="B: not in the subgroup"):
        g2_point(point, "B")


def test_points_are_read_as_eip_197_has_them() -> None:
    """Generators, and zeros for the point at infinity."""
    assert bn.normalize(g1_point(G1, "A")) == bn.normalize(bn.G1)
    assert bn.normalize(g2_point(G2, "B")) == bn.normalize(bn.G2)
    assert bn.is_inf(g1_point((0, 0), "A"))
    assert bn.is_inf(g2_point(((0, 0), (0, 0)), "B"))


@pytest.fixture(scope="module")
def proven(
    small: Compiler, small_process: Groth16Process, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Proof, list[int]]:
    """A proof of the honest small statement and its public signals."""
    witness = small.production.witness(small.loose.values(honest()))
    path = tmp_path_factory.mktemp("proof") / "honest.wtns"
    path.write_bytes(wtns_bytes(b"".join(value.to_bytes(32, "little") for value in witness)))
    return Proof.from_bytes(bytes.fromhex(small_process.request("prove", wtns=str(path)))), witness[
        1:6
    ]


def snarkjs_accepts(key: KeyFolder, proof: Proof, signals: list[int], folder: Path) -> bool:
    """The verdict of `snarkjs groth16 verify`, a process of its own."""
    points = {
        "protocol": "groth16",
        "curve": "bn128",
        "pi_a": [*map(str, proof.a), "1"],
        "pi_c": [*map(str, proof.c), "1"],
        "pi_b": [[str(c) for c in pair] for pair in (*proof.b, (1, 0))],
    }
    files = {
        "key.json": key.verifying_key.to_snarkjs(),
        "public.json": [*map(str, signals)],
        "proof.json": points,
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    run = subprocess.run(
        [NODE_MODULES / ".bin" / "snarkjs", "groth16", "verify", *files],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert ("OK!" in run.stdout) == (run.returncode == 0), run.stdout + run.stderr
    return run.returncode == 0


def test_three_verifiers_agree(
    small_key: KeyFolder,
    small_process: Groth16Process,
    proven: tuple[Proof, list[int]],
    tmp_path: Path,
) -> None:
    """A good proof is good for all; another signal, and a valid point in a wrong place, are bad for
    all."""
    proof, signals = proven
    cases = [
        (proof, signals, True),
        (proof, [*signals[:4], signals[4] ^ 1], False),
        (Proof(proof.c, proof.b, proof.a), signals, False),
        (Proof(proof.a, G2, proof.c), signals, False),
    ]
    for candidate, public, verdict in cases:
        asked = {
            "vk": small_key.verifying_key.to_snarkjs(),
            "proof": candidate.to_bytes().hex(),
            "public": [*map(str, public)],
        }
        assert small_process.request("verify", **asked) is verdict
        assert pairing.verify(small_key.verifying_key, candidate, public) is verdict
        assert snarkjs_accepts(small_key, candidate, public, tmp_path) is verdict


def test_a_b_outside_the_subgroup_is_refused_by_both(
    small_key: KeyFolder, small_process: Groth16Process, proven: tuple[Proof, list[int]]
) -> None:
    """The library checks the subgroup too."""
    proof, signals = proven
    outside = Proof(proof.a, twist_point_outside_the_subgroup(), proof.c)
    asked = {
        "vk": small_key.verifying_key.to_snarkjs(),
        "proof": outside.to_bytes().hex(),
        "public": [*map(str, signals)],
    }
    assert small_process.request("verify", **asked) is False
    assert pairing.verify(small_key.verifying_key, outside, signals) is False


def test_the_wrong_number_of_signals_is_the_callers_mistake(
    small_key: KeyFolder, proven: tuple[Proof, list[int]]
) -> None:
    """An error, not False."""
    proof, signals = proven
    with pytest.raises(ValueError, match="public_signals: expected 5, got 6"):
        pairing.verify(small_key.verifying_key, proof, [*signals, 0])


def test_a_signal_outside_the_field_is_refused(
    small_key: KeyFolder, proven: tuple[Proof, list[int]]
) -> None:
    """x + p and negative numbers, as the precompiles have it."""
    proof, signals = proven
    assert not pairing.verify(small_key.verifying_key, proof, [signals[0] + P, *signals[1:]])
    assert not pairing.verify(small_key.verifying_key, proof, [signals[0] - P, *signals[1:]])


def shifted(point: tuple[int, int], by: tuple[int, int]) -> tuple[int, int]:
    """The sum of two points of G1."""
    found = bn.normalize(bn.add(g1_point(point, "point"), g1_point(by, "by")))
    return int(found[0]), int(found[1])


def test_false_proofs_do_not_cancel_each_other(
    small_key: KeyFolder, proven: tuple[Proof, list[int]]
) -> None:
    """Two false proofs whose errors are each other's inverse: their plain product is 1, the merged
    check with its random weights refuses them."""
    (proof, signals), key = proven, small_key.verifying_key
    up = Proof(proof.a, proof.b, shifted(proof.c, G1))
    down = Proof(proof.a, proof.b, shifted(proof.c, (1, Q - 2)))
    claims = [(up, signals), (down, signals)]
    assert not pairing.verify(key, up, signals)
    assert pairing._merged(key, claims, [1, 1])
    assert not pairing.verify_all(key, claims)


def test_a_merged_check_holds_for_good_proofs_alone(
    small_key: KeyFolder, proven: tuple[Proof, list[int]]
) -> None:
    """One that does not hold, is no point or has a signal outside the field makes all fail; none at
    all holds."""
    (proof, signals), key = proven, small_key.verifying_key
    assert pairing.verify_all(key, [])
    assert pairing.verify_all(key, [proven, proven])
    assert not pairing.verify_all(key, [proven, (proof, [*signals[:4], signals[4] ^ 1])])
    assert not pairing.verify_all(key, [proven, (Proof((1, 3), proof.b, proof.c), signals)])
    assert not pairing.verify_all(key, [proven, (proof, [signals[0] + P, *signals[1:]])])
    with pytest.raises(ValueError, match="public_signals: expected 5, got 4"):
        pairing.verify_all(key, [proven, (proof, signals[:4])])
