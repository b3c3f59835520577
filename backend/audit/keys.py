"""Which verifying key a program is expected to have: given by whoever audits, or known on this
machine."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from backend.errors import Invalid
from prover import key_store
from prover.circuit import instances
from prover.keys import LOCAL_CHAIN_IDS, Manifest, SetupError, VerifyingKey

_DIGEST = re.compile(r"(0x)?[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class ExpectedKey:
    """A key that a program may have, and where it is from. Without a manifest whoever audits
    vouches for it: for its ceremony, its circuit and the circuit's size."""

    origin: str
    manifest: Manifest | None = None

    def problems(self, chain_id: int, levels: int) -> list[tuple[str, str]]:
        """(code, message) of everything that makes it unfit for a program of that many levels on
        that chain."""
        if self.manifest is None:
            return []
        found = []
        if chain_id not in LOCAL_CHAIN_IDS and not self.manifest.usable_anywhere:
            if self.manifest.origin == "dev":
                found.append(
                    (
                        "verifier_key_dev",
                        "the verifier's key is a single-party development key, on chain "
                        f"{chain_id}",
                    )
                )
            else:
                message = (
                    "the verifier's key is not known to be of a finished ceremony "
                    f"({self.origin}), on chain {chain_id}"
                )
                found.append(("verifier_key_unchecked", message))
        # A proof under a key of other levels binds powers of r to other slots than the contract
        # does (PROTOCOL, appendix A.2).
        made_for = next(
            (
                known
                for known in instances().values()
                if known.digest == self.manifest.circuit_digest
            ),
            None,
        )
        if made_for is None:
            message = (
                "the verifier's key is of a circuit that is not this project's present one "
                f"({self.origin})"
            )
            found.append(("verifier_key_other_circuit", message))
        elif made_for.levels != levels:
            message = (
                f"the verifier's key is of instance {made_for.name}, {made_for.levels} levels; "
                f"the Distributor has {levels}"
            )
            found.append(("verifier_key_other_circuit", message))
        return found


def known_keys() -> dict[str, ExpectedKey]:
    """By digest, every key in the user's cache folder. Of two manifests for one key, that of a
    checked ceremony counts."""
    found: dict[str, ExpectedKey] = {}
    for key in key_store.known_keys():
        digest, manifest = key.verifying_key.digest, key.manifest
        if manifest.key_digest != digest or (digest in found and not manifest.usable_anywhere):
            continue
        found[digest] = ExpectedKey(
            f"{manifest.origin} key of instance {manifest.instance}", manifest
        )
    return found


def expected_key(given: str) -> dict[str, ExpectedKey]:
    """By digest, a key given as a digest (64 hex digits), a verification_key.json, or a folder that
    holds one.

    Raises Invalid for anything else.
    """
    if _DIGEST.fullmatch(given):
        return {given.removeprefix("0x").lower(): ExpectedKey("the digest given")}
    path = Path(given)
    path = path / "verifying_key.json" if path.is_dir() else path
    try:
        return {
            VerifyingKey.from_snarkjs(json.loads(path.read_text())).digest: ExpectedKey(str(path))
        }
    except (OSError, ValueError, SetupError) as error:
        raise Invalid(
            "key: expected 64 hex digits, a verification_key.json or a key folder, got "
            f"{given!r} ({error})",
            field="key",
        ) from error
