"""Compiled contracts: what `make contracts` writes to build/contracts/<Name>.json."""

import json
import os
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from backend.errors import GuerdonError

DEFAULT_FOLDER = Path(__file__).parents[2] / "build" / "contracts"

FIRST_EDITION = Path(__file__).with_name("first_edition.json")


class ArtifactError(GuerdonError):
    """A compiled contract is missing or unreadable; the message says what to do."""

    code = "artifact"


@dataclass(frozen=True)
class Artifact:
    """One compiled contract. `immutables` is name -> [(start, length)] of its places in
    `deployed_bytecode`, which holds zeros there."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    deployed_bytecode: bytes
    immutable_references: dict[str, tuple[tuple[int, int], ...]]
    immutables: dict[str, tuple[tuple[int, int], ...]]


def folder() -> Path:
    """GUERDON_ARTIFACTS, or build/contracts of the checkout."""
    return Path(os.environ.get("GUERDON_ARTIFACTS") or DEFAULT_FOLDER)


def artifact(name: str) -> Artifact:
    """The contract called `name`. Raises ArtifactError if it is not compiled."""
    path = folder() / f"{name}.json"
    try:
        return _load(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} is missing: run `make contracts`, or set GUERDON_ARTIFACTS to the folder "
            "of the artifacts"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is not an artifact ({error!r}): run `make contracts` again"
        ) from error


@cache
def first_edition() -> dict[str, Artifact]:
    """The contracts of the first edition by name, as they were compiled. They stand on chain and
    are audited; nothing deploys them. Without ABI: the second edition's has all that they answer.
    """
    found = {}
    for name, kept in json.loads(FIRST_EDITION.read_text(encoding="utf-8")).items():
        bytecode, (start, length) = bytes.fromhex(kept["bytecode"][2:]), kept["runtime"]
        found[name] = Artifact(
            name=name,
            abi=[],
            bytecode=bytecode,
            deployed_bytecode=bytecode[start : start + length],
            immutable_references=_places(kept["immutableReferences"]),
            immutables=_places(kept["immutables"]),
        )
    return found


@lru_cache(maxsize=64)
def _load(path: Path, _modified_ns: int) -> Artifact:
    data = json.loads(path.read_text(encoding="utf-8"))
    return Artifact(
        name=data["contractName"],
        abi=data["abi"],
        bytecode=bytes.fromhex(data["bytecode"].removeprefix("0x")),
        deployed_bytecode=bytes.fromhex(data["deployedBytecode"].removeprefix("0x")),
        immutable_references=_places(data["immutableReferences"]),
        immutables=_places(data["immutables"]),
    )


def _places(references: dict[str, list[dict[str, int]]]) -> dict[str, tuple[tuple[int, int], ...]]:
    return {
        name: tuple((place["start"], place["length"]) for place in places)
        for name, places in references.items()
    }
