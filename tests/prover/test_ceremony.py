"""prover/ceremony.py and zkey.py: a ceremony of three people, and every way of cheating in one that
we could think of.

The initial keys and the powers of tau are kept in the user's cache folder.
"""

import struct
from pathlib import Path

import pytest

from backend.chain.artifacts import artifact
from backend.chain.deploy import Deployer, deployed_key
from backend.signer.keystore import KeystoreSigner
from prover import ceremony, key_store
from prover.ceremony import CeremonyError
from prover.circuit import Instance, compile_instance
from prover.groth16 import Prover
from prover.keys import KeyFolder, SetupError
from prover.statement import Challenged, challenged, plan_batch
from prover.zkey import read_ptau_power, read_zkey
from scripts.rehearsal_ptau import rehearsal_ptau
from tests.prover.mutations import INSTANCE, ITEMS, OLD, R
from tests.prover.rehearsal import BEACON, DEV, PEOPLE, flip, held, section, spoiled, swap_points
from tests.support.anvil import anvil

# -- Cheating
# --------------------------------------------------------------------------------------------------


def change_coefficient(data: bytearray) -> None:
    start, _ = section(data, 4)
    data[start + 4 + 12] ^= 1


def header_delta_of_nobody(data: bytearray) -> None:
    """Delta in G2 becomes gamma: with that anyone could forge."""
    start, _ = section(data, 2)
    data[start + 532 : start + 660] = data[start + 340 : start + 468]


FIRST_LINK = 68
CHEATS = {
    "the circuit's coefficients": change_coefficient,
    "IC: how public signals count": swap_points(3, 64),
    "A": swap_points(5, 64),
    "B in G1": swap_points(6, 64),
    "B in G2": swap_points(7, 128),
    "L, which delta divides": swap_points(8, 64),
    "H, which delta divides": swap_points(9, 64),
    "the circuit's hash": flip(10, 0),
    "a proof of knowing the secret": flip(10, FIRST_LINK + 320),
    "the beacon's randomness": lambda data: data.__setitem__(
        section(data, 10)[0] + section(data, 10)[1] - 1, 7
    ),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_spoiled_key_is_caught(
    small_files: list[Path], ptau: Path, tmp_path: Path, name: str
) -> None:
    """Whatever part of the key one party exchanges for a better one of its own, the transcript does
    not lead there."""
    bad = spoiled(small_files[-1], tmp_path / "bad.zkey", CHEATS[name])
    with pytest.raises(
        SetupError, match=r"not a key of this circuit and these powers of tau|snarkjs zkvi failed"
    ):
        ceremony.verify(INSTANCE, bad, ptau)


def test_a_key_whose_delta_is_gamma_is_refused_before_anything_else(
    final: Path, tmp_path: Path
) -> None:
    """Without the powers of tau too."""
    bad = spoiled(final, tmp_path / "bad.zkey", header_delta_of_nobody)
    with pytest.raises(SetupError, match="gamma equals delta"):
        key_store.import_zkey(INSTANCE, bad, out=tmp_path / "key")
    assert not (tmp_path / "key").exists()


def test_a_person_left_out_is_caught(small_files: list[Path], ptau: Path, tmp_path: Path) -> None:
    """Bob's link cut out of the transcript; Ann's key with the transcript of all; Ann's file passed
    off as the final one."""

    def without_bob(data: bytearray) -> None:
        start, _ = section(data, 10)
        at, links = start + FIRST_LINK, []
        for _ in range(4):
            size = 392 + struct.unpack_from("<I", data, at + 388)[0]
            links.append(bytes(data[at : at + size]))
            at += size
        rest = b"".join([links[0], links[2], links[3]])
        data[start + 64 : at] = struct.pack("<I", 3) + rest
        struct.pack_into("<Q", data, start - 8, FIRST_LINK + len(rest))

    bad = spoiled(small_files[-1], tmp_path / "bad.zkey", without_bob)
    assert [link.name for link in read_zkey(bad).contributions] == ["Ann", "Cyd", "beacon"]
    with pytest.raises(CeremonyError, match="Inconsistent transcript"):
        ceremony.verify(INSTANCE, bad, ptau)
    mixed = bytearray(small_files[1].read_bytes())
    start, size = section(mixed, 10)
    all_of_them = small_files[-1].read_bytes()
    their_start, their_size = section(all_of_them, 10)
    mixed[start - 8 : start + size] = all_of_them[their_start - 8 : their_start + their_size]
    (tmp_path / "mixed.zkey").write_bytes(mixed)
    with pytest.raises(SetupError, match="does not lead to this key's delta"):
        read_zkey(tmp_path / "mixed.zkey")
    with pytest.raises(CeremonyError, match="'Ann', expected the beacon"):
        ceremony.require_finished(read_zkey(small_files[1]))


def test_a_tampered_contribution_spoils_what_is_built_on_it(
    small_files: list[Path], ptau: Path, tmp_path: Path
) -> None:
    """Bob hands on a file with points of his own; Cyd contributes to it in good faith; the check of
    her file finds it."""
    bobs = spoiled(small_files[2], tmp_path / "bob.zkey", swap_points(8, 64))
    ceremony.contribute(bobs, tmp_path / "cyd.zkey", "Cyd")
    with pytest.raises(CeremonyError, match="L section does not match"):
        ceremony.verify(INSTANCE, tmp_path / "cyd.zkey", ptau)
    ceremony.beacon(tmp_path / "cyd.zkey", tmp_path / "final.zkey", BEACON, 10)
    blake2b = ceremony.check_ptau(INSTANCE, ptau)
    with pytest.raises(CeremonyError, match="L section does not match"):
        key_store.import_zkey(
            INSTANCE, tmp_path / "final.zkey", ptau, ptau_blake2b=blake2b, out=tmp_path / "key"
        )


@pytest.mark.parametrize("keep", [0, 3, 12, 100, 5000, -1])
def test_a_file_cut_short_is_refused(final: Path, tmp_path: Path, keep: int) -> None:
    """As a stopped download leaves it."""
    (tmp_path / "cut.zkey").write_bytes(final.read_bytes()[:keep])
    with pytest.raises(SetupError, match=r"cut\.zkey"):
        read_zkey(tmp_path / "cut.zkey")


def test_files_of_another_kind_are_refused(final: Path, ptau: Path, tmp_path: Path) -> None:
    """Each error names the file and what was expected."""
    with pytest.raises(SetupError, match=r"not a \.zkey file"):
        read_zkey(ptau)
    with pytest.raises(SetupError, match=r"not a \.ptau file"):
        read_ptau_power(final)
    with pytest.raises(SetupError, match="cannot be read"):
        read_zkey(tmp_path / "none.zkey")
    unprepared = spoiled(
        ptau,
        tmp_path / "raw.ptau",
        lambda data: struct.pack_into("<I", data, section(data, 12)[0] - 12, 99),
    )
    with pytest.raises(SetupError, match="not prepared for phase 2"):
        ceremony.check_ptau(INSTANCE, unprepared)


def test_the_initial_key_and_powers_that_do_not_fit_are_refused(
    small_files: list[Path], ptau: Path, tmp_path: Path
) -> None:
    """A key that nobody contributed to, too few powers, a key of another circuit, powers whose tau
    somebody may know."""
    with pytest.raises(SetupError, match="nobody has contributed"):
        key_store.import_zkey(INSTANCE, small_files[0], out=tmp_path / "key")
    with pytest.raises(CeremonyError, match=r"2\^12 powers of tau, but instance dev takes 2\^15"):
        ceremony.init(DEV, ptau, tmp_path / "0000.zkey")
    with pytest.raises(SetupError, match="a circuit of domain 4096, instance dev has 32768"):
        key_store.import_zkey(DEV, small_files[-1], out=tmp_path / "key")
    with pytest.raises(CeremonyError, match="not one of the published Perpetual Powers of Tau"):
        key_store.import_zkey(INSTANCE, small_files[-1], ptau, out=tmp_path / "key")
    with pytest.raises(CeremonyError, match="not the one expected"):
        key_store.import_zkey(
            INSTANCE, small_files[-1], ptau, ptau_blake2b="00" * 64, out=tmp_path / "key"
        )
    assert not any(tmp_path.glob("key*/*"))


# -- The steps
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "x" * 65, "two\nlines", "\x1b[31m"])
def test_a_name_that_garbles_the_transcript_is_refused(
    small_files: list[Path], tmp_path: Path, name: str
) -> None:
    """Names are printed on other people's terminals."""
    with pytest.raises(CeremonyError, match="name: expected"):
        ceremony.contribute(small_files[0], tmp_path / "out.zkey", name)


@pytest.mark.parametrize(
    ("text", "iterations"),
    [("", 10), ("ab" * 31, 10), ("0x" + "g" * 64, 10), (BEACON, 9), (BEACON, 33)],
)
def test_a_beacon_that_is_none_is_refused(
    small_files: list[Path], tmp_path: Path, text: str, iterations: int
) -> None:
    """Too short, no hex, too few or too many iterations."""
    with pytest.raises(CeremonyError, match="expected"):
        ceremony.beacon(small_files[3], tmp_path / "out.zkey", text, iterations)


def test_a_beacon_alone_makes_no_key(small_files: list[Path], tmp_path: Path) -> None:
    """Everyone knows a beacon."""
    with pytest.raises(CeremonyError, match="somebody has to contribute a secret first"):
        ceremony.beacon(small_files[0], tmp_path / "out.zkey", BEACON, 10)


def test_no_step_overwrites_or_leaves_half_a_file(
    small_files: list[Path], ptau: Path, tmp_path: Path
) -> None:
    """An existing file stays as it is; a step that fails leaves nothing under the name."""
    taken = tmp_path / "taken.zkey"
    taken.write_text("mine")
    for step in (
        lambda: ceremony.contribute(small_files[0], taken, "Eve"),
        lambda: ceremony.beacon(small_files[3], taken, BEACON, 10),
        lambda: ceremony.init(INSTANCE, ptau, taken),
    ):
        with pytest.raises(CeremonyError, match="never overwritten"):
            step()
    assert taken.read_text() == "mine"
    broken = spoiled(
        small_files[1],
        tmp_path / "broken.zkey",
        lambda data: struct.pack_into("<I", data, section(data, 8)[0] - 12, 77),
    )
    with pytest.raises(CeremonyError, match="snarkjs zkey contribute failed"):
        ceremony.contribute(broken, tmp_path / "out.zkey", "Eve")
    assert {path.name for path in tmp_path.iterdir()} == {"taken.zkey", "broken.zkey"}


def test_the_secret_is_neither_argument_nor_output(
    small_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for snarkjs writes down its arguments, environment and input: the secret comes
    over the pipe alone, new each time."""
    seen = tmp_path / "seen"
    tool = tmp_path / "snarkjs"
    tool.write_text(
        f'#!/bin/sh\nread -r secret\necho "$secret" >> {seen}.secret\necho "$*" >> '
        f"{seen}.open\nenv >> {seen}.open\nexit 1\n"
    )
    tool.chmod(0o755)
    monkeypatch.setattr(ceremony, "SNARKJS", tool)
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(CeremonyError) as error:
            ceremony.contribute(
                small_files[0], tmp_path / "out.zkey", "Ann", "own typing", said.append
            )
        said.append(str(error.value))
    secrets = (tmp_path / "seen.secret").read_text().split()
    assert len(set(secrets)) == 2
    assert all(len(bytes.fromhex(secret)) == 64 for secret in secrets)
    spread = (tmp_path / "seen.open").read_text() + "".join(said)
    assert not any(secret in spread for secret in secrets)
    assert "own typing" not in spread


# -- Whole ceremonies
# --------------------------------------------------------------------------------------------------


def require_proofs_on_chain(instance: Instance, key: KeyFolder, statement: Challenged) -> None:
    """A verifier with this key on a real chain accepts a proof of the statement, and no other."""
    prover = Prover(compile_instance(instance), key)
    try:
        proof = prover.prove(statement)
    finally:
        prover.close()
    with anvil() as chain:
        address, _ = Deployer(chain.node, KeystoreSigner(chain.key(0))).create(
            "Groth16Verifier", key.verifying_key.to_words()
        )
        assert deployed_key(chain.node, address) == key.verifying_key
        verify = chain.w3.eth.contract(
            address, abi=artifact("Groth16Verifier").abi
        ).functions.verify
        signals = list(statement.public_signals)
        assert verify(proof.to_words(), signals).call()
        assert not verify(proof.to_words(), [*signals[:4], signals[4] + 1]).call()


def test_three_people_make_a_key_whose_proofs_the_deployed_verifier_accepts(
    small_ceremony_key: KeyFolder,
) -> None:
    """Three contributions, a beacon, the imported key, a proof, and a verifier on a real chain that
    takes it and no other."""
    links = small_ceremony_key.manifest.transcript.contributions
    assert [link.name for link in links] == [*PEOPLE, "beacon"]
    statement = challenged(plan_batch(INSTANCE, OLD, ITEMS), R)
    require_proofs_on_chain(INSTANCE, small_ceremony_key, statement)


@pytest.mark.soak
def test_three_people_make_a_key_of_the_dev_instance(tmp_path: Path) -> None:
    """The same at the size of the dev instance, with snarkjs for minutes; and a file that one party
    tampered with is caught."""
    ptau = rehearsal_ptau(ceremony.required_power(DEV))
    files = held(tmp_path, DEV, ptau)
    key = key_store.import_zkey(
        DEV, files[-1], ptau, ptau_blake2b=ceremony.check_ptau(DEV, ptau), out=tmp_path / "key"
    )
    assert [link.name for link in key.manifest.transcript.contributions] == [*PEOPLE, "beacon"]
    require_proofs_on_chain(DEV, key, challenged(plan_batch(DEV, OLD, ITEMS), R))
    bad = spoiled(files[-1], tmp_path / "bad.zkey", swap_points(8, 64))
    with pytest.raises(CeremonyError, match="L section does not match"):
        ceremony.verify(DEV, bad, ptau)
