"""Run Slither over the contracts, as part of `make lint`.

The check fails unless every finding is in slither_accepted.toml with its reason. Slither runs as a
separate program over the compiler input that the artifacts are made from. It sees Solidity only:
Poseidon2 is generated Yul, which is tested against vectors and Python instead. Slither cannot
follow OpenZeppelin's ReentrancyGuardTransient (values of user-defined types) and says so; tests
show that the guard holds.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.compile import ROOT, install_compiler, standard_inputs

ACCEPTED = Path(__file__).with_name("slither_accepted.toml")
_CONTRACT_OUTPUTS = [
    "abi",
    "metadata",
    "devdoc",
    "userdoc",
    "evm.methodIdentifiers",
    "evm.bytecode.object",
    "evm.bytecode.sourceMap",
    "evm.deployedBytecode.object",
    "evm.deployedBytecode.sourceMap",
]
Finding = tuple[str, str]


def findings() -> list[tuple[Finding, str]]:
    """Return ((detector, `Contract.function` that it points at), Slither's description) of each.

    Raises RuntimeError with Slither's output if it fails.
    """
    # Outside of the tree: a foundry.toml above its working folder would make Slither ask forge.
    with tempfile.TemporaryDirectory(prefix="guerdon-slither-") as folder:
        return _findings_in(Path(folder))


def _findings_in(folder: Path) -> list[tuple[Finding, str]]:
    (folder / "contracts").symlink_to(ROOT / "contracts")
    (folder / "@openzeppelin").symlink_to(ROOT / "node_modules" / "@openzeppelin")
    source = standard_inputs()[0]
    source["settings"]["outputSelection"] = {"*": {"*": _CONTRACT_OUTPUTS, "": ["ast"]}}
    (folder / "input.json").write_text(json.dumps(source))
    report = folder / "report.json"
    command = [
        str(Path(sys.executable).with_name("slither")),
        "input.json",
        "--compile-force-framework",
        "Solc-json",
        "--solc",
        str(install_compiler()),
        "--filter-paths",
        "@openzeppelin|contracts/mocks",
        "--json",
        report.name,
        "--fail-none",
    ]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    if not answer.get("success"):
        raise RuntimeError(f"slither failed: {answer.get('error') or run.stderr[-2000:]}")
    found = answer["results"].get("detectors", [])
    return [
        ((finding["check"], _path(finding["elements"][0])), finding["description"])
        for finding in found
    ]


def _path(element: dict[str, Any]) -> str:
    """Return `Contract.function.variable`.

    A bare name would also accept a later finding in another contract.
    """
    names = []
    while element:
        names.append(element["name"])
        element = element.get("type_specific_fields", {}).get("parent")
    return ".".join(reversed(names))


def main() -> int:
    accepted = tomllib.loads(ACCEPTED.read_text())["accepted"]
    # Counted: a second finding of one detector in one function needs its own reason.
    known = Counter((entry["detector"], name) for entry in accepted for name in entry["where"])
    described = findings()
    found = Counter(finding for finding, _ in described)
    for finding in found - known:
        print(
            f"not accepted: {finding}: {[text for other, text in described if other == finding]}",
            file=sys.stderr,
        )
    for finding in known - found:
        print(f"accepted, but no longer found: {finding}", file=sys.stderr)
    print(
        f"slither: {found.total()} findings, {(found & known).total()} of them accepted with "
        "a reason"
    )
    return int(found != known)


if __name__ == "__main__":
    sys.exit(main())
