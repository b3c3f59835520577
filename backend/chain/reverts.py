"""Why a contract refused: revert data put into the words of its custom errors."""

from functools import lru_cache
from typing import Any

from eth_abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils import keccak

from backend.chain.artifacts import artifact

CONTRACTS = ("Distributor", "Groth16Verifier", "TestToken")
_STANDARD = (
    {"name": "Error", "inputs": [{"type": "string", "name": "message"}]},
    {"name": "Panic", "inputs": [{"type": "uint256", "name": "code"}]},
)


def explain_revert(data: bytes) -> str:
    """`Name(argument=value, ...)` of a custom error of ours, Solidity's Error and Panic too; the
    hex of any other data.

    Raises ArtifactError if the contracts are not compiled.
    """
    entry = _errors().get(bytes(data[:4]))
    if entry is None:
        return f"0x{bytes(data).hex()}" if data else "no reason given"
    try:
        values = decode([item["type"] for item in entry["inputs"]], data[4:])
    except (DecodingError, ValueError):
        return f"{entry['name']}(0x{bytes(data[4:]).hex()})"
    named = (f"{item['name']}={value}" for item, value in zip(entry["inputs"], values, strict=True))
    return f"{entry['name']}({', '.join(named)})"


@lru_cache(maxsize=1)
def _errors() -> dict[bytes, dict[str, Any]]:
    entries = [
        *_STANDARD,
        *(entry for name in CONTRACTS for entry in artifact(name).abi if entry["type"] == "error"),
    ]
    return {
        keccak(text=f"{entry['name']}({','.join(item['type'] for item in entry['inputs'])})")[
            :4
        ]: entry
        for entry in entries
    }
