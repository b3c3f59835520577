"""Compile every contract and write one artifact each to `build/contracts/<Name>.json`.

An artifact holds contractName, sourceName, abi, bytecode (creation), deployedBytecode (runtime),
immutableReferences (AST id -> [{start, length}]), immutables (name -> [{start, length}]) and
storageLayout. Ape, the backend and the tests all read these artifacts; no other step compiles. A
run whose inputs are unchanged does nothing and needs no Node.

The compiler is the npm package `solc` behind a small script in py-solc-x's folder
(`scripts/solc_shim.js`).
"""

import hashlib
import json
import os
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "contracts"
ARTIFACTS = ROOT / "build" / "contracts"
DIGEST_FILE = ROOT / "build" / "contracts.digest"
APE_CACHE = ROOT / ".build" / "__local__.json"
SOLC_FOLDER = ROOT / "build" / "solcx"
SOLC_VERSION = "0.8.37"
EVM_VERSION = "cancun"

_IMPORT = re.compile(r"""^\s*import\s+(?:[^"';]*?\bfrom\s+)?["']([^"']+)["']\s*;""", re.MULTILINE)
_OUTPUTS = [
    "abi",
    "evm.bytecode.object",
    "evm.deployedBytecode.object",
    "evm.deployedBytecode.immutableReferences",
    "storageLayout",
]


def _read_sources() -> dict[str, str]:
    """Every contract of the tree and all that it imports: source name -> text."""
    pending = [path.relative_to(ROOT).as_posix() for path in sorted(SOURCES.rglob("*.sol"))]
    sources: dict[str, str] = {}
    while pending:
        name = pending.pop()
        if name in sources:
            continue
        path = ROOT / "node_modules" / name if name.startswith("@") else ROOT / name
        sources[name] = path.read_text(encoding="utf-8")
        for target in _IMPORT.findall(sources[name]):
            pending.append(
                os.path.normpath(os.path.join(os.path.dirname(name), target))
                if target[0] == "."
                else target
            )
    return dict(sorted(sources.items()))


def _standard_input(
    language: str, sources: dict[str, str], settings: dict[str, Any]
) -> dict[str, Any]:
    own = [name for name in sources if name.startswith("contracts/")]
    return {
        "language": language,
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": {
            "optimizer": {"enabled": True, "runs": 20_000},
            "evmVersion": EVM_VERSION,
            "outputSelection": {name: {"*": _OUTPUTS, "": ["ast"]} for name in own},
            **settings,
        },
    }


def standard_inputs() -> list[dict[str, Any]]:
    """Return one standard-json input for all of Solidity, and one for each Yul object.

    solc takes one Yul object at a time.
    """
    solidity = {"viaIR": True, "metadata": {"bytecodeHash": "none", "appendCBOR": False}}
    inputs = [_standard_input("Solidity", _read_sources(), solidity)]
    for path in sorted(SOURCES.rglob("*.yul")):
        source = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")}
        inputs.append(_standard_input("Yul", source, {}))
    return inputs


def install_compiler() -> Path:
    """Put the compiler where py-solc-x looks for it. Returns the executable's path.

    Raises:
        FileNotFoundError: Node or the npm package `solc` of the pinned version is missing.
    """
    package = ROOT / "node_modules" / "solc" / "package.json"
    if shutil.which("node") is None or not package.exists():
        raise FileNotFoundError("compiling needs node and the npm packages: run `make setup`")
    found = json.loads(package.read_text(encoding="utf-8"))["version"]
    if found != SOLC_VERSION:
        raise FileNotFoundError(f"npm package solc: expected version {SOLC_VERSION}, found {found}")
    SOLC_FOLDER.mkdir(parents=True, exist_ok=True)
    executable = SOLC_FOLDER / f"solc-v{SOLC_VERSION}"
    shutil.copyfile(ROOT / "scripts" / "solc_shim.js", executable)
    executable.chmod(executable.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return executable


def _immutable_names(node: Any) -> dict[str, str]:
    """AST id -> name of every immutable state variable below an AST node."""
    names: dict[str, str] = {}
    if isinstance(node, dict):
        if node.get("nodeType") == "VariableDeclaration" and node.get("mutability") == "immutable":
            names[str(node["id"])] = node["name"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            names.update(_immutable_names(child))
    return names


def _artifacts(output: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = _immutable_names(
        [source.get("ast", {}) for source in output.get("sources", {}).values()]
    )
    artifacts: dict[str, dict[str, Any]] = {}
    for source, contracts in output["contracts"].items():
        for name, compiled in contracts.items():
            evm = compiled["evm"]
            references = evm["deployedBytecode"].get("immutableReferences", {})
            artifacts[name] = {
                "contractName": name,
                "sourceName": source,
                "abi": compiled.get("abi"),
                "bytecode": "0x" + evm["bytecode"]["object"],
                "deployedBytecode": "0x" + evm["deployedBytecode"]["object"],
                "immutableReferences": references,
                "immutables": {
                    names[key]: places for key, places in references.items() if key in names
                },
                "storageLayout": compiled.get("storageLayout", {}),
            }
    return artifacts


def _compile(inputs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    # py-solc-x reads its folder from the environment.
    os.environ["SOLCX_BINARY_PATH"] = str(SOLC_FOLDER)
    from solcx import (
        compile_standard,
    )  # imported here, so that an unchanged tree does not pay for it
    from solcx.exceptions import SolcError

    executable = install_compiler()
    artifacts: dict[str, dict[str, Any]] = {}
    for standard_input in inputs:
        try:
            output = compile_standard(standard_input, solc_binary=executable)
        except SolcError as error:
            # The error's own text repeats the whole input and output.
            raise ValueError(error.message) from None
        for warning in output.get("errors", []):
            if warning["severity"] != "info" and warning.get("sourceLocation", {}).get(
                "file", ""
            ).startswith("contracts/"):
                print(warning["formattedMessage"], file=sys.stderr)
        compiled = _artifacts(output)
        if twice := artifacts.keys() & compiled.keys():
            raise ValueError(f"contract names must be unique: {sorted(twice)}")
        artifacts.update(compiled)
    for name, artifact in artifacts.items():
        if artifact["abi"] is None:  # a Yul object has the ABI of its interface
            artifact["abi"] = artifacts[f"I{name}"]["abi"]
    return artifacts


def main() -> Path:
    """Compile if anything changed since the last run. Returns the folder of the artifacts.

    Raises:
        FileNotFoundError: the compiler is missing.
        ValueError: a contract does not compile. The message is the compiler's.
    """
    inputs = standard_inputs()
    tools = Path(__file__).read_bytes() + (ROOT / "scripts" / "solc_shim.js").read_bytes()
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode() + tools).hexdigest()
    if DIGEST_FILE.exists() and DIGEST_FILE.read_text(encoding="utf-8") == digest:
        return ARTIFACTS
    artifacts = _compile(inputs)
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for stale in {path.stem for path in ARTIFACTS.glob("*.json")} - artifacts.keys():
        (ARTIFACTS / f"{stale}.json").unlink()
    for name, artifact in artifacts.items():
        (ARTIFACTS / f"{name}.json").write_text(json.dumps(artifact, indent=1), encoding="utf-8")
    # Ape caches contract types there and may not notice a changed artifact.
    APE_CACHE.unlink(missing_ok=True)
    DIGEST_FILE.write_text(digest, encoding="utf-8")
    return ARTIFACTS


if __name__ == "__main__":
    main()
