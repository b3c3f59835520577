"""`guerdon keys`: this machine's proving keys, and the ceremony that makes a safe one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.app import Commands
from backend.cli.context import settings
from backend.cli.failures import failures
from backend.cli.output import errors, output, show_list, wants_json
from backend.errors import Invalid

if TYPE_CHECKING:
    from prover.keys import KeyFolder, VerifyingKey
    from prover.zkey import Zkey

app = Commands(help="Proving keys: make, import, verify, list.", no_args_is_help=True)
ceremony_app = Commands(help="A key made by several parties, each in turn.", no_args_is_help=True)
app.add_typer(ceremony_app, name="ceremony")

InstanceName = Annotated[str, typer.Argument(help="Size of the circuit: dev, standard or wide.")]
Ptau = Annotated[
    Path, typer.Option(help="Powers of tau, prepared for phase 2 (.ptau); see docs/CEREMONY.md.")
]
PtauHash = Annotated[
    str | None,
    typer.Option(help="blake2b-512 of the powers of tau, if they are not the published ones."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder to make for the key, instead of one in the cache folder."),
]


@contextmanager
def _steps() -> Iterator[Any]:
    """A function that reports progress."""
    start = time.monotonic()
    with failures(), errors.status("") as status:

        def report(text: str) -> None:
            if not text.startswith("snarkjs: "):
                errors.print(text)
            status.update(f"{text} ({time.monotonic() - start:.0f} s)".replace("[", "\\["))

        yield report


def _facts(key: "KeyFolder") -> dict[str, Any]:
    manifest = asdict(key.manifest)
    transcript = manifest.pop("transcript")
    return {
        "folder": str(key.path),
        **manifest,
        **({"transcript": transcript} if transcript else {}),
    }


def _print_transcript(zkey: "Zkey") -> None:
    if wants_json():
        contributions = [asdict(link) for link in zkey.contributions]
        output.document({"circuit": zkey.circuit_hash, "contributions": contributions})
        return
    output.print(f"circuit {zkey.circuit_hash}")
    for number, link in enumerate(zkey.contributions, start=1):
        beacon = (
            f" = beacon {link.beacon}, 2^{link.beacon_iterations_log2} hashes"
            if link.beacon
            else ""
        )
        output.print(f"{number} {link.name} {link.hash}{beacon}")


@app.command()
def dev(instance: InstanceName) -> None:
    """Make a single-party key for development.

    The party that made the key can forge proofs. The key is refused off local chains.
    """
    from prover.circuit import load_instance
    from prover.groth16 import dev_key, dev_key_path
    from prover.key_store import require_room_for_dev_key

    with _steps() as report:
        size = load_instance(instance)
        if not dev_key_path(size).exists():
            cost = require_room_for_dev_key(size)
            report(f"Compiling the circuit {instance} and making its development key: {cost}")
        key = dev_key(size)
    output.document(_facts(key))


@app.command("import")
def import_key(
    instance: InstanceName,
    file: Annotated[Path, typer.Argument(help="The ceremony's key (.zkey).")],
    ptau: Annotated[
        Path | None,
        typer.Option(
            help="Powers of tau to check the ceremony against; without it the key stays off public "
            "chains."
        ),
    ] = None,
    ptau_blake2b: PtauHash = None,
    out: Out = None,
) -> None:
    """Check a ceremony's key and import it."""
    from prover import key_store
    from prover.circuit import load_instance

    if ptau_blake2b and ptau is None:
        raise typer.BadParameter(
            "there is no file to hash: give --ptau", param_hint="--ptau-blake2b"
        )
    with _steps() as report:
        key = key_store.import_zkey(
            load_instance(instance), file, ptau, ptau_blake2b=ptau_blake2b, out=out, report=report
        )
        if key.manifest.origin == "unchecked":
            report(
                "The ceremony was not checked: without --ptau only a trial proof was. The key "
                "is refused off local chains."
            )
    output.document(_facts(key))


@app.command()
def verify(
    key: Annotated[
        str | None, typer.Argument(help="A key's folder, or an instance; GUERDON_KEY by default.")
    ] = None,
    ptau: Annotated[
        Path | None, typer.Option(help="Powers of tau to check the ceremony against.")
    ] = None,
    rpc_url: Annotated[
        str | None, typer.Option(help="Node to read the verifier from; RPC_URL by default.")
    ] = None,
    verifier: Annotated[
        str | None, typer.Option(help="A deployed verifier that must hold this key.")
    ] = None,
    distributor: Annotated[
        str | None, typer.Option(help="A Distributor whose verifier must hold this key.")
    ] = None,
) -> None:
    """Check a key: files, circuit, points and a trial proof.

    With --ptau, check the ceremony too. With --verifier or --distributor, check the verifier on
    chain.
    """
    from prover import key_store
    from prover.circuit import load_instance
    from prover.keys import SetupError

    if verifier is not None and distributor is not None:
        raise typer.BadParameter("give one, not both", param_hint="--verifier, --distributor")
    if rpc_url is not None and verifier is None and distributor is None:
        raise typer.BadParameter(
            "nothing to read there: give --verifier or --distributor too", param_hint="--rpc-url"
        )
    with _steps() as report:
        folder = _find(key)
        report(f"{folder.path}: {folder.manifest.origin} key {folder.verifying_key.digest[:16]}")
        if verifier is not None or distributor is not None:
            found = _deployed(rpc_url, verifier, distributor)
            if found != folder.verifying_key:
                raise SetupError(
                    f"the deployed verifier has key {found.digest[:16]}, not this one: it "
                    "accepts no proof under this key"
                )
            report("ok: the deployed verifier's code is ours, and holds this key")
        instance = load_instance(folder.manifest.instance)
        key_store.verify_key(
            folder,
            instance,
            ptau,
            lambda text: report(text if text.startswith("snarkjs: ") else f"ok: {text}"),
        )
        if ptau is None and folder.manifest.transcript is not None:
            report("not checked: the ceremony's transcript (give --ptau)")
    output.document(_facts(folder))


def _find(key: str | None) -> "KeyFolder":
    from prover import key_store
    from prover.circuit import instances, load_instance
    from prover.keys import KeyFolder

    if key is not None and key in instances():
        found = key_store.existing_key_for(load_instance(key))
        if found is None:
            raise Invalid(
                f"key: this machine has no key of instance {key}: `guerdon keys import` or "
                "`guerdon keys dev` makes one",
                "key",
            )
        return found
    folder = Path(key) if key else settings().key
    if folder is None:
        raise Invalid(
            "key: expected a key's folder or an instance, or GUERDON_KEY to be set", "key"
        )
    return KeyFolder(folder.resolve())


def _deployed(rpc_url: str | None, verifier: str | None, distributor: str | None) -> "VerifyingKey":
    """The key of `verifier`, or of the Distributor's verifier."""
    from backend.chain.deploy import deployed_key
    from backend.chain.distributor import Distributor
    from backend.chain.web3_node import connect
    from backend.kit.address import checked_address

    if verifier is not None:
        verifier = checked_address(verifier, "verifier")
    if distributor is not None:
        distributor = checked_address(distributor, "distributor")
    node = connect(rpc_url or settings().rpc_url)
    if distributor is not None:
        verifier = Distributor(node, distributor).info().verifier
    assert verifier is not None
    return deployed_key(node, verifier)


@app.command("list")
def list_keys() -> None:
    """The keys in the cache folder, the newest first."""
    from prover import key_store
    from prover.cache import cache_root
    from prover.circuit import instances

    digests = {name: instance.digest for name, instance in instances().items()}
    rows: list[dict[str, Any]] = []
    for key in key_store.known_keys():
        current = digests.get(key.manifest.instance) == key.manifest.circuit_digest
        people = (
            sum(not link.beacon for link in key.manifest.transcript.contributions)
            if key.manifest.transcript
            else 1
        )
        rows.append(
            {
                "instance": key.manifest.instance,
                "origin": key.manifest.origin,
                "people": people,
                "key": key.verifying_key.digest,
                "circuit": "present" if current else "another",
                "folder": str(key.path),
            }
        )
    if not wants_json():
        rows = [{**row, "key": row["key"][:16], "folder": Path(row["folder"]).name} for row in rows]
    show_list(f"Keys in {cache_root() / 'keys'}", rows)


@ceremony_app.command()
def init(
    instance: InstanceName,
    ptau: Ptau,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("0000.zkey"),
) -> None:
    """Coordinator: make the file for the first contributor.

    The instances standard and wide take hours. Every run makes the same bytes.
    """
    from prover import ceremony
    from prover.circuit import load_instance

    with _steps() as report:
        zkey = ceremony.init(load_instance(instance), ptau, out, report)
    _print_transcript(zkey)


@ceremony_app.command()
def contribute(
    before: Annotated[Path, typer.Argument(metavar="IN", help="File of the previous contributor.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write, for the next contributor.")
    ],
    name: Annotated[str, typer.Option(help="Your name in the transcript.")],
    more_entropy: Annotated[
        bool,
        typer.Option(help="Ask for random typing too; it is mixed with the system's randomness."),
    ] = False,
) -> None:
    """Contributor: add your secret.

    Then publish the hash that this command prints.
    The secret is made from the system's randomness and thrown away.
    """
    from prover import ceremony

    typed = typer.prompt("Type at random", hide_input=True, err=True) if more_entropy else ""
    with _steps() as report:
        zkey = ceremony.contribute(before, out, name, typed, report)
    _print_transcript(zkey)


@ceremony_app.command("beacon")
def apply_beacon(
    before: Annotated[Path, typer.Argument(metavar="IN", help="File of the last contributor.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")],
    beacon_hash: Annotated[
        str, typer.Option("--hash", help="Public randomness announced beforehand, hex.")
    ],
    iterations: Annotated[int, typer.Option(help="Hash it 2^this times.")] = 10,
) -> None:
    """Coordinator: end the ceremony.

    The beacon is randomness that nobody could predict.
    """
    from prover import ceremony

    with _steps() as report:
        zkey = ceremony.beacon(before, out, beacon_hash, iterations, report)
    _print_transcript(zkey)


@ceremony_app.command("verify")
def verify_ceremony(
    instance: InstanceName,
    file: Annotated[Path, typer.Argument(help="Any file of the ceremony.")],
    ptau: Ptau,
) -> None:
    """Anyone: check a ceremony's file.

    It is checked against the powers of tau and this checkout's circuit.
    """
    from prover import ceremony
    from prover.circuit import load_instance

    with _steps() as report:
        zkey = ceremony.verify(load_instance(instance), file, ptau, report)
        blake2b = ceremony.check_ptau(load_instance(instance), ptau)
        known = (
            " (published)"
            if blake2b in ceremony.PERPETUAL_POWERS_OF_TAU.values()
            else " (NOT one of the published files)"
        )
        report(f"powers of tau {blake2b}{known}")
    _print_transcript(zkey)


@ceremony_app.command()
def finalize(
    instance: InstanceName,
    file: Annotated[Path, typer.Argument(help="The file that the beacon ended.")],
    ptau: Ptau,
    ptau_blake2b: PtauHash = None,
    out: Out = None,
) -> None:
    """Operator: verify a finished ceremony and import its key."""
    from prover import key_store
    from prover.circuit import load_instance

    with _steps() as report:
        key = key_store.import_zkey(
            load_instance(instance), file, ptau, ptau_blake2b=ptau_blake2b, out=out, report=report
        )
    output.document(_facts(key))
