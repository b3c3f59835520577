"""The keys of this machine: made here or imported from a ceremony.

Keys are found by instance or by digest, and are checked. They are stored in `keys/` of the cache
folder. The folder of a development key is named by its circuit, the folder of an imported key by
circuit and key.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from prover import ceremony
from prover.cache import cache_root, cached_folder
from prover.circuit import PUBLIC_SIGNALS, Instance, compile_instance
from prover.groth16 import Groth16Error, Groth16Process, Prover, dev_key, dev_key_path
from prover.keys import KeyFolder, SetupError, Transcript, VerifyingKey, file_sha256, write_manifest
from prover.statement import challenged, plan_batch
from prover.zkey import Zkey, read_zkey

Report = Callable[[str], None]
DEV_KEY_COSTS = {
    "dev": (30, "some seconds"),
    "standard": (1200, "some minutes"),
    "wide": (2500, "some ten minutes and 6 GB of memory"),
}
"""Megabytes on disk, and time, of making an instance's development key."""


def known_keys() -> list[KeyFolder]:
    """Return every key in the cache folder, newest first. Skips folders that hold no key."""
    found = []
    for manifest in (cache_root() / "keys").glob("[!.]*/manifest.json"):
        try:
            key = KeyFolder(manifest.parent)
            _ = key.manifest, key.verifying_key
            found.append((manifest.stat().st_mtime, key))
        except (OSError, SetupError):
            continue
    return [key for _, key in sorted(found, key=lambda pair: pair[0], reverse=True)]


def key_for(instance: Instance, folder: Path | None = None) -> KeyFolder:
    """Return the key for a new program of this instance.

    It is the key in `folder` if given, else the newest ceremony's key, else the development key,
    which is made if it does not exist. Raises SetupError if the key in `folder` is of another
    circuit, and what `dev_key` raises.
    """
    return existing_key_for(instance, folder) or dev_key(instance)


def existing_key_for(instance: Instance, folder: Path | None = None) -> KeyFolder | None:
    """As `key_for`. Return None where it would make a development key: that takes time and disk."""
    if folder is not None:
        key = KeyFolder(folder.resolve())
        key.require_made_for(instance)
        return key
    for key in known_keys():
        if key.manifest.usable_anywhere and key.manifest.circuit_digest == instance.digest:
            return key
    path = dev_key_path(instance)
    return KeyFolder(path) if path.exists() else None


def require_room_for_dev_key(instance: Instance) -> str:
    """Return what making the development key costs, for a person.

    Raises SetupError if the disk does not have the room.
    """
    megabytes, duration = DEV_KEY_COSTS.get(instance.name, DEV_KEY_COSTS["standard"])
    folder = next(path for path in (cache_root(), *cache_root().parents) if path.exists())
    free = shutil.disk_usage(folder).free // 10**6
    if free < megabytes:
        raise SetupError(
            f"the development key of instance {instance.name} takes {megabytes:,} MB, and "
            f"{folder} has {free:,} MB left: make room, or set GUERDON_CACHE to another folder"
        )
    return f"about {megabytes:,} MB in {cache_root()}, {duration}"


def key_with(deployed: VerifyingKey, instance: Instance, folder: Path | None = None) -> KeyFolder:
    """Return the key whose proofs a deployed verifier accepts.

    It is searched in `folder` if given, else among this machine's keys.

    Raises SetupError if it is not found: the chain would reject proofs under any other key.
    """
    candidates = [KeyFolder(folder.resolve())] if folder else known_keys()
    fitting = [key for key in candidates if key.verifying_key.digest == deployed.digest]
    if not fitting:
        known = (
            ", ".join(f"{key.verifying_key.digest[:16]} in {key.path}" for key in candidates)
            or "none"
        )
        raise SetupError(
            f"the deployed verifier has key {deployed.digest[:16]}, which is not on this "
            f"machine (here: {known}): import it with "
            f"`guerdon keys import {instance.name}`, or name its folder in GUERDON_KEY; "
            "nothing is proven meanwhile"
        )
    key = min(fitting, key=lambda key: key.manifest.origin != "ceremony")
    key.require_made_for(instance)
    return key


def import_zkey(
    instance: Instance,
    zkey: Path,
    ptau: Path | None = None,
    *,
    ptau_blake2b: str | None = None,
    out: Path | None = None,
    report: Report = lambda _: None,
) -> KeyFolder:
    """Import a ceremony's key into the cache folder, or into `out`, after checking it.

    With circuit and powers of tau, the key is checked against them (origin "ceremony"). Without
    them, only a trial proof is checked (origin "unchecked", which is not allowed on public chains).
    The powers of tau must be published, or have the hash that the caller vouches for. The import
    can be repeated and survives a crash half way.

    Raises SetupError, CircuitError, Groth16Error.
    """
    source = read_zkey(zkey)
    check_sizes(source, instance)
    key = source.verifying_key
    powers = None
    if ptau is not None:
        powers = ceremony.check_ptau(instance, ptau)
        ceremony.require_trusted_ptau(ptau, powers, ptau_blake2b)
        ceremony.require_finished(source)
        report("Checking the transcript against the circuit and the powers of tau")
        ceremony.verify(instance, zkey, ptau, report)
    transcript = source.transcript(powers)
    origin = "unchecked" if powers is None else "ceremony"

    def build(folder: Path) -> None:
        made = KeyFolder(folder)
        shutil.copyfile(zkey, made.zkey)
        if file_sha256(made.zkey) != transcript.zkey_sha256:
            raise SetupError(f"{zkey}: changed while it was read")
        report("Converting the key for the prover")
        with Groth16Process() as process:
            files = {"pk": str(made.proving_key), "vk": str(folder / "verifying_key.json")}
            process.request("import", zkey=str(made.zkey), **files)
        if made.verifying_key != key:
            raise SetupError(
                f"{zkey}: the prover's library reads another verifying key from it than we do"
            )
        write_manifest(folder, instance, origin, transcript)
        report("Proving a trial statement")
        trial_proof(KeyFolder(folder), instance)

    # Absolute, because the library's process works in another folder.
    target = (
        out.resolve()
        if out
        else cache_root() / "keys" / f"{instance.name}-{instance.digest[:16]}-{key.digest[:16]}"
    )
    cached_folder(target, build)
    kept = KeyFolder(target)
    kept.require_made_for(instance)
    if kept.verifying_key != key or kept.manifest.transcript is None:
        raise SetupError(f"{target}: holds another key already")
    if kept.manifest.origin == "unchecked" and origin == "ceremony":
        if file_sha256(kept.zkey) != transcript.zkey_sha256:
            raise SetupError(
                f"{target}: its key.zkey is another file than {zkey}: remove the folder first"
            )
        write_manifest(target, instance, origin, transcript)
    return KeyFolder(target)


def check_sizes(zkey: Zkey, instance: Instance) -> None:
    """Raise SetupError for a key whose sizes do not fit the instance.

    The sizes are the number of public signals and the domain.
    """
    if len(zkey.ic) != len(PUBLIC_SIGNALS) + 1:
        raise SetupError(
            f"{zkey.path}: a circuit of {len(zkey.ic) - 1} public signals, expected "
            f"{len(PUBLIC_SIGNALS)}"
        )
    if zkey.domain_size != 1 << ceremony.required_power(instance):
        expected = 1 << ceremony.required_power(instance)
        raise SetupError(
            f"{zkey.path}: a circuit of domain {zkey.domain_size}, instance {instance.name} "
            f"has {expected}"
        )


def trial_proof(key: KeyFolder, instance: Instance) -> None:
    """Prove a small batch under the key and check the proof with the library and `pairing`.

    Both must accept the proof and reject it for another statement.

    Raises SetupError if not: the key is of another circuit, or damaged.
    """
    from prover import pairing  # py_ecc is slow to load, and only this function needs it

    r = int(hashlib.sha256(b"guerdon trial statement").hexdigest(), 16) >> 3
    statement = challenged(
        plan_batch(instance, [], [(0x1111111111111111111111111111111111111111, 10**18)]), r
    )
    signals = list(statement.public_signals)
    other = [*signals[:1], signals[1] + 1, *signals[2:]]
    prover = Prover(compile_instance(instance), key)
    try:
        proof = prover.prove(statement)
        accepted = prover.verify(proof, signals) and pairing.verify(
            key.verifying_key, proof, signals
        )
        forged = prover.verify(proof, other) or pairing.verify(key.verifying_key, proof, other)
    except (Groth16Error, pairing.PointError) as error:
        raise SetupError(
            f"{key.path}: no trial proof could be made and checked: {error}"
        ) from error
    finally:
        prover.close()
    if not accepted or forged:
        raise SetupError(
            f"{key.path}: a trial proof under this key "
            f"{'holds for anything' if forged else 'does not verify'}"
        )


def verify_key(
    key: KeyFolder, instance: Instance, ptau: Path | None = None, report: Report = lambda _: None
) -> None:
    """Check a key again. Each reported line is a check that has passed.

    The checks are: files against manifest and this checkout's circuit, its points, gamma against
    delta, a ceremony's transcript against circuit and powers of tau (if `ptau` is given), and a
    trial proof.

    Raises SetupError, CircuitError, Groth16Error.
    """
    from prover import pairing

    key.require_made_for(instance)
    report(
        f"files are what the manifest says; the circuit is this checkout's {instance.name} "
        f"({instance.digest[:16]})"
    )
    points = key.verifying_key
    try:
        for name in ("beta", "gamma", "delta"):
            pairing.g2_point(getattr(points, name), name)
        for name, point in [
            ("alpha", points.alpha),
            *((f"IC[{i}]", point) for i, point in enumerate(points.ic)),
        ]:
            pairing.g1_point(point, name)
    except pairing.PointError as error:
        raise SetupError(f"{key.path}: verifying key: {error}") from error
    if (0, 0) in (points.alpha, points.beta[0], points.gamma[0], points.delta[0]):
        raise SetupError(
            f"{key.path}: verifying key: alpha, beta, gamma or delta is the point at infinity"
        )
    report(
        "the verifying key's points are on their curves and in their groups; gamma is not "
        "delta, nor its negative"
    )
    if key.manifest.transcript is not None:
        _verify_transcript(key, key.manifest.transcript, instance, ptau, report)
    elif ptau is not None:
        raise SetupError(
            f"{key.path}: a development key: there is no ceremony to check against powers of tau"
        )
    trial_proof(key, instance)
    report(
        "a trial proof verifies, by the library and by an independent check; another "
        "statement's does not"
    )


def _verify_transcript(
    key: KeyFolder, said: Transcript, instance: Instance, ptau: Path | None, report: Report
) -> None:
    source = read_zkey(key.zkey)
    if file_sha256(key.zkey) != said.zkey_sha256:
        raise SetupError(f"{key.zkey}: not the file that manifest.json describes")
    if source.verifying_key != key.verifying_key or (source.contributions, source.circuit_hash) != (
        said.contributions,
        said.circuit_hash,
    ):
        raise SetupError(
            f"{key.zkey}: its verifying key or contributions are not those of "
            "verifying_key.json and manifest.json"
        )
    report(
        f"key.zkey holds that verifying key and the {len(source.contributions)} contributions "
        "of the manifest"
    )
    if ptau is None:
        return
    powers = ceremony.check_ptau(instance, ptau)
    if said.ptau_blake2b is None:
        ceremony.require_trusted_ptau(ptau, powers)
    elif said.ptau_blake2b != powers:
        raise SetupError(
            f"{ptau}: not the powers of tau that manifest.json names ({said.ptau_blake2b[:16]}...)"
        )
    ceremony.verify(instance, key.zkey, ptau)
    report(
        "the transcript leads from those powers of tau and this circuit, contribution by "
        "contribution, to this key"
    )
    if reason := said.unfinished:
        raise SetupError(f"{key.zkey}: the ceremony is not finished: {reason}")
