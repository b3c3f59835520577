"""scripts/compile.py: what the one compile step leaves behind for ape, the backend and the
auditor."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ape import networks

from tests.support.patience import idle_seconds

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "build" / "contracts"
SCRIPT = ROOT / "scripts" / "compile.py"


def test_an_unchanged_tree_needs_no_compiler() -> None:
    """A second run takes well under a second and starts no Node: none is on its PATH."""
    subprocess.run([sys.executable, SCRIPT], check=True)
    before = {path: path.stat().st_mtime_ns for path in ARTIFACTS.iterdir()}
    started = time.monotonic()
    subprocess.run([sys.executable, SCRIPT], check=True, env={"PATH": ""})
    assert idle_seconds(started) < 2
    assert {path: path.stat().st_mtime_ns for path in ARTIFACTS.iterdir()} == before


def test_the_compiler_answers_whole() -> None:
    """The shim reports a version that py-solc-x reads, and more than a pipe's 64 KB of output
    arrive as valid JSON."""
    shim = ["node", str(ROOT / "scripts" / "solc_shim.js")]
    version = subprocess.run(
        [*shim, "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"\d+\.\d+\.\d+\+commit\.\w+", version)
    source = "// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.37;\n" + "".join(
        f"contract C{i} {{ function f{i}(uint256 x) external pure returns (uint256) "
        f"{{ return x * {i + 1}; }} }}\n"
        for i in range(150)
    )
    request = {
        "language": "Solidity",
        "sources": {"a.sol": {"content": source}},
        "settings": {"outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}}},
    }
    answer = subprocess.run(
        [*shim, "--standard-json"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert len(answer) > 65_536
    assert len(json.loads(answer)["contracts"]["a.sol"]) == 150
    assert subprocess.run([*shim, "--bin"], capture_output=True).returncode == 1


@pytest.mark.parametrize("path", sorted(ARTIFACTS.glob("*.json")), ids=lambda path: path.stem)
def test_artifacts_hold_what_their_readers_need(path: Path) -> None:
    """Each artifact has an ABI, both bytecodes, and a name for every immutable of ours; runtime
    code is blank where immutables stand."""
    artifact = json.loads(path.read_text())
    assert artifact["contractName"] == path.stem
    assert (ROOT / artifact["sourceName"]).exists()
    assert isinstance(artifact["abi"], list)
    code = bytes.fromhex(artifact["deployedBytecode"].removeprefix("0x"))
    for places in artifact["immutableReferences"].values():
        assert all(
            code[place["start"] : place["start"] + place["length"]] == bytes(place["length"])
            for place in places
        )
    assert all(
        places in artifact["immutableReferences"].values()
        for places in artifact["immutables"].values()
    )


def test_what_is_tested_is_what_was_compiled(hasher: Any, verifier: Any, distributor: Any) -> None:
    """The code on the tests' chain is the artifacts' byte for byte, but for immutables."""
    for contract, name in (
        (hasher, "Poseidon2"),
        (verifier, "Groth16Verifier"),
        (distributor, "Distributor"),
    ):
        artifact = json.loads((ARTIFACTS / f"{name}.json").read_text())
        code = bytearray(networks.provider.web3.eth.get_code(contract.address))
        for places in artifact["immutableReferences"].values():
            for place in places:
                code[place["start"] : place["start"] + place["length"]] = bytes(place["length"])
        assert bytes(code) == bytes.fromhex(artifact["deployedBytecode"][2:])


def test_no_copyleft_text_enters_the_sources() -> None:
    """Every contract and script of the tree is Apache-2.0 and says so; none quotes a GPL
    licence."""
    for path in [*(ROOT / "contracts").rglob("*.sol"), *(ROOT / "contracts").rglob("*.yul")]:
        text = path.read_text()
        assert text.startswith("// SPDX-License-Identifier: Apache-2.0\n"), path
        assert "GPL" not in text, path
