"""The committed figures of the contracts: gas at the standard instance's size, code sizes, storage
layouts.

python -m tests.contracts_fuzz.snapshot

measures and writes gas_snapshot.json: look at the difference before you commit it
"""

import json
import re
from pathlib import Path
from typing import Any

from scripts.bench_gas import simulate
from scripts.compile import main as compile_contracts
from tests.contracts_fuzz.node import artifact

FILE = Path(__file__).with_name("gas_snapshot.json")
DEPLOYED = ("Distributor", "Groth16Verifier", "Poseidon2")


def sizes() -> dict[str, int]:
    """Bytes of runtime code of what a program deploys."""
    return {name: len(artifact(name)["deployedBytecode"]) // 2 - 1 for name in DEPLOYED}


def storage() -> dict[str, list[str]]:
    """Every state variable: slot, offset in bytes, name and type; of structs and other composed
    types, the same for their members."""
    layouts = {}
    for name in DEPLOYED:
        layout = artifact(name)["storageLayout"]
        lines = [_line(member) for member in layout.get("storage", ())]
        for kind, described in sorted(
            (layout.get("types") or {}).items(), key=lambda item: _plain(item[0])
        ):
            lines += [f"{_plain(kind)}: {_line(member)}" for member in described.get("members", ())]
        layouts[name] = lines
    return layouts


def _line(member: dict[str, Any]) -> str:
    return (
        f"slot {member['slot']} offset {member['offset']} {member['label']} "
        f"{_plain(member['type'])}"
    )


def _plain(kind: str) -> str:
    """A type's name without the compiler's numbers of syntax nodes, which change with any edit."""
    return re.sub(r"(t_(?:struct|contract|enum)\([^)]*\))\d+", r"\1", kind)


def main() -> None:
    compile_contracts()
    figures = {
        "gas": {name: value for name, value in simulate().items() if "_l2_" not in name},
        "sizes": sizes(),
        "storage": storage(),
    }
    FILE.write_text(json.dumps(figures, indent=2) + "\n")
    print(FILE.read_text())


if __name__ == "__main__":
    main()
