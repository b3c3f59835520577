"""Phase 2 of a Groth16 setup by several people, with snarkjs (GPL) run as a program of its own.

    init ──▶ 0000.zkey ──▶ contribute (one person after the other) ──▶ beacon ──▶ verify ──▶
    `key_store.import_zkey`

The file that goes from hand to hand is snarkjs' own, so that everyone may use tools of their own
choice. The key is sound if one contributor threw their secret away. Source: eprint 2017/1050;
eprint 2021/219 for why the beacon is a convenience.
"""

import hashlib
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prover.cache import cache_root, cached_folder
from prover.circuit import NODE_MODULES, PUBLIC_SIGNALS, Instance, compile_instance
from prover.keys import Contribution, SetupError
from prover.zkey import Zkey, read_ptau_power, read_zkey

SNARKJS = NODE_MODULES / ".bin" / "snarkjs"
NAME = re.compile(r"[\x20-\x7e]{1,64}")
_BEACON = re.compile(r"(?:[0-9a-fA-F]{2}){32,255}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SAID = re.compile(r"^\[\w+\]\s+snarkJS:\s*")
ITERATIONS_LOG2 = range(10, 33)
"""Everyone who checks the transcript hashes that often: the last takes a few hours."""

PERPETUAL_POWERS_OF_TAU = {
    15: "982372c867d229c236091f767e703253249a9b432c1710b4f326306bfa2428a1"
    "7b06240359606cfe4d580b10a5a1f63fbed499527069c18ae17060472969ae6e",
    19: "bca9d8b04242f175189872c42ceaa21e2951e0f0f272a0cc54fc37193ff66486"
    "00eaf1c555c70cdedfaf9fb74927de7aa1d33dc1e2a7f1a50619484989da0887",
    20: "89a66eb5590a1c94e3f1ee0e72acf49b1669e050bb5f93c73b066b564dca4e0c"
    "7556a52b323178269d64af325d8fdddb33da3a27c34409b821de82aa2bf1a27b",
}
"""Power -> blake2b-512 of powersOfTau28_hez_final_<power>.ptau, as published by the tool's
authors."""

Report = Callable[[str], None]
"""Takes a line of progress; what snarkjs says begins with "snarkjs: "."""


class CeremonyError(SetupError):
    """A step of the ceremony was refused or failed. The message says what to do."""


def required_power(instance: Instance) -> int:
    """Return log2 of the powers of tau that a setup of this circuit needs. Compiles the circuit."""
    return (compile_instance(instance).constraints + len(PUBLIC_SIGNALS)).bit_length()


def check_ptau(instance: Instance, ptau: Path) -> str:
    """Return the blake2b-512 (hex) of a powers-of-tau file that is large enough for the instance.

    Raises SetupError.
    """
    power, needed = read_ptau_power(ptau), required_power(instance)
    if power < needed:
        raise CeremonyError(
            f"{ptau}: 2^{power} powers of tau, but instance {instance.name} takes 2^{needed}"
        )
    with ptau.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b()).hexdigest()


def require_trusted_ptau(ptau: Path, blake2b: str, expected: str | None = None) -> None:
    """Raise CeremonyError unless a powers-of-tau file is published or named by the operator.

    The operator names a file by its hash. Anyone who knows the tau of a file can forge proofs under
    every key that is derived from the file, however many people contributed to the key.
    """
    if expected is not None and expected.removeprefix("0x").lower() != blake2b:
        raise CeremonyError(f"{ptau}: its blake2b-512 is {blake2b}, not the one expected")
    if expected is None and blake2b not in PERPETUAL_POWERS_OF_TAU.values():
        raise CeremonyError(
            f"{ptau}: not one of the published Perpetual Powers of Tau (blake2b-512 "
            f"{blake2b}); if you have checked by other means "
            "that nobody knows its tau, name this hash with --ptau-blake2b"
        )


def initial_key(instance: Instance, ptau: Path, report: Report = lambda _: None) -> Path:
    """Make the key that a ceremony starts from, once for a circuit and powers of tau.

    Circuit and powers of tau alone determine this key. Nobody has contributed to it. Every ceremony
    is checked against it (dev minutes, standard hours).

    Raises CeremonyError, SetupError, CircuitError.
    """
    folder = (
        cache_root()
        / "ceremony"
        / f"{instance.name}-{instance.digest[:16]}-{check_ptau(instance, ptau)[:16]}"
    )

    def build(unfinished: Path) -> None:
        out = unfinished / "0000.zkey"
        report(f"Computing the initial key of instance {instance.name}, once")
        _run("groth16 setup", compile_instance(instance).r1cs, ptau, out, report=report, makes=out)
        read_zkey(out)

    return cached_folder(folder, build) / "0000.zkey"


def init(instance: Instance, ptau: Path, out: Path, report: Report = lambda _: None) -> Zkey:
    """Start a ceremony with a copy of the initial key.

    Raises CeremonyError, SetupError, CircuitError.
    """
    with _new_file(out) as unfinished:
        shutil.copyfile(initial_key(instance, ptau, report), unfinished)
        return _written(unfinished, out, ())


def contribute(
    before: Path, out: Path, name: str, own_entropy: str = "", report: Report = lambda _: None
) -> Zkey:
    """Add one person's secret to `before`.

    The secret is 64 bytes of this machine's randomness, hashed with `own_entropy`. snarkjs mixes it
    with randomness of its own. The secret goes to snarkjs over a pipe, is never written to disk,
    and is gone when the process ends.

    Raises CeremonyError, SetupError.
    """
    if not NAME.fullmatch(name):
        raise CeremonyError(f"name: expected 1 to 64 printable ASCII characters, got {name!r}")
    earlier = read_zkey(before).contributions
    secret = hashlib.blake2b(secrets.token_bytes(64) + own_entropy.encode()).hexdigest()
    with _new_file(out) as unfinished:
        _run(
            "zkey contribute",
            before,
            unfinished,
            f"--name={name}",
            report=report,
            makes=unfinished,
            entropy=secret,
        )
        return _written(unfinished, out, earlier, name)


def beacon(
    before: Path, out: Path, beacon_hash: str, iterations_log2: int, report: Report = lambda _: None
) -> Zkey:
    """Add a contribution that everyone can recompute, from randomness that nobody could foresee
    when the last person contributed.

    Args:
        beacon_hash: 32 bytes or more, hex, such as a block hash or a drand round announced
        beforehand.
        iterations_log2: it is hashed 2^this times; 10 .. 32.

    Raises CeremonyError, SetupError.
    """
    beacon_hash = beacon_hash.removeprefix("0x").lower()
    if not _BEACON.fullmatch(beacon_hash):
        raise CeremonyError(
            "hash: expected at least 64 hex digits, an even number: a block hash or a round "
            "of a randomness beacon"
        )
    if iterations_log2 not in ITERATIONS_LOG2:
        raise CeremonyError(
            f"iterations: expected {ITERATIONS_LOG2.start} to {ITERATIONS_LOG2.stop - 1} (it "
            "is a power of two)"
        )
    earlier = read_zkey(before).contributions
    if not earlier:
        raise CeremonyError(
            f"{before}: a beacon is public: somebody has to contribute a secret first"
        )
    with _new_file(out) as unfinished:
        _run(
            "zkey beacon",
            before,
            unfinished,
            beacon_hash,
            str(iterations_log2),
            "--name=beacon",
            report=report,
            makes=unfinished,
        )
        return _written(unfinished, out, earlier, "beacon")


def verify(instance: Instance, zkey: Path, ptau: Path, report: Report = lambda _: None) -> Zkey:
    """Check every link from the powers of tau and this checkout's circuit to the key.

    The key must be of this circuit, each contribution must build on the one before, and nothing but
    delta may change. The key is compared with this machine's own `initial_key`.

    Raises CeremonyError with snarkjs' reason, SetupError, CircuitError.
    """
    key = read_zkey(zkey)
    for link in key.contributions:
        if link.beacon and link.beacon_iterations_log2 not in ITERATIONS_LOG2:
            raise CeremonyError(
                f"{zkey}: beacon {link.name!r} is hashed 2^{link.beacon_iterations_log2} "
                f"times, expected 2^{ITERATIONS_LOG2.start} "
                f"to 2^{ITERATIONS_LOG2.stop - 1}"
            )
    lines = _run("zkvi", initial_key(instance, ptau, report), ptau, zkey, report=report)
    if not any("ZKey Ok!" in line for line in lines):
        raise CeremonyError(
            f"{zkey}: not a key of this circuit and these powers of tau: {_last(lines)}"
        )
    return key


def require_finished(key: Zkey) -> None:
    """Raise CeremonyError unless somebody has contributed and a beacon ends the transcript."""
    if reason := key.transcript(None).unfinished:
        raise CeremonyError(f"{key.path}: {reason}")


@contextmanager
def _new_file(out: Path) -> Iterator[Path]:
    """Yield a path beside `out` that becomes `out` at the end of the block.

    Half a file never gets the name `out`.
    """
    if out.exists():
        raise CeremonyError(f"{out}: exists already; files of a ceremony are never overwritten")
    if not out.parent.is_dir():
        raise CeremonyError(f"{out.parent}: no such folder")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        unfinished = Path(folder) / "new.zkey"
        yield unfinished
        # Not a rename: a rename would replace a file that another process made in between.
        os.link(unfinished, out)


def _written(
    unfinished: Path, out: Path, earlier: tuple[Contribution, ...], name: str | None = None
) -> Zkey:
    key = read_zkey(unfinished)
    names = [] if name is None else [name]
    if (
        key.contributions[: len(earlier)] != earlier
        or [link.name for link in key.contributions[len(earlier) :]] != names
    ):
        raise CeremonyError(f"{out}: snarkjs did not write what was asked for; check its version")
    return Zkey(**{**vars(key), "path": out})


def _run(
    step: str, *arguments: object, report: Report, makes: Path | None = None, entropy: str = ""
) -> list[str]:
    """Run snarkjs and report each line as it comes. Return the lines.

    Raises CeremonyError if snarkjs fails, or writes no file where it should.
    """
    if not SNARKJS.exists():
        raise CeremonyError("snarkjs is not installed: run `make setup` (it runs `npm install`)")
    command = [str(SNARKJS), *step.split(), *(str(argument) for argument in arguments), "-v"]
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdin is not None  # both are pipes
        assert process.stdout is not None
        try:
            # Its question is answered before it is asked, and never through its arguments, which
            # every user of the machine can see.
            if entropy:
                process.stdin.write(entropy + "\n")
            process.stdin.close()
            for line in process.stdout:
                if text := _COLOUR.sub("", line).strip():
                    lines.append(text)
                    if _SAID.match(text):
                        report(_SAID.sub("snarkjs: ", text))
        except BrokenPipeError:
            pass
        except BaseException:
            process.kill()
            raise
    failed = process.returncode != 0 if makes else process.returncode not in (0, 1)
    if failed or (makes and not makes.exists()):
        raise CeremonyError(f"snarkjs {step} failed: {_last(lines)}")
    return lines


def _last(lines: list[str]) -> str:
    """Return the last line of snarkjs that does not merely report progress."""
    said = [line for line in lines if "[DEBUG]" not in line]
    return _SAID.sub("", said[-1]) if said else "it said nothing"
