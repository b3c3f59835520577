"""Read snarkjs' files of a ceremony without trusting the tool that wrote them.

The files are the `.zkey` of phase 2 and the header of a `.ptau`. Layout: iden3's binary format
(magic, version, sections with a kind and a size); points are affine, little-endian, in Montgomery
form. The transcript of phase 2 follows Bowe, Gabizon, Miers (eprint 2017/1050). Nothing here checks
a transcript: `ceremony.verify` does.
"""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from prover.field import P, Q
from prover.keys import G1, G2, Contribution, SetupError, Transcript, VerifyingKey, file_sha256

GROTH16 = 1
PERSON, BEACON = 0, 1
_OUT_OF_MONTGOMERY = pow(2**256, -1, Q)
_NAME, _ITERATIONS, _BEACON_HASH = 1, 2, 3


@dataclass(frozen=True)
class Zkey:
    """The content of a `.zkey`, as the file states it.

    `circuit_hash` (hex) is snarkjs' hash of the circuit's part of the key.
    """

    path: Path
    domain_size: int
    alpha: G1
    beta: G2
    gamma: G2
    delta: G2
    ic: tuple[G1, ...]
    circuit_hash: str
    contributions: tuple[Contribution, ...]

    @property
    def verifying_key(self) -> VerifyingKey:
        """Raise SetupError until somebody has contributed a secret.

        Until then delta is gamma, or follows from public beacons.
        """
        if all(link.beacon for link in self.contributions):
            raise SetupError(
                f"{self.path}: nobody has contributed a secret to this key, so anyone can "
                "forge proofs under it"
            )
        return VerifyingKey(self.alpha, self.beta, self.gamma, self.delta, self.ic)

    def transcript(self, ptau_blake2b: str | None) -> Transcript:
        """The part of this file that a manifest keeps.

        The file was checked against the powers of tau of that hash, or against nothing if the hash
        is None.
        """
        return Transcript(
            file_sha256(self.path), self.circuit_hash, ptau_blake2b, self.contributions
        )


def read_zkey(path: Path) -> Zkey:
    """Read a ceremony's key, running or finished.

    Raises SetupError for a file that is not a complete Groth16 key over BN254, or whose transcript
    does not end in the key's delta.
    """
    try:
        sections = _sections(path, b"zkey", (1, 2, 3, 10))
        if struct.unpack("<I", sections[1]) != (GROTH16,):
            raise SetupError(f"{path}: a key of another proof system, expected Groth16")
        header, ic, transcript = sections[2], sections[3], sections[10]
        for at, modulus in ((0, Q), (36, P)):
            if header[at : at + 36] != struct.pack("<I", 32) + modulus.to_bytes(32, "little"):
                raise SetupError(
                    f"{path}: a key over another curve, expected BN254 (snarkjs calls it bn128)"
                )
        _, public, domain_size = struct.unpack_from("<III", header, 72)
        contributions, last_delta = _contributions(transcript)
        if contributions and last_delta != _g1(header, 468):
            raise SetupError(
                f"{path}: the last contribution does not lead to this key's delta: the file "
                "was tampered with"
            )
        return Zkey(
            path,
            domain_size,
            _g1(header, 84),
            _g2(header, 212),
            _g2(header, 340),
            _g2(header, 532),
            tuple(_g1(ic, 64 * i) for i in range(public + 1)),
            transcript[:64].hex(),
            contributions,
        )
    except (struct.error, IndexError, KeyError) as error:
        raise SetupError(
            f"{path}: not a complete .zkey file ({error!r}); was the tool that wrote it stopped?"
        ) from error


def read_ptau_power(path: Path) -> int:
    """log2 of the powers in a prepared powers-of-tau file.

    Raises SetupError for any other file.
    """
    try:
        sections = _sections(path, b"ptau", (1,))
        size = struct.unpack_from("<I", sections[1])[0]
        modulus = int.from_bytes(sections[1][4 : 4 + size], "little")
        power: int = struct.unpack_from("<I", sections[1], 4 + size)[0]
    except (struct.error, IndexError, KeyError) as error:
        raise SetupError(f"{path}: not a complete .ptau file ({error!r})") from error
    if modulus != Q:
        raise SetupError(
            f"{path}: powers of tau over another curve, expected BN254 (snarkjs calls it bn128)"
        )
    if 12 not in _sections(path, b"ptau", ()):
        raise SetupError(
            f"{path}: not prepared for phase 2: run `snarkjs powersoftau prepare phase2` on it"
        )
    return power


def _sections(path: Path, magic: bytes, wanted: tuple[int, ...]) -> dict[int, bytes]:
    """Return kind -> bytes of the sections `wanted`; other sections are left empty.

    A kind that occurs twice is refused, because readers differ on which one counts.
    """
    try:
        with path.open("rb") as file:
            found, _, count = struct.unpack("<4sII", file.read(12))
            if found != magic:
                raise SetupError(f"{path}: not a .{magic.decode()} file")
            sections: dict[int, bytes] = {}
            end = path.stat().st_size
            for _ in range(count):
                kind, size = struct.unpack("<IQ", file.read(12))
                if kind in sections or file.tell() + size > end:
                    raise SetupError(f"{path}: section {kind} is cut short or occurs twice")
                sections[kind] = file.read(size) if kind in wanted else b""
                if kind not in wanted:
                    file.seek(size, 1)
            return sections
    except struct.error as error:
        raise SetupError(f"{path}: not a .{magic.decode()} file, or a part of one") from error
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}") from error


def _coordinate(data: bytes, at: int) -> int:
    if at + 32 > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + 32], "little") * _OUT_OF_MONTGOMERY % Q


def _g1(data: bytes, at: int) -> G1:
    return _coordinate(data, at), _coordinate(data, at + 32)


def _g2(data: bytes, at: int) -> G2:
    return _g1(data, at), _g1(data, at + 64)


def _contributions(data: bytes) -> tuple[tuple[Contribution, ...], G1 | None]:
    """The links, and the delta in G1 that the last one leads to."""
    (count,) = struct.unpack_from("<I", data, 64)
    at, contributions, delta = 68, [], None
    for _ in range(count):
        # The delta after it; s and s*x in G1 and sp*x in G2, its proof of knowing x; the hash of
        # the transcript before.
        delta, s, sx, spx = (
            _g1(data, at),
            _g1(data, at + 64),
            _g1(data, at + 128),
            _g2(data, at + 192),
        )
        before = data[at + 320 : at + 384]
        kind, size = struct.unpack_from("<II", data, at + 384)
        parameters = data[at + 392 : at + 392 + size]
        at += 392 + size
        words = [*delta, *s, *sx, *(c for c0, c1 in spx for c in (c1, c0))]
        digest = hashlib.blake2b(
            b"".join(word.to_bytes(32, "big") for word in words) + before
        ).hexdigest()
        contributions.append(_contribution(digest, kind, parameters))
    return tuple(contributions), delta


def _contribution(digest: str, kind: int, parameters: bytes) -> Contribution:
    name, beacon, iterations, at = "", "", 0, 0
    while at < len(parameters):
        tag, value = parameters[at], parameters[at + 1]
        at += 2
        if tag == _ITERATIONS:
            iterations = value
            continue
        content = parameters[at : at + value]
        at += value
        if tag == _NAME:
            name = "".join(c if c.isprintable() else "?" for c in content.decode(errors="replace"))
        elif tag == _BEACON_HASH:
            beacon = content.hex()
    if kind not in (PERSON, BEACON) or (kind == BEACON) != bool(beacon):
        # A beacon without randomness would count as a person, whose secret nobody knows.
        raise SetupError(
            f"contribution {name!r}: of kind {kind}, {'with' if beacon else 'without'} a "
            "beacon's randomness"
        )
    return Contribution(name, digest, beacon, iterations)
