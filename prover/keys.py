"""Proving and verifying keys: their format, their folder and their origin.

A key is stored in a folder: proving_key.bin, verifying_key.json, a ceremony's key.zkey, and
manifest.json, which ties the key to its circuit and origin. A development key is made by one party
on this machine and cached by the digest of the circuit. It must never guard real money, so it is
refused for any chain that is not local.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prover.circuit import Instance

G1 = tuple[int, int]
G2 = tuple[tuple[int, int], tuple[int, int]]

LOCAL_CHAIN_IDS = frozenset({1337, 31337})
"""Chain ids that Anvil, Hardhat and Ganache use for chains on a developer's machine."""


class SetupError(Exception):
    """A key cannot be used as requested. The message says why and what to do."""


def _read_g1(point: Sequence[str]) -> G1:
    return int(point[0]), int(point[1])


def _read_g2(point: Sequence[Sequence[str]]) -> G2:
    return _read_g1(point[0]), _read_g1(point[1])


def _written_g1(point: G1) -> list[str]:
    return [str(point[0]), str(point[1]), "1"]


def _written_g2(point: G2) -> list[list[str]]:
    return [[str(c) for c in point[0]], [str(c) for c in point[1]], ["1", "0"]]


@dataclass(frozen=True)
class VerifyingKey:
    """Groth16 verifying key: G1 points are (x, y), G2 points ((x.c0, x.c1), (y.c0, y.c1))."""

    alpha: G1
    beta: G2
    gamma: G2
    delta: G2
    ic: tuple[G1, ...]

    def __post_init__(self) -> None:
        # If gamma is delta or its negative, anyone can forge a proof for any public signals (an
        # error that real projects have made).
        if self.gamma[0] == self.delta[0]:
            raise SetupError(
                "verifying key: gamma equals delta or its negative, so proofs can be forged; "
                "the setup was not finished"
            )

    @classmethod
    def from_snarkjs(cls, data: dict[str, Any]) -> "VerifyingKey":
        """Read the `verification_key.json` that snarkjs and most tools write.

        Raises SetupError if a field is missing.
        """
        try:
            return cls(
                _read_g1(data["vk_alpha_1"]),
                _read_g2(data["vk_beta_2"]),
                _read_g2(data["vk_gamma_2"]),
                _read_g2(data["vk_delta_2"]),
                tuple(_read_g1(point) for point in data["IC"]),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise SetupError(
                f"verifying key: expected snarkjs' verification_key.json, {error!r}"
            ) from error

    def to_snarkjs(self) -> dict[str, Any]:
        """Inverse of `from_snarkjs`."""
        return {
            "protocol": "groth16",
            "curve": "bn128",
            "nPublic": len(self.ic) - 1,
            "vk_alpha_1": _written_g1(self.alpha),
            "vk_beta_2": _written_g2(self.beta),
            "vk_gamma_2": _written_g2(self.gamma),
            "vk_delta_2": _written_g2(self.delta),
            "IC": [_written_g1(point) for point in self.ic],
        }

    def to_words(self) -> list[int]:
        """The constructor argument of the verifier contract: alpha, beta, gamma, delta, IC.

        Points of G2 are in the order of EIP-197 (c1 before c0).
        """
        words = list(self.alpha)
        for (x0, x1), (y0, y1) in (self.beta, self.gamma, self.delta):
            words += [x1, x0, y1, y0]
        return words + [coordinate for point in self.ic for coordinate in point]

    @classmethod
    def from_words(cls, words: list[int]) -> "VerifyingKey":
        """Inverse of `to_words`."""
        beta, gamma, delta = (
            ((w[1], w[0]), (w[3], w[2])) for w in (words[2:6], words[6:10], words[10:14])
        )
        ic = tuple((words[i], words[i + 1]) for i in range(14, len(words), 2))
        return cls((words[0], words[1]), beta, gamma, delta, ic)

    @property
    def digest(self) -> str:
        """sha256 of `to_words` in hex. The digest identifies the key everywhere."""
        return hashlib.sha256(
            b"".join(word.to_bytes(32, "big") for word in self.to_words())
        ).hexdigest()


@dataclass(frozen=True)
class Contribution:
    """One link of a ceremony's transcript.

    `hash` (blake2b-512, hex) is the value that the contributor publishes. `name` comes from the
    file; the hash does not cover it. `beacon` (hex) is the public randomness of a beacon, and empty
    for a person's contribution.
    """

    name: str
    hash: str
    beacon: str = ""
    beacon_iterations_log2: int = 0


@dataclass(frozen=True)
class Transcript:
    """The transcript that a ceremony's key was checked against.

    `ptau_blake2b` is None if no powers of tau were given, so nothing was checked.
    """

    zkey_sha256: str
    circuit_hash: str
    ptau_blake2b: str | None
    contributions: tuple[Contribution, ...]

    @property
    def unfinished(self) -> str:
        """Return what is missing for a key that nobody can forge proofs under.

        A finished key needs a person's secret and a final beacon. "" if nothing is missing.
        """
        if all(link.beacon for link in self.contributions):
            return "nobody has contributed a secret"
        last = self.contributions[-1]
        return "" if last.beacon else f"the last contribution is {last.name!r}, expected the beacon"


@dataclass(frozen=True)
class Manifest:
    """The origin of a key.

    `origin` is "dev" (one party, this machine), "ceremony" (its transcript was checked against the
    circuit and the powers of tau) or "unchecked" (a ceremony's file that was imported without
    checks).
    """

    instance: str
    circuit_digest: str
    key_digest: str
    proving_key_sha256: str
    origin: str
    transcript: Transcript | None = None

    @property
    def usable_anywhere(self) -> bool:
        """Whether this is the key of a finished ceremony that was checked."""
        return (
            self.origin == "ceremony"
            and self.transcript is not None
            and not self.transcript.unfinished
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Manifest":
        """Inverse of `asdict`.

        Raises TypeError, KeyError for fields that are missing or unknown.
        """
        transcript = data.get("transcript")
        if transcript is not None:
            links = tuple(Contribution(**link) for link in transcript["contributions"])
            transcript = Transcript(**{**transcript, "contributions": links})
        return cls(**{**data, "transcript": transcript})


@dataclass(frozen=True)
class KeyFolder:
    """A key on disk."""

    path: Path

    @property
    def proving_key(self) -> Path:
        return self.path / "proving_key.bin"

    @property
    def zkey(self) -> Path:
        """The ceremony's file. A development key has none."""
        return self.path / "key.zkey"

    @cached_property
    def verifying_key(self) -> VerifyingKey:
        """Raises SetupError."""
        return VerifyingKey.from_snarkjs(self._json("verifying_key.json"))

    @cached_property
    def manifest(self) -> Manifest:
        """Raises SetupError."""
        try:
            return Manifest.from_json(self._json("manifest.json"))
        except (TypeError, KeyError, AttributeError) as error:
            raise SetupError(
                f"{self.path / 'manifest.json'}: not a key's manifest: {error!r}"
            ) from error

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise SetupError(
                f"{self.path}: no key here: {name} cannot be read ({error})"
            ) from error

    def require_made_for(self, instance: Instance) -> None:
        """Raise SetupError unless this is a key of exactly this circuit.

        The files must also be those that the manifest describes.
        """
        if self.manifest.circuit_digest != instance.digest:
            raise SetupError(
                f"{self.path}: the key is for another circuit than the present "
                f"{instance.name}; make or import its own"
            )
        if self.manifest.key_digest != self.verifying_key.digest:
            raise SetupError(
                f"{self.path}: verifying_key.json is not the one that manifest.json describes"
            )
        if self.manifest.proving_key_sha256 != file_sha256(self.proving_key):
            raise SetupError(
                f"{self.path}: proving_key.bin is not the one that manifest.json describes"
            )

    def require_allowed_on(self, chain_id: int, allow_single_party: bool = False) -> None:
        """Raise SetupError if the key is not allowed on the chain.

        Only the key of a checked ceremony is allowed on a chain that is not local, unless
        `allow_single_party`.
        """
        if self.manifest.usable_anywhere or chain_id in LOCAL_CHAIN_IDS or allow_single_party:
            return
        if self.manifest.origin == "ceremony":
            reason = (
                self.manifest.transcript.unfinished
                if self.manifest.transcript
                else "there is no transcript of it"
            )
            raise SetupError(f"{self.path}: its ceremony is not finished: {reason}")
        if self.manifest.origin == "unchecked":
            raise SetupError(
                f"chain {chain_id} is not a local chain: this key's ceremony was never "
                "checked; import it with --ptau, the powers of tau"
            )
        raise SetupError(
            f"chain {chain_id} is not a local chain: a single-party development key must not "
            "guard money there; use a ceremony's key"
        )


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(
    folder: Path, instance: Instance, origin: str, transcript: Transcript | None = None
) -> None:
    """Describe the key files in `folder`, all at once. Raises SetupError if gamma equals delta."""
    key = KeyFolder(folder).verifying_key
    digest = file_sha256(folder / "proving_key.bin")
    manifest = Manifest(instance.name, instance.digest, key.digest, digest, origin, transcript)
    unfinished = folder / f".manifest-{os.getpid()}.json"
    unfinished.write_text(json.dumps(asdict(manifest), indent=2))
    unfinished.replace(folder / "manifest.json")
