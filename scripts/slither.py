"""Slither over the contracts, part of `make lint`: every finding is in slither_accepted.toml with its reason, or the check fails.

Slither runs as a program of its own, over the very compiler input that the artifacts are made from. It sees Solidity only: Poseidon2 is
generated Yul and is held to vectors and to Python instead. It cannot follow OpenZeppelin's ReentrancyGuardTransient (values of user-defined
types) and says so; that the guard holds is tested.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from scripts.compile import ROOT, install_compiler, standard_inputs

FOLDER = ROOT / "build" / "slither"
ACCEPTED = Path(__file__).with_name("slither_accepted.toml")
_CONTRACT_OUTPUTS = [
    "abi", "metadata", "devdoc", "userdoc", "evm.methodIdentifiers", "evm.bytecode.object", "evm.bytecode.sourceMap",
    "evm.deployedBytecode.object", "evm.deployedBytecode.sourceMap",
]  # fmt: skip
Finding = tuple[str, str]


def findings() -> dict[Finding, str]:
    """(detector, name of the first thing that it points at) -> Slither's description. Raises RuntimeError with its output if it fails."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, target in (("contracts", ROOT / "contracts"), ("@openzeppelin", ROOT / "node_modules" / "@openzeppelin")):
        link = FOLDER / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    source = standard_inputs()[0]
    source["settings"]["outputSelection"] = {"*": {"*": _CONTRACT_OUTPUTS, "": ["ast"]}}
    (FOLDER / "input.json").write_text(json.dumps(source))
    report = FOLDER / "report.json"
    report.unlink(missing_ok=True)
    command = [
        str(Path(sys.executable).with_name("slither")), "input.json", "--compile-force-framework", "Solc-json", "--solc",
        str(install_compiler()),
        "--filter-paths", "@openzeppelin|contracts/mocks", "--json", report.name, "--fail-none",
    ]  # fmt: skip
    run = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    if not answer.get("success"):
        raise RuntimeError(f"slither failed: {answer.get('error') or run.stderr[-2000:]}")
    found = answer["results"].get("detectors", [])
    return {(finding["check"], finding["elements"][0]["name"]): finding["description"] for finding in found}


def main() -> int:
    accepted = tomllib.loads(ACCEPTED.read_text())["accepted"]
    known = {(entry["detector"], name): entry["reason"] for entry in accepted for name in entry["where"]}
    found = findings()
    for finding in found.keys() - known.keys():
        print(f"not accepted: {finding}: {found[finding]}", file=sys.stderr)
    for finding in known.keys() - found.keys():
        print(f"accepted, but no longer found: {finding}", file=sys.stderr)
    print(f"slither: {len(found)} findings, {len(found.keys() & known.keys())} of them accepted with a reason")
    return int(found.keys() != known.keys())


if __name__ == "__main__":
    sys.exit(main())
